"""What of a teacher's layers an approximation explains."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import small_config

from pmd_jax.config.methods import METHODS
from pmd_jax.models import saved_model
from pmd_jax.models.network import build
from pmd_jax.runtime import sharding
from pmd_jax.study import layer_probe
from reference.made_up_columns import make_columns


def exported(row: str, seed: int) -> saved_model.SavedModel:
    config = small_config(rows=(row,))
    network, weights = build(config, METHODS[row], seed)
    return saved_model.SavedModel(row, config, network, weights)


def test_explained_is_one_for_the_layer_itself_and_zero_for_the_best_constant():
    target = np.random.default_rng(0).normal(size=(101, 5))
    assert layer_probe.explained(target, target) == 1
    assert layer_probe.explained(target, np.broadcast_to(np.median(target, 0), target.shape)) == pytest.approx(0)
    assert layer_probe.explained(target, target.mean(0) + 0 * target) < 0


def test_ridge_recovers_a_linear_map():
    generator = np.random.default_rng(0)
    inputs, new_inputs, matrix = (generator.normal(size=shape) for shape in ((400, 6), (50, 6), (6, 3)))
    answer = layer_probe.ridge(inputs, 2 + inputs @ matrix, new_inputs)
    np.testing.assert_allclose(answer, 2 + new_inputs @ matrix, atol=0.03)


def test_quadratic_features_hold_every_product_once():
    features = layer_probe.quadratic(np.random.default_rng(0).normal(size=(7, 21, 3)))
    assert features.shape == (7, 63 + 63 * 64 // 2)
    assert np.linalg.matrix_rank(features) == 7


def test_a_network_explains_itself_and_an_untrained_one_does_not():
    teacher, baseline = exported("depth_teacher", 0), exported("rgb_baseline", 1)
    fit, held_out = make_columns(40, seed=1), make_columns(24, seed=2)
    shares = layer_probe.measure(teacher, teacher, baseline, fit, held_out, sharding.make_mesh())
    assert list(shares) == ["feature", "X", "X, after ReLU", "Y", "Y, after ReLU", "Z", "Z, after ReLU"]
    for ways in shares.values():
        assert ways["student"] == pytest.approx(1)
        assert ways["baseline"] < 0.5
