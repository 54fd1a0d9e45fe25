"""Block replacement and flips pixel by pixel, draws by (seed, step, index), input normalisation."""

from __future__ import annotations

import functools
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmd_jax.config import AugmentConfig
from pmd_jax.data import hand
from pmd_jax.data.augment import block_from_right, draw_flips, flip, replace_block, sample_keys, training_inputs
from pmd_jax.data.inputs import Batch, Inputs, normalise_depth, normalise_rgb, to_inputs
from reference.made_up_columns import make_batch, make_columns

PAPER_SIZES = (5, 14, 32)  # RHD, STB, and the largest that fits beside its neighbour


def batch_of(count: int = 64) -> Batch:
    return make_columns(count).gather(np.arange(count))


def keys_of(count: int, seed: int = 0, step: int = 0) -> jax.Array:
    return sample_keys(seed, jnp.int32(step), jnp.arange(count))


def flips_of(before: Batch, after: Batch) -> np.ndarray:
    """(b, 2): which samples were mirrored left–right and top–bottom, by their pictures alone."""
    rgb, flipped = np.asarray(before.rgb), np.asarray(after.rgb)
    found = np.full((len(rgb), 2), -1)
    for u in (0, 1):
        for v in (0, 1):
            mirrored = rgb[:, :: 1 - 2 * v, :: 1 - 2 * u]
            found[(mirrored == flipped).all((1, 2, 3))] = u, v
    return found


@functools.partial(jax.jit, static_argnames=("horizontal", "vertical"))
def flipped(batch: Batch, keys: jax.Array, horizontal: bool = True, vertical: bool = True) -> Batch:
    return flip(batch, draw_flips(keys, AugmentConfig(flip_horizontal=horizontal, flip_vertical=vertical)))


@functools.partial(jax.jit, static_argnames=("size", "probability"))
def replaced(rgb: jax.Array, keys: jax.Array, size: int, probability: float = 1.0) -> tuple[jax.Array, jax.Array]:
    return replace_block(rgb, keys, AugmentConfig(block_size=size, block_probability=probability))


@functools.partial(jax.jit, static_argnames=("size", "replaces"))
def inputs_of(batch: Batch, seed: int = 3, step: int = 7, size: int = 14, replaces: bool = True) -> Inputs:
    config = AugmentConfig(flip_horizontal=True, flip_vertical=True, block_size=size, block_probability=0.5)
    return training_inputs(batch, seed, step, config, replaces)


# ---- random block replacement


def replaced_by_hand(image: np.ndarray, row: int, column: int, size: int) -> np.ndarray:
    """Pixel by pixel."""
    expected = image.copy()
    for y in range(row, row + size):
        for x in range(column, column + size):
            expected[y, x] = image[y, x + size]
    return expected


@pytest.mark.parametrize("size", PAPER_SIZES)
def test_block_replacement_moves_these_pixels_and_no_others(size):
    rgb = batch_of(32).rgb
    pictures, blocks = replaced(rgb, keys_of(32), size)
    chex.assert_shape((pictures, blocks), [(32, 64, 64, 3), (32, 3)])
    chex.assert_type((pictures, blocks), [jnp.uint8, jnp.int32])
    for before, after, (row, column, drawn) in zip(rgb, np.asarray(pictures), np.asarray(blocks), strict=True):
        assert drawn == size
        np.testing.assert_array_equal(after, replaced_by_hand(before, row, column, size))


@pytest.mark.parametrize("size", PAPER_SIZES)
def test_a_block_in_the_last_corner_is_not_shifted(size):
    image = batch_of(1).rgb[0]
    for row, column in ((0, 0), (64 - size, 64 - 2 * size)):
        ours = block_from_right(jnp.asarray(image), jnp.int32(row), jnp.int32(column), size, jnp.bool_(True))
        np.testing.assert_array_equal(ours, replaced_by_hand(image, row, column, size))


@pytest.mark.parametrize("size", PAPER_SIZES)
def test_blocks_are_uniform_over_all_places_that_fit(size):
    """χ² over every (row, column) where the block and its right neighbour lie in the picture."""
    count = 8192
    blocks = np.asarray(replaced(jnp.zeros((count, 64, 64, 1), jnp.uint8), keys_of(count), size)[1])
    rows, columns = blocks[:, 0], blocks[:, 1]
    assert (rows.min(), rows.max()) == (0, 64 - size)
    assert (columns.min(), columns.max()) == (0, 64 - 2 * size)
    places = (64 - size + 1) * (64 - 2 * size + 1)
    counts = np.bincount(rows * (64 - 2 * size + 1) + columns, minlength=places)
    expected = count / places
    chi2 = ((counts - expected) ** 2 / expected).sum()
    spread = np.sqrt(2 * places + places**2 / count)
    assert abs(chi2 - places) < 5 * spread


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.5, 0.45, 0.55), (1.0, 1, 1)])
def test_block_replacement_happens_with_its_probability(probability, low, high):
    count = 2048
    rgb = np.random.default_rng(0).integers(0, 256, (count, 64, 64, 1), np.uint8)
    pictures, blocks = replaced(rgb, keys_of(count), 5, probability)
    happened = (np.asarray(pictures) != rgb).any((1, 2, 3))
    np.testing.assert_array_equal(np.asarray(blocks[:, 2]), np.where(happened, 5, 0))
    assert low <= happened.mean() <= high


