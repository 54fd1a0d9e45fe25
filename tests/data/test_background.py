"""A hand before another sample's background: which pixels, whose, at which depth, on how many devices."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from pmd_jax.config import AugmentConfig
from pmd_jax.data.augment import sample_keys, training_inputs
from pmd_jax.data.background import exchange_backgrounds, hand_mask, partners
from pmd_jax.data.inputs import Batch
from pmd_jax.runtime import sharding
from reference.made_up_columns import make_batch

SMALL = 16  # pixels; a side is nowhere fixed


@functools.partial(jax.jit, static_argnames="probability")
def exchange(batch: Batch, keys: jax.Array, probability: float = 1.0) -> Batch:
    return exchange_backgrounds(batch, keys, AugmentConfig(background=probability))


def keys_of(batch: Batch, step: int = 0) -> jax.Array:
    return sample_keys(jnp.int32(0), jnp.int32(step), batch.index)


def hands(count: int = 4) -> tuple[Batch, np.ndarray]:
    """Flat squares at 0.5 m, 0.6 m … before a wall 0.4 m behind; and where they are, with one pixel around them."""
    batch = jax.tree.map(np.array, make_batch(count))
    masks = np.zeros((count, SMALL, SMALL), bool)
    z = 0.5 + 0.1 * np.arange(count, dtype=np.float32)
    depth = np.empty((count, SMALL, SMALL), np.uint16)
    for number, metres in enumerate(z):
        depth[number] = round((metres + 0.4) * 1e4)
        depth[number, number + 3 : number + 9, 4:9] = round(metres * 1e4)
        masks[number, number + 2 : number + 10, 3:10] = True
    batch.xyz[..., 2] = z[:, None]
    rgb = np.random.default_rng(0).integers(0, 256, (count, SMALL, SMALL, 3), np.uint8)
    return batch._replace(rgb=rgb, depth=depth, depth_origin_m=z), masks


def by_hand(batch: Batch, masks: np.ndarray, partner: np.ndarray) -> Batch:
    """Pixel by pixel."""
    rgb, depth = batch.rgb.copy(), batch.depth.copy()
    for sample, other in enumerate(partner):
        farther = round(float(batch.depth_origin_m[sample] - batch.depth_origin_m[other]) * 1e4)
        for place in np.ndindex(SMALL, SMALL):
            if not masks[sample][place] and not masks[other][place]:
                rgb[sample][place] = batch.rgb[other][place]
                theirs = int(batch.depth[other][place])
                depth[sample][place] = theirs + farther if theirs else 0
    return batch._replace(rgb=rgb, depth=depth)


def test_the_mask_is_the_hand_and_a_pixel_around_it():
    batch, masks = hands()
    for number in range(4):
        found = hand_mask(batch.depth[number], batch.xyz[number], batch.depth_origin_m[number])
        np.testing.assert_array_equal(found, masks[number])
        unlabelled = hand_mask(batch.depth[number], np.full((21, 3), np.nan), batch.depth_origin_m[number])
        np.testing.assert_array_equal(unlabelled, masks[number])


def test_backgrounds_are_exchanged_pixel_by_pixel():
    """The wall is 0.4 m behind the hand, whoever's it is; a hole in it stays one."""
    batch, masks = hands()
    batch.depth[:, 0, 5] = 0
    keys = keys_of(batch)
    partner = np.asarray(partners(keys, batch.index))
    after, expected = exchange(batch, keys), by_hand(batch, masks, partner)
    np.testing.assert_array_equal(after.rgb, expected.rgb)
    np.testing.assert_array_equal(after.depth, expected.depth)
    assert (np.asarray(after.rgb) != batch.rgb).any((1, 2, 3)).all()
    assert set(np.unique(np.asarray(after.depth)[2])) == {0, 7000, 11000}
    for name in ("xyz", "uv", "K", "visible", "is_left", "depth_origin_m"):
        np.testing.assert_array_equal(getattr(after, name), getattr(batch, name))


def test_depth_that_shows_no_hand_neither_gives_nor_takes():
    batch, masks = hands()
    batch.depth[1] = 0
    keys = keys_of(batch)
    partner = np.asarray(partners(keys, batch.index))
    after, expected = exchange(batch, keys), by_hand(batch, masks, partner)
    kept = (np.arange(4) == 1) | (partner == 1)
    assert kept.sum() == 2
    np.testing.assert_array_equal(np.asarray(after.rgb)[kept], batch.rgb[kept])
    np.testing.assert_array_equal(np.asarray(after.depth)[kept], batch.depth[kept])
    np.testing.assert_array_equal(np.asarray(after.rgb)[~kept], expected.rgb[~kept])


def test_partners_are_others_and_do_not_depend_on_the_order():
    index = np.arange(40, dtype=np.int32)
    order = np.random.default_rng(0).permutation(40)
    keys = sample_keys(jnp.int32(0), jnp.int32(0), index)
    partner = np.asarray(partners(keys, index))
    assert sorted(partner) == list(range(40))
    assert (partner != index).all()
    shuffled = np.asarray(partners(keys[order], index[order]))
    np.testing.assert_array_equal(order[shuffled], partner[order])
    assert (np.asarray(partners(sample_keys(jnp.int32(0), jnp.int32(1), index), index)) != partner).any()


@pytest.mark.parametrize(("probability", "low", "high"), [(0.3, 0.15, 0.45), (1.0, 1.0, 1.0)])
def test_it_happens_with_its_probability(probability, low, high):
    batch, _ = hands(4)
    many = jax.tree.map(lambda column: np.concatenate([column] * 32), batch)._replace(index=np.arange(128, dtype="i4"))
    many.rgb[:] = np.arange(128)[:, None, None, None]
    after = exchange(many, keys_of(many), probability)
    assert low <= (np.asarray(after.rgb) != many.rgb).any((1, 2, 3)).mean() <= high


def test_nothing_is_done_by_default():
    batch, _ = hands()
    assert exchange_backgrounds(batch, keys_of(batch), AugmentConfig()) is batch


def test_the_same_on_one_device_and_on_two():
    """With all that changes the geometry, and under axes that the step may meet."""
    config = AugmentConfig(flip_horizontal=True, rotation_deg=40.0, scale=1.2, shift=0.1, background=0.7)
    batch, results = make_batch(8), []
    for devices, axis_type in ((1, AxisType.Auto), (2, AxisType.Auto), (2, AxisType.Explicit)):
        mesh = Mesh(np.asarray(jax.devices()[:devices]), (sharding.DATA,), axis_types=(axis_type,))
        with jax.set_mesh(mesh):
            inputs = jax.jit(lambda batch: training_inputs(batch, jnp.int32(3), jnp.int32(5), config, False))
            found = inputs(sharding.global_array(mesh, batch))
            assert len(found.rgb.sharding.device_set) == devices
            results.append(jax.tree.map(np.asarray, found))
    for other in results[1:]:
        for ours, theirs in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(ours, theirs)
