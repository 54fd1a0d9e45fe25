"""What of a teacher's layers an approximation explains."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_columns, small_config

from pmd_jax import export_folder, imitation, sharding
from pmd_jax.rows import ROWS
from pmd_jax.state import build


def exported(row: str, seed: int) -> export_folder.Exported:
    config = small_config(rows=(row,))
    network, weights = build(config, ROWS[row], seed)
    return export_folder.Exported(row, config, network, weights)


def test_explained_is_one_for_the_layer_itself_and_zero_for_the_best_constant():
    target = np.random.default_rng(0).normal(size=(101, 5))
    assert imitation.explained(target, target) == 1
    assert imitation.explained(target, np.broadcast_to(np.median(target, 0), target.shape)) == pytest.approx(0)
    assert imitation.explained(target, target.mean(0) + 0 * target) < 0


def test_ridge_recovers_a_linear_map():
    generator = np.random.default_rng(0)
    inputs, new_inputs, matrix = (generator.normal(size=shape) for shape in ((400, 6), (50, 6), (6, 3)))
    answer = imitation.ridge(inputs, 2 + inputs @ matrix, new_inputs)
    np.testing.assert_allclose(answer, 2 + new_inputs @ matrix, atol=0.03)


def test_quadratic_features_hold_every_product_once():
    features = imitation.quadratic(np.random.default_rng(0).normal(size=(7, 21, 3)))
    assert features.shape == (7, 63 + 63 * 64 // 2)
    assert np.linalg.matrix_rank(features) == 7


def test_a_network_explains_itself_and_an_untrained_one_does_not():
    teacher, baseline = exported("depth_teacher", 0), exported("rgb_baseline", 1)
    fit, held_out = make_columns(40, seed=1), make_columns(24, seed=2)
    shares = imitation.measure(teacher, teacher, baseline, fit, held_out, sharding.make_mesh())
    assert list(shares) == ["feature", "X", "X, after ReLU", "Y", "Y, after ReLU", "Z", "Z, after ReLU"]
    for ways in shares.values():
        assert ways["student"] == pytest.approx(1)
        assert ways["baseline"] < 0.5