def test_block_replacement_touches_rgb_only():
    batch = batch_of()
    with_blocks, without = inputs_of(batch, size=14), inputs_of(batch, size=14, replaces=False)
    chex.assert_trees_all_equal((with_blocks.depth, with_blocks.target), (without.depth, without.target))
    differs = (with_blocks.rgb != without.rgb).any(-1).sum((1, 2))
    assert differs.max() <= 14 * 14
    assert ((differs == 0) | (differs > 0.9 * 14 * 14)).all()
    assert 0.2 < (differs > 0).mean() < 0.8


# ---- flips


def test_all_four_flips_keep_the_projection_and_move_the_principal_point():
    batch = batch_of()
    after = jax.tree.map(np.asarray, flipped(batch, keys_of(64)))
    flips = flips_of(batch, after)
    assert {tuple(pair) for pair in flips.tolist()} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    u, v = flips.T.astype(bool)

    np.testing.assert_allclose(hand.project(after.xyz, after.K), after.uv, atol=1e-3)
    np.testing.assert_allclose(after.uv[:, :, 0], np.where(u[:, None], 63 - batch.uv[:, :, 0], batch.uv[:, :, 0]))
    np.testing.assert_allclose(after.uv[:, :, 1], np.where(v[:, None], 63 - batch.uv[:, :, 1], batch.uv[:, :, 1]))
    np.testing.assert_allclose(after.K[:, 0, 2], np.where(u, 63 - 28.0, 28.0))
    np.testing.assert_allclose(after.K[:, 1, 2], np.where(v, 63 - 36.0, 36.0))
    np.testing.assert_allclose(after.K[:, [0, 1, 2], [0, 1, 2]], batch.K[:, [0, 1, 2], [0, 1, 2]])
    np.testing.assert_array_equal(after.is_left, batch.is_left ^ u ^ v)  # one mirror changes the side, two do not
    np.testing.assert_array_equal(after.xyz[..., 2], batch.xyz[..., 2])


def test_flips_are_fair_and_independent():
    batch = batch_of(512)
    flips = flips_of(batch, flipped(batch, keys_of(512)))
    counts = np.bincount(flips @ [2, 1], minlength=4)
    assert (abs(counts - 128) < 5 * np.sqrt(512 * 3 / 16)).all()


def test_flipping_twice_gives_the_sample_back():
    batch = batch_of()
    twice = flipped(flipped(batch, keys_of(64)), keys_of(64))
    chex.assert_trees_all_equal(twice._replace(uv=0, K=0), jax.tree.map(jnp.asarray, batch)._replace(uv=0, K=0))
    chex.assert_trees_all_close((twice.uv, twice.K), (batch.uv, batch.K), atol=2e-5)


@pytest.mark.parametrize(("horizontal", "vertical"), [(False, False), (True, False), (False, True)])
def test_only_the_allowed_flips_happen(horizontal, vertical):
    batch = batch_of()
    flips = flips_of(batch, flipped(batch, keys_of(64), horizontal, vertical))
    assert flips.max(0).tolist() == [horizontal, vertical]
    assert flips.min() == 0


def test_student_and_teacher_see_the_same_flips():
    batch = batch_of()
    paired = batch._replace(depth=5000 + batch.rgb[..., 0].astype(np.uint16))
    inputs = inputs_of(paired, replaces=False)
    red = np.rint((np.asarray(inputs.rgb[..., 0]) + 1) * 127.5).astype(np.uint16)
    assert (red != batch.rgb[..., 0]).any()
    root_z = hand.normalise(batch.xyz).root_m[:, 2]
    chex.assert_trees_all_close(inputs.depth, normalise_depth(jnp.asarray(5000 + red), root_z), atol=1e-6)


# ---- draws


def test_draws_follow_the_sample_wherever_it_stands_in_the_batch():
    batch = batch_of()
    order = np.random.default_rng(1).permutation(64)
    chex.assert_trees_all_equal(
        inputs_of(jax.tree.map(lambda x: x[order], batch)), jax.tree.map(lambda x: x[order], inputs_of(batch))
    )


