"""Other colours, blur and noise, of the student's picture alone."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmd_jax.config import AugmentConfig
from pmd_jax.data.augment import sample_keys, training_inputs
from pmd_jax.data.colour import blur, change_colours
from reference.made_up_columns import make_batch


@functools.partial(jax.jit, static_argnames="strength")
def coloured(pictures: jax.Array, keys: jax.Array, strength: float = 1.0) -> jax.Array:
    return change_colours(pictures, keys, AugmentConfig(colour=strength))


def keys(count: int, step: int = 0) -> jax.Array:
    return sample_keys(jnp.int32(0), jnp.int32(step), jnp.arange(count))


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Two colours side by side, the same picture many times."""
    halves = np.where(np.arange(64)[None, :, None] < 32, [200, 90, 60], [40, 80, 160])
    return np.broadcast_to(halves, (64, 64, 64, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def changed(pictures) -> np.ndarray:
    return np.asarray(coloured(pictures, keys(64)))


def test_only_the_students_picture_changes():
    batch = make_batch(64)

    @functools.partial(jax.jit, static_argnames="strength")
    def inputs(strength):
        return training_inputs(batch, jnp.int32(0), jnp.int32(3), AugmentConfig(colour=strength), False)

    plain, other = inputs(0.0), inputs(1.0)
    np.testing.assert_array_equal(plain.depth, other.depth)
    np.testing.assert_array_equal(plain.target, other.target)
    assert np.abs(plain.rgb - other.rgb).max((1, 2, 3)).min() > 0.05


def test_draws_belong_to_the_sample(pictures, changed):
    order = np.random.default_rng(0).permutation(64)
    np.testing.assert_array_equal(coloured(pictures, keys(64)[order]), changed[order])
    assert len({image.tobytes() for image in changed}) == 64
    assert (np.asarray(coloured(pictures, keys(64, step=1))) != changed).any((1, 2, 3)).all()


def test_shares_of_grey_blurred_and_noisy_pictures(changed):
    grey = np.ptp(changed[:, 16:48, 4:28].mean((1, 2)), axis=-1) < 1
    assert 0.05 < grey.mean() < 0.4
    noisy = changed[:, :, 4:28].std((1, 2)).max(-1) > 0.5  # these columns have one colour
    assert 0.3 < noisy.mean() < 0.7
    smooth = changed[~noisy].astype(float)
    edge = np.abs(np.diff(smooth, axis=2)).mean(1).max((1, 2)) / np.abs(smooth[:, 0, 0] - smooth[:, 0, -1]).max(-1)
    assert 0.25 < (edge < 0.95).mean() < 0.75


def test_a_blur_spreads_a_point_and_keeps_its_light():
    point, blurred = jnp.zeros((21, 21, 1)).at[10, 12].set(1), jax.jit(blur)
    np.testing.assert_array_equal(blurred(point, jnp.float32(0)), point)
    spread = np.asarray(blurred(point, jnp.float32(1.0)))[..., 0]
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    distance = np.arange(21) - 12
    assert (spread.sum(0) * distance**2).sum() == pytest.approx(1, rel=0.03)
    np.testing.assert_allclose(spread[10, 12 - 3 : 12 + 4], spread[10 - 3 : 10 + 4, 12], atol=1e-6)


def test_a_smaller_strength_changes_less(pictures, changed):
    little = np.asarray(coloured(pictures, keys(64), strength=0.1)).astype(float)
    assert np.abs(little - pictures).mean() < 0.3 * np.abs(changed.astype(float) - pictures).mean()


def test_nothing_is_done_by_default(pictures):
    np.testing.assert_array_equal(change_colours(pictures[:1], keys(1), AugmentConfig()), pictures[:1])
