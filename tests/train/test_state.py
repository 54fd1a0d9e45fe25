"""What networks start from."""

from __future__ import annotations

from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from conftest import small_config

from pmd_jax.config.methods import METHODS
from pmd_jax.models import saved_model
from pmd_jax.models.network import Tree, build
from pmd_jax.runtime import sharding
from pmd_jax.train.teacher import load_teacher


def params_of(row: str, start: str, seed: int = 0) -> Tree:
    config = small_config()
    config.teacher.start = start
    return build(config, METHODS[row], seed)[1].params


def shared(first: Tree, second: Tree) -> tuple[int, int]:
    """How many drawn arrays are the same in both, and how many there are; the stem's shape depends on the input."""
    pairs = [
        np.array_equal(ours, theirs)
        for ours, theirs in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
        if np.std(ours) > 0  # drawn
    ]
    return sum(pairs), len(pairs)


@pytest.mark.parametrize("teacher", ["depth_teacher", "depth_teacher_joint"])
def test_a_teacher_starts_as_its_student_does_or_apart(teacher):
    student = "pmd_net" if teacher == "depth_teacher" else "pmd_net_joint"
    same, drawn = shared(params_of(teacher, "same"), params_of(student, "same"))
    assert same == drawn - 1
    assert shared(params_of(teacher, "apart"), params_of(student, "apart")) == (0, drawn)


def test_a_teacher_that_is_drawn_apart_depends_on_its_seed_and_starts_as_no_student_of_a_near_seed():
    assert shared(params_of("depth_teacher", "apart"), params_of("depth_teacher", "apart", seed=1))[0] == 0
    for seed in range(4):
        assert shared(params_of("depth_teacher", "apart"), params_of("pmd_net", "apart", seed))[0] == 0


@pytest.mark.parametrize("row", ["rgb_baseline", "pmd_net", "pmd_net_joint", "pmd_net_refine"])
def test_rgb_networks_start_alike_either_way(row):
    chex.assert_trees_all_equal(params_of(row, "same"), params_of(row, "apart"))
    ours, baseline = params_of(row, "apart")["backbone"], params_of("rgb_baseline", "same")["backbone"]
    chex.assert_trees_all_equal(ours, baseline)


def test_a_finished_teacher_is_taken_as_it_is(tmp_path: Path):
    config = small_config()
    _, weights = build(config, METHODS["depth_teacher"], seed=3)
    saved_model.save(tmp_path / "export", "depth_teacher", config, jax.device_get(weights))
    config.teacher.start = "apart"
    where = sharding.replicated(sharding.make_mesh(jax.devices()[:1]))
    loaded = load_teacher(tmp_path / "export", "depth_teacher", config, where)
    chex.assert_trees_all_equal(loaded.weights, weights)