def test_draws_do_not_depend_on_how_the_batch_is_split():
    batch = batch_of()
    halves = [inputs_of(jax.tree.map(lambda x, part=part: x[part], batch)) for part in (slice(32), slice(32, None))]
    chex.assert_trees_all_equal(jax.tree.map(lambda *x: jnp.concatenate(x), *halves), inputs_of(batch))


@pytest.mark.parametrize("other", [{"seed": 4}, {"step": 8}])
def test_draws_change_with_seed_and_step(other):
    batch = batch_of()
    changed = (inputs_of(batch).rgb != inputs_of(batch, **other).rgb).any((1, 2, 3))
    assert 0.5 < changed.mean() < 1  # equal only where both draws happen to agree


def test_draws_change_with_the_index():
    batch = batch_of()
    shifted = batch._replace(index=batch.index + 1000)
    assert (inputs_of(batch).rgb != inputs_of(shifted).rgb).any()


def test_what_is_off_is_not_in_the_program():
    """Flips and block replacement alone, as the paper has them: bit for bit what they were without the rest."""
    batch, config = jax.tree.map(jnp.asarray, batch_of(4)), AugmentConfig(flip_horizontal=True, flip_vertical=True)

    def the_papers(batch, seed, step):
        keys = sample_keys(seed, step, batch.index)
        flipped = flip(batch, draw_flips(keys, config))
        return to_inputs(flipped._replace(rgb=replace_block(flipped.rgb, keys, config)[0]))

    def program(function, *arguments):
        return str(jax.make_jaxpr(function)(batch, jnp.int32(3), jnp.int32(7), *arguments))

    expected = program(the_papers)
    assert program(lambda *given: training_inputs(*given, config, True)) == expected
    for name, value in {"rotation_deg": 30.0, "scale": 1.2, "shift": 0.1, "background": 0.5, "colour": 0.5}.items():
        on = replace(config, **{name: value})
        assert program(lambda *given, on=on: training_inputs(*given, on, True)) != expected


# ---- normalisation


def test_rgb_goes_from_minus_one_to_one():
    rgb = np.array([0, 51, 255], np.uint8).reshape(1, 1, 1, 3)
    normalised = normalise_rgb(jnp.asarray(rgb))
    chex.assert_type(normalised, jnp.float32)
    np.testing.assert_allclose(normalised.ravel(), [-1, -0.6, 1], atol=1e-6)


def test_depth_is_metres_behind_the_root_in_a_window_of_20_cm():
    """Root at 0.5 m. Missing depth counts as far, not as near."""
    depth = np.array([[0, 5000, 6000, 7000], [4000, 3000, 9000, 1]], np.uint16)[None]
    normalised = normalise_depth(jnp.asarray(depth), jnp.array([0.5]))
    chex.assert_shape(normalised, (1, 2, 4, 1))
    chex.assert_type(normalised, jnp.float32)
    np.testing.assert_allclose(normalised[0, ..., 0], [[1, 0, 0.5, 1], [-0.5, -1, 1, -1]], atol=1e-6)


def test_inputs_of_a_batch():
    batch = batch_of(8)
    inputs = to_inputs(jax.tree.map(jnp.asarray, batch))
    chex.assert_shape(inputs, [(8, 64, 64, 3), (8, 64, 64, 1), (8, 21, 3)])
    chex.assert_type(inputs, jnp.float32)
    np.testing.assert_array_equal(inputs.target[:, hand.ROOT], 0)
    np.testing.assert_allclose(jnp.linalg.norm(inputs.target[:, hand.WRIST], axis=-1), 1, rtol=1e-6)
    root_z = batch.xyz[:, hand.ROOT, 2]
    expected = np.where(batch.depth == 0, 1, (batch.depth * 1e-4 - root_z[:, None, None]) / 0.2).clip(-1, 1)
    np.testing.assert_allclose(inputs.depth[..., 0], expected, atol=1e-5)


def test_the_front_is_found_anew_in_changed_maps_alone():
    """`map` and `front` with flips alone keep the origin that came with the sample."""
    batch = make_batch(8)
    turned, flipped = AugmentConfig(depth_background=1.0, shift=0.1), AugmentConfig(flip_horizontal=True)
    expected = {}
    for config, rule in ((turned, "front"), (turned, "map"), (flipped, "front"), (flipped, "map")):
        inputs = training_inputs(batch, jnp.int32(0), jnp.int32(0), config, False, depth_origin=rule)
        expected[config.shift, rule] = np.asarray(inputs.depth)
    assert (expected[0.1, "front"] != expected[0.1, "map"]).any()
    np.testing.assert_array_equal(expected[0, "front"], expected[0, "map"])
