"""The networks: sizes, shapes, initial distributions, batch norm, and which head moves which axis."""

from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pmd_jax.config.backbones import BACKBONES
from pmd_jax.data.hand import NUM_JOINTS
from pmd_jax.models.dense import Head
from pmd_jax.models.pmd_net import PMDNet, Prediction
from pmd_jax.models.resnet import BasicBlock, parameter_count

TINY = {"width": 4, "blocks": (1, 1, 1, 1), "reading": "32/16/8/8"}


def tiny(channels: int = 3, seed: int = 0, **changes) -> PMDNet:
    return PMDNet(channels, **{**TINY, **changes}, rngs=nnx.Rngs(seed))


@nnx.jit
def apply(model: PMDNet, images: jax.Array) -> Prediction:
    """Compiled as a whole: op by op takes ten times as long."""
    return model(images)


def images_of(channels: int = 3, batch: int = 4, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (batch, 64, 64, channels)), jnp.float32)


@functools.cache
def full(channels: int = 3, **options) -> PMDNet:
    """The paper's network, in evaluation mode; tests look at its shapes and compute nothing with it."""
    network = PMDNet(channels, **options, rngs=nnx.Rngs(0))
    network.eval()
    return network


@pytest.fixture(scope="module", autouse=True)
def _forget_full_networks():
    """87 MB each."""
    yield
    full.cache_clear()


def count(module) -> int:
    return parameter_count(nnx.state(module, nnx.Param))


# ---- size


@pytest.mark.parametrize(
    ("channels", "options", "parameters"),
    [
        (3, {}, 21_724_415),
        (1, {}, 21_723_263),
        (3, {"refine": True}, 21_876_286),
        (3, {"heads": "joint"}, 21_428_863),
    ],
    ids=["three heads", "depth", "refine", "joint head"],
)
def test_parameters_of_the_papers_network(channels, options, parameters):
    assert count(full(channels, **options)) == parameters


def test_parameters_of_the_backbone():
    """ResNet-34 without its classifier, with a 3×3 in place of the 7×7 stem (21,284,672 − 64·3·(49 − 9))."""
    assert count(full().backbone) == 21_276_992 == 21_284_672 - 64 * 3 * 40
    assert count(full(reading="32/16/8/8").backbone) == 21_284_672


def test_networks_of_two_modalities_differ_in_the_stem_only():
    rgb, depth = (nnx.to_pure_dict(nnx.state(full(channels), nnx.Param)) for channels in (3, 1))
    stems = [tree["backbone"].pop("stem")["kernel"].shape for tree in (rgb, depth)]
    assert stems == [(3, 3, 3, 64), (3, 3, 1, 64)]
    chex.assert_trees_all_equal_shapes_and_dtypes(rgb, depth)


@pytest.mark.parametrize("reading", BACKBONES)
def test_both_readings_give_8_by_8_by_512_before_the_pool(reading):
    """The sizes after the stem and the four stages, as the reading is named."""
    network = full(reading=reading)
    sizes = []

    def stages(images):
        x = network.backbone.stem(images)
        sizes.append(x.shape[1:3])
        for block in network.backbone.blocks:
            x = block(x)
            sizes.append((*x.shape[1:3], x.shape[3]))
        return x

    last = jax.eval_shape(stages, images_of(batch=2))
    assert last.shape == (2, 8, 8, 512)
    stem = int(reading.split("/")[0])
    assert sizes.pop(0) == (stem, stem)
    stages_of = zip((3, 4, 6, 3), reading.split("/"), strict=True)  # the first block of a stage changes the size
    expected = [(int(n), int(n), 64 * 2**i) for i, (blocks, n) in enumerate(stages_of) for _ in range(blocks)]
    assert sizes == expected


def test_width_scales_the_channels():
    narrow, wide = tiny(width=4), tiny(width=8)
    assert (narrow.heads[0].fc1.in_features, wide.heads[0].fc1.in_features) == (32, 64)
    assert count(wide.backbone) == pytest.approx(4 * count(narrow.backbone), rel=0.05)


