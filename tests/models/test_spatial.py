"""Spatial pools: maps that say where, what is read by them, and that the paper's places keep their meaning."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks import flops
from pmd_jax.config import ModelConfig
from pmd_jax.config.methods import METHODS
from pmd_jax.data.hand import NUM_JOINTS, ROOT
from pmd_jax.models.map_positions import map_positions, value_count
from pmd_jax.models.pmd_net import PMDNet, Prediction
from pmd_jax.models.resnet import average
from pmd_jax.models.spatial import POOLS, HeadsAnswer

NARROW = ModelConfig(width=16, blocks=(1, 1, 1, 1), reading="32/16/8/8")  # the demo's
BY_POOL = {METHODS[name].pool: METHODS[name] for name in ("pmd_net_plus", "pmd_net_heatmap", "pmd_net_shared_maps")}


def tiny(pool: str, **changes) -> PMDNet:
    model = PMDNet(3, width=4, blocks=(1, 1, 1, 1), reading="32/16/8/8", pool=pool, **changes, rngs=nnx.Rngs(0))
    model.eval()
    return model


@nnx.jit
def apply(model: PMDNet, images: jax.Array) -> Prediction:
    return model(images)


@nnx.jit
def answer(model: PMDNet, x: jax.Array) -> HeadsAnswer:
    """What the heads make of a feature map."""
    return model.pool(x, average(x), model.heads)


def images_of(batch: int = 3) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (batch, 64, 64, 3)), jnp.float32)


def feature_map(seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).uniform(0, 2, (2, 8, 8, 32)), jnp.float32)


def test_positions_are_the_centres_of_the_places():
    np.testing.assert_allclose(
        map_positions(2, 4)[:5], [[-0.75, -0.5], [-0.25, -0.5], [0.25, -0.5], [0.75, -0.5], [-0.75, 0.5]]
    )
    np.testing.assert_allclose(map_positions(8, 8).mean(0), 0, atol=1e-7)


@pytest.mark.parametrize(("pool", "count"), [("attention", 3), ("heatmap", 1), ("shared_maps", 1)])
def test_prediction_of_a_spatial_pool(pool, count):
    said = apply(tiny(pool, refine=True), images_of())
    assert said.maps is not None
    assert said.maps.shape == (3, count, NUM_JOINTS, 8, 8)
    np.testing.assert_allclose(said.maps.sum((-1, -2)), 1, rtol=1e-5)
    assert [part.shape for part in said[:4]] == [(3, 32), (3, 3, 64), (3, 21, 3), (3, 21, 3)]
    assert said.hidden.min() >= 0
    assert (said.pose != said.first_pose).any()
    assert all(leaf.dtype == jnp.float32 for leaf in said)


@pytest.mark.parametrize("pool", POOLS)
def test_the_distilled_feature_stays_the_average(pool):
    model = tiny(pool)
    expected = nnx.jit(lambda model, x: average(model.backbone(x)))(model, images_of())
    np.testing.assert_allclose(apply(model, images_of()).feature, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("pool", POOLS)
def test_each_head_moves_its_own_axis(pool, axis):
    model = tiny(pool)
    before = apply(model, images_of())
    kernel = model.heads[axis].fc2.kernel
    kernel.set_value(kernel.get_value() * 2)
    after = apply(model, images_of())
    others = [i for i in range(3) if i != axis]
    np.testing.assert_array_equal(after.pose[..., others], before.pose[..., others])
    np.testing.assert_array_equal(after.hidden[:, others], before.hidden[:, others])
    assert (after.pose[..., axis] != before.pose[..., axis]).any()


def test_attention_against_float64():
    """Axis by axis and joint by joint, as the docstrings say."""
    model, x = tiny("attention"), feature_map()
    count = value_count(4)
    maps, values = (
        [np.asarray(array.get_value(), np.float64) for array in (layer.kernel, layer.bias)]
        for layer in (model.pool.maps, model.pool.values)
    )
    flat = np.asarray(x, np.float64).reshape(2, 64, 32)
    _, pose, _ = answer(model, x)
    for axis in range(3):
        read = []
        for joint in range(NUM_JOINTS):
            logits = flat @ maps[0][:, axis * NUM_JOINTS + joint] + maps[1][axis * NUM_JOINTS + joint]
            weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            seen = flat @ values[0][:, axis * count : (axis + 1) * count] + values[1][axis * count : (axis + 1) * count]
            read += [np.einsum("bp,bpd->bd", weights, seen), weights @ map_positions(8, 8)]
        _, expected = model.heads[axis](jnp.asarray(np.concatenate(read, axis=1), jnp.float32))
        ours = pose[:, axis * NUM_JOINTS : (axis + 1) * NUM_JOINTS]
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_shared_maps_against_float64():
    """One map for each joint, by which all three heads read; X and Y have the scaled position besides."""
    model, x = tiny("shared_maps"), feature_map()
    maps, values = (
        [np.asarray(array.get_value(), np.float64) for array in (layer.kernel, layer.bias)]
        for layer in (model.pool.maps, model.pool.values)
    )
    flat = np.asarray(x, np.float64).reshape(2, 64, 32)
    weights = np.exp(flat @ maps[0] + maps[1])
    weights /= weights.sum(1, keepdims=True)
    position = np.einsum("bpj,pd->bjd", weights, map_positions(8, 8))
    seen = np.einsum("bpj,bpd->bjd", weights, flat @ values[0] + values[1])
    read = jnp.asarray(np.concatenate([seen, position], axis=2).reshape(2, -1), jnp.float32)
    pose = np.asarray(answer(model, x).pose).reshape(2, 3, NUM_JOINTS)
    from_root = position - position[:, ROOT : ROOT + 1]
    for axis in range(2):
        said = np.asarray(model.heads[axis](read)[1], np.float64)
        expected = said[:, :NUM_JOINTS] + np.log1p(np.exp(said[:, NUM_JOINTS:])) * from_root[..., axis]
        np.testing.assert_allclose(pose[:, axis], expected, atol=1e-5)
    np.testing.assert_allclose(pose[:, 2], model.heads[2](read)[1], atol=1e-5)


@pytest.mark.parametrize("pool", ["heatmap", "shared_maps"])
def test_a_peak_in_a_heatmap_is_where_the_joint_is(pool):
    """X and Y follow the places of the peaks, relative to the root's, times the scale that the head says."""
    model = tiny(pool)
    x = np.zeros((1, 8, 8, 32), np.float32)
    x[0, 2, 6, 0], x[0, 5, 1, 1] = 50, 50  # (row, column) of the root, then of all other joints
    kernel = np.zeros((32, NUM_JOINTS), np.float32)
    kernel[0, ROOT], kernel[1, [j for j in range(NUM_JOINTS) if j != ROOT]] = 1, 1
    model.pool.maps.kernel.set_value(jnp.asarray(kernel))
    for head, scale in zip(model.heads[:2], (1.5, 2.0), strict=True):
        head.fc3.kernel.set_value(jnp.zeros_like(head.fc3.kernel.get_value()))
        head.fc3.bias.set_value(jnp.zeros(NUM_JOINTS + 1).at[-1].set(np.log(np.expm1(scale))))
    _, pose, maps = answer(model, jnp.asarray(x))
    assert maps[0, 0, ROOT, 2, 6] > 0.999
    expected = np.zeros((2, NUM_JOINTS))
    expected[0], expected[1] = 1.5 * (1 - 6) / 4, 2.0 * (5 - 2) / 4
    expected[:, ROOT] = 0
    np.testing.assert_allclose(pose[0, : 2 * NUM_JOINTS].reshape(2, -1), expected, atol=1e-4)


