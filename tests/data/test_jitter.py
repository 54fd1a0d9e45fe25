"""Moved boxes and other light."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmd_jax.config import AugmentConfig
from pmd_jax.data.augment import sample_keys, training_inputs
from pmd_jax.data.jitter import BORDER, jitter_crops, move_box
from reference.made_up_columns import make_columns

BOTH = AugmentConfig(box_shift=0.1, box_scale=1.25, light=0.2)


@pytest.fixture(scope="module")
def picture():
    return jax.random.uniform(jax.random.key(0), (64, 64, 3), maxval=255)


def keys(count: int, step: int = 0):
    return sample_keys(jnp.int32(0), jnp.int32(step), jnp.arange(count))


def test_a_box_in_its_place_shows_the_crop(picture):
    np.testing.assert_allclose(move_box(picture, jnp.zeros(2), jnp.float32(1)), picture, atol=1e-3)


def test_a_box_moved_by_whole_pixels_shows_what_lies_there(picture):
    moved = move_box(picture, jnp.array([4, -3]) / 64, jnp.float32(1))
    np.testing.assert_allclose(moved[:60, 3:], picture[4:, :61], atol=1e-2)
    np.testing.assert_allclose(moved[60:, 3:], picture[-2:-6:-1, :61], atol=1e-2)  # beyond the edge: its reflection


def test_a_larger_box_shows_the_same_middle_smaller():
    """A white square of 20 px in the middle: 16 px in a box 1.25 times as large."""
    picture = jnp.zeros((64, 64, 3)).at[22:42, 22:42].set(255)
    area = move_box(picture, jnp.zeros(2), jnp.float32(1.25)).sum() / 255 / 3
    assert area == pytest.approx(16**2, rel=0.01)


def test_the_largest_box_stays_within_the_border():
    assert 32 + BORDER >= 1.25 * 32 + 0.1 * 64


def test_only_the_students_picture_changes():
    columns = make_columns(6)
    batch = columns.gather(np.arange(6))
    plain, disturbed = (training_inputs(batch, jnp.int32(0), jnp.int32(3), c, False) for c in (AugmentConfig(), BOTH))
    np.testing.assert_array_equal(plain.depth, disturbed.depth)
    np.testing.assert_array_equal(plain.target, disturbed.target)
    assert np.abs(plain.rgb - disturbed.rgb).max((1, 2, 3)).min() > 0.1


def test_draws_belong_to_the_sample(picture):
    rgb = jnp.broadcast_to(picture.astype(jnp.uint8), (5, 64, 64, 3))
    together, alone = jitter_crops(rgb, keys(5), BOTH), jitter_crops(rgb[3:4], keys(5)[3:4], BOTH)
    np.testing.assert_array_equal(together[3:4], alone)
    assert len({np.asarray(image).tobytes() for image in together}) == 5
    assert (jitter_crops(rgb, keys(5, step=1), BOTH) != together).any()


def test_nothing_is_done_by_default(picture):
    rgb = picture.astype(jnp.uint8)[None]
    np.testing.assert_array_equal(jitter_crops(rgb, keys(1), AugmentConfig()), rgb)