# ---- what it computes


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize(("heads", "number"), [("separate", 3), ("joint", 1)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_prediction_is_float32_of_these_shapes(heads, number, refine, dtype):
    model = tiny(heads=heads, refine=refine, dtype=dtype)
    model.eval()
    prediction = jax.eval_shape(lambda images: model(images), images_of(batch=2))
    chex.assert_shape(prediction[:4], [(2, 32), (2, number, 64), (2, 21, 3), (2, 21, 3)])
    assert prediction.maps is None
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(prediction))
    kept = nnx.state(model, (nnx.Param, nnx.BatchStat))
    assert {leaf.dtype for leaf in jax.tree.leaves(kept)} == {jnp.dtype(jnp.float32)}


def test_bfloat16_is_used_in_the_backbone_and_close_to_float32():
    """The same numbers to about three digits; equal ones would mean that bfloat16 is not used."""
    single, half = tiny(), tiny(dtype=jnp.bfloat16)
    assert half.backbone.stem(images_of()).dtype == jnp.bfloat16
    ours, theirs = apply(half, images_of()), apply(single, images_of())
    chex.assert_trees_all_close(ours, theirs, atol=0.05)
    assert (ours.feature != theirs.feature).any()
    statistics = nnx.state(half, nnx.BatchStat)
    assert {leaf.dtype for leaf in jax.tree.leaves(statistics)} == {jnp.dtype(jnp.float32)}


def test_feature_is_the_mean_of_a_nonnegative_map():
    feature = apply(tiny(), images_of()).feature
    assert feature.min() >= 0
    assert feature.max() > 0


@pytest.mark.parametrize(("axis", "name"), list(enumerate("xyz")))
@pytest.mark.parametrize("heads", ["separate", "joint"])
def test_coordinates_land_on_their_axis(heads, axis, name):
    """The bias of one axis' outputs moves that coordinate of each joint by its own amount, and nothing else."""
    model = tiny(heads=heads)
    model.eval()
    before = apply(model, images_of())
    shift = 1.0 + np.arange(NUM_JOINTS)
    if heads == "separate":
        bias = model.heads[axis].fc3.bias
        bias.set_value(bias.get_value() + shift)
    else:
        bias = model.heads[0].fc3.bias
        bias.set_value(bias.get_value().at[axis * NUM_JOINTS : (axis + 1) * NUM_JOINTS].add(shift))
    moved = np.asarray(apply(model, images_of()).pose - before.pose)
    expected = np.zeros((4, NUM_JOINTS, 3))
    expected[..., "xyz".index(name)] = shift
    np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_a_head_is_three_layers_with_two_relus():
    """Against the same layers in float64."""
    head = Head(32, NUM_JOINTS, nnx.Rngs(0))
    feature = np.random.default_rng(0).normal(size=(4, 32))
    layers = [(head.fc1, 256), (head.fc2, 64), (head.fc3, NUM_JOINTS)]
    (w1, b1), (w2, b2), (w3, b3) = (
        (np.asarray(layer.kernel.get_value(), np.float64), np.asarray(layer.bias.get_value(), np.float64))
        for layer, _ in layers
    )
    assert [w.shape[1] for w in (w1, w2, w3)] == [units for _, units in layers]
    expected = np.maximum(feature @ w1 + b1, 0) @ w2 + b2
    hidden, output = head(jnp.asarray(feature, jnp.float32))
    np.testing.assert_allclose(hidden, expected, atol=1e-5)
    np.testing.assert_allclose(output, np.maximum(expected, 0) @ w3 + b3, atol=1e-5)


def test_a_block_adds_its_input_to_what_its_convolutions_say():
    """With the second norm's scale at zero only the shortcut is left."""
    block = BasicBlock(4, 4, 1, jnp.float32, nnx.Rngs(0))
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 4)), jnp.float32)
    assert block.projection is None
    assert (block(images) != jnp.maximum(images, 0)).any()
    block.norm2.scale.set_value(jnp.zeros(4))
    np.testing.assert_array_equal(block(images), jnp.maximum(images, 0))


def test_heads_are_separate_networks_on_one_feature():
    """Each head's second last layer feeds its own axis."""
    model = tiny()
    model.eval()
    before = apply(model, images_of())
    kernel = model.heads[1].fc2.kernel
    kernel.set_value(kernel.get_value() * 2)
    after = apply(model, images_of())
    np.testing.assert_array_equal(after.feature, before.feature)
    np.testing.assert_array_equal(after.hidden[:, [0, 2]], before.hidden[:, [0, 2]])
    np.testing.assert_array_equal(after.pose[..., [0, 2]], before.pose[..., [0, 2]])
    assert (after.pose[..., 1] != before.pose[..., 1]).any()


def test_refined_pose_is_the_first_pose_and_a_residual():
    model = tiny(refine=True)
    model.eval()
    before = apply(model, images_of())
    assert (before.pose != before.first_pose).any()
    bias = model.refine.fc3.bias
    bias.set_value(bias.get_value().at[2 * NUM_JOINTS + 5].add(3.0))  # joint 5's z
    after = apply(model, images_of())
    np.testing.assert_array_equal(after.first_pose, before.first_pose)
    expected = np.zeros((4, NUM_JOINTS, 3))
    expected[:, 5, 2] = 3
    np.testing.assert_allclose(after.pose - before.pose, expected, atol=1e-5)


