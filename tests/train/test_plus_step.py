"""PMD-Net plus with all its parts takes a step, spread over devices as on one, its state packed or not."""

from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_config
from jax.sharding import AxisType
from test_step import batch_of, make, mesh_of

from pmd_jax.config.presets import plus_parts, with_fields
from pmd_jax.runtime import sharding
from pmd_jax.train.compiled_step import CompiledStep
from pmd_jax.train.state import AveragedState
from pmd_jax.train.step import train_step


def all_parts():
    config = small_config()
    for part in plus_parts(config).values():
        config = with_fields(config, part.changes)
    return with_fields(config, {"optim.ema": 0.9})  # the schedule is too short for an average


@functools.cache
def plain_step(name: str):
    recipe, state, teacher = make(name, all_parts())
    return jax.jit(functools.partial(train_step, recipe))(state, teacher, batch_of(), jnp.int32(0))


@pytest.mark.parametrize(
    ("name", "axis_type", "packed"),
    [
        ("pmd_net_plus", AxisType.Explicit, False),
        ("pmd_net_heatmap", AxisType.Auto, True),
        ("pmd_net_shared_maps", AxisType.Explicit, True),
    ],
)
def test_sharded_step_equals_the_plain_one(name, axis_type, packed):
    plain, metrics = plain_step(name)
    assert {"distill/maps", "distill/teacher_pose"} <= metrics.keys()
    assert float(metrics["distill/maps"]) > 0
    recipe, state, teacher = make(name, all_parts())
    mesh = mesh_of(axis_type)
    with jax.set_mesh(mesh):
        state, teacher, seed = jax.device_put((state, teacher, jnp.int32(0)), sharding.replicated(mesh))
        loop = CompiledStep(recipe, mesh, state, batch_of(), packed)
        rows = sharding.global_array(mesh, loop.batch.pack(batch_of()).rows)
        carry, vector = loop.step(loop.begin(state), loop.teach(teacher), rows, seed)
        sharded = loop.state(carry)
    *values, bad_step, _ = np.asarray(vector)
    assert bad_step == 0
    for metric, value in zip(loop.names, values, strict=True):
        assert float(metrics[metric]) == pytest.approx(float(value), rel=1e-4), metric
    assert isinstance(sharded, AveragedState)
    chex.assert_trees_all_close(
        jax.device_get(sharded.average.batch_stats), jax.device_get(plain.average.batch_stats), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("name", ["pmd_net_plus"])
def test_the_maps_have_a_gradient_and_move(name):
    _, state, _ = make(name, all_parts())
    stepped, _ = plain_step(name)
    for layer in ("maps", "values"):
        before, after = (each.params["pool"][layer]["kernel"] for each in (state, stepped))
        assert (before != after).mean() > 0.9, layer