@pytest.mark.parametrize("model", [NARROW, ModelConfig()], ids=["width 16", "width 64"])
@pytest.mark.parametrize("pool", POOLS)
def test_a_tenth_more_parameters_and_work_at_most(pool, model):
    ours, theirs = (flops.layers(model, method) for method in (BY_POOL[pool], METHODS["pmd_net"]))
    assert flops.parameters(ours) <= 1.1 * flops.parameters(theirs)
    assert sum(layer.macs for layer in ours) <= 1.1 * sum(layer.macs for layer in theirs)


@pytest.mark.parametrize("pool", POOLS)
def test_all_that_agrees_in_shape_starts_alike(pool):
    def params(model: PMDNet) -> dict:
        return {
            jax.tree_util.keystr(k): v
            for k, v in jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
        }

    plain, spatial, refined = params(tiny("average")), params(tiny(pool)), params(tiny(pool, refine=True))
    # The first layer of a head is drawn by its number of inputs, its bias too.
    alike = [path for path in plain if "fc1" not in path and plain[path].shape == spatial[path].shape]
    assert {path for path in alike if "backbone" in path} == {path for path in plain if "backbone" in path}
    assert any("fc2" in path for path in alike)
    for path in alike:
        np.testing.assert_array_equal(plain[path], spatial[path])
    for path, array in spatial.items():
        np.testing.assert_array_equal(refined[path], array)