def test_without_a_refine_branch_the_first_pose_is_the_answer():
    prediction = apply(tiny(), images_of())
    np.testing.assert_array_equal(prediction.pose, prediction.first_pose)


def test_hidden_layer_before_and_after_its_relu():
    after, before = tiny(), tiny(hidden_before_relu=True)
    rectified, raw = apply(after, images_of()), apply(before, images_of())
    assert raw.hidden.min() < 0 <= rectified.hidden.min()
    np.testing.assert_allclose(jnp.maximum(raw.hidden, 0), rectified.hidden, atol=1e-6)
    np.testing.assert_allclose(
        raw.pose, rectified.pose, atol=1e-6
    )  # what is distilled does not change what is predicted
    head = after.heads[2]
    np.testing.assert_allclose(head.fc3(rectified.hidden[:, 2]), rectified.pose[..., 2], atol=1e-6)


# ---- initial numbers


def test_convolutions_start_he_normal_by_fan_out():
    """Standard deviation √(2 / (kernel² · outputs)), and a normal's fourth moment."""
    model = PMDNet(3, width=32, blocks=(1, 1, 1, 1), rngs=nnx.Rngs(0))
    block = model.backbone.blocks[3]  # 128 → 256 channels
    for kernel in (block.conv1.kernel, block.conv2.kernel, block.projection.conv.kernel):
        values = np.asarray(kernel.get_value(), np.float64)
        height, width, _, outputs = values.shape
        assert values.std() == pytest.approx(np.sqrt(2 / (height * width * outputs)), rel=0.02)
        assert abs(values.mean()) < 4 * values.std() / np.sqrt(values.size)
        assert (values**4).mean() / values.var() ** 2 == pytest.approx(3, rel=0.05)
    assert block.conv1.bias is None


def test_dense_layers_start_as_in_pytorch():
    """Kernel and bias uniform within ±1/√inputs."""
    model = tiny(width=64)
    for layer, inputs in ((model.heads[0].fc1, 512), (model.heads[0].fc2, 256), (model.heads[0].fc3, 64)):
        bound = 1 / np.sqrt(inputs)
        kernel, bias = (np.asarray(array.get_value(), np.float64) for array in (layer.kernel, layer.bias))
        assert kernel.shape[0] == inputs
        assert 0.99 * bound < abs(kernel).max() <= bound * (1 + 1e-6)
        assert kernel.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
        assert 0.7 * bound < abs(bias).max() <= bound * (1 + 1e-6)
        assert bias.std() == pytest.approx(bound / np.sqrt(3), rel=0.35)


def test_seeds_give_other_numbers_and_heads_are_not_copies():
    first, second = tiny(seed=0), tiny(seed=1)
    assert (first.backbone.stem.kernel.get_value() != second.backbone.stem.kernel.get_value()).all()
    kernels = [np.asarray(head.fc1.kernel.get_value()) for head in first.heads]
    assert not any(np.array_equal(kernels[i], kernels[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    again = tiny(seed=0)
    chex.assert_trees_all_equal(*(nnx.to_pure_dict(nnx.state(m, nnx.Param)) for m in (first, again)))


# ---- batch norm


def statistics_of(model: PMDNet) -> dict:
    return jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)))


def test_statistics_move_in_training_and_stay_in_evaluation():
    model = tiny()
    start = statistics_of(model)
    assert all((leaf == 0).all() or (leaf == 1).all() for leaf in jax.tree.leaves(start))
    model.eval()
    apply(model, images_of())
    chex.assert_trees_all_equal(statistics_of(model), start)
    model.train()
    apply(model, images_of())
    moved = jax.tree.map(lambda a, b: bool((a != b).all()), statistics_of(model), start)
    assert all(jax.tree.leaves(moved))


def test_running_statistics_take_a_tenth_of_the_batch():
    model = tiny()
    stem = np.asarray(model.backbone.stem(images_of()), np.float64)
    apply(model, images_of())
    norm = model.backbone.norm
    np.testing.assert_allclose(norm.mean.get_value(), 0.1 * stem.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(norm.var.get_value(), 0.9 + 0.1 * stem.var((0, 1, 2)), rtol=1e-4)


def test_only_training_looks_at_the_rest_of_the_batch():
    model = tiny()
    apply(model, images_of())  # statistics that are not the initial ones
    images = images_of()
    others = images.at[1:].set(images_of(seed=1)[1:])
    assert abs(apply(model, images).pose[0] - apply(model, others).pose[0]).max() > 1e-3
    model.eval()
    np.testing.assert_allclose(apply(model, images).pose[0], apply(model, others).pose[0], atol=1e-6)
