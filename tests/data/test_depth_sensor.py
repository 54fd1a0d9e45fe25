"""Depth as a sensor measures it, and other surfaces behind the hand: each effect by itself, and the draws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmd_jax.config import AugmentConfig
from pmd_jax.data import hand
from pmd_jax.data.augment import sample_keys, training_inputs
from pmd_jax.data.background import hand_mask
from pmd_jax.data.depth_sensor import (
    disparity_steps,
    flying_pixels,
    measure,
    sensed,
    stereo_shadow,
    surface_slope,
)
from pmd_jax.data.depth_surroundings import FARTHEST_M, NEAREST_M, change_surroundings, plane_behind
from pmd_jax.data.inputs import Batch
from reference.made_up_columns import make_batch

KEY, FOCAL_PX = jax.random.key(0), 200.0


def keys_of(batch: Batch, step: int = 0) -> jax.Array:
    return sample_keys(jnp.int32(0), jnp.int32(step), jnp.asarray(batch.index))


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Hands of which a disc at the root's depth is measured, before nothing."""
    made = make_batch(16)
    v, u = np.indices((64, 64))
    disc = (v - 32) ** 2 + (u - 32) ** 2 < 18**2
    depth = np.where(disc, made.xyz[:, 9, 2][:, None, None] / hand.DEPTH_UNIT_M, 0)
    return made._replace(depth=np.round(depth).astype(np.uint16), uv=np.full_like(made.uv, 31.5))


def edge(near_m: float = 0.4, far_m: float = 0.6) -> jax.Array:
    """A near surface on the left half, a far one on the right."""
    return jnp.where(np.indices((64, 64))[1] < 32, near_m, far_m)


# ---- the sensor's effects


def test_flying_pixels_lie_between_the_two_surfaces_of_an_edge():
    depth = edge()
    changed = [np.asarray(flying_pixels(depth, key)) for key in jax.random.split(KEY, 8)]
    columns = set(np.flatnonzero(np.any([(one != depth).any(0) for one in changed], axis=0)))
    assert columns == {31, 32}
    flying = np.concatenate([one[one != depth] for one in changed])
    assert flying.size
    assert ((flying > 0.4 - 1e-6) & (flying < 0.6 + 1e-6)).all()


def test_disparity_steps_grow_with_the_square_of_the_distance():
    for metres in (0.5, 1.0, 2.0):
        depth = jnp.linspace(metres - 0.03, metres + 0.03, 4000)
        steps = np.diff(np.unique(np.asarray(disparity_steps(depth, 0.004))))
        assert np.median(steps) == pytest.approx(0.004 * metres**2, rel=0.1)
    np.testing.assert_array_equal(disparity_steps(depth, 0.0), depth)


def test_the_shadow_lies_on_one_side_of_the_nearer_surface_and_on_the_farther_one():
    """To the right of the edge: half of the draws look from there. It is as wide as the disparities differ."""
    widths = []
    for key in jax.random.split(KEY, 32):
        hidden = np.asarray(stereo_shadow(edge(), FOCAL_PX, key))
        assert (hidden == hidden[0]).all()
        columns = np.flatnonzero(hidden[0])
        assert set(columns) <= set(range(32, 41))
        np.testing.assert_array_equal(columns, np.arange(32, 32 + len(columns)))
        widths.append(len(columns))
    assert 8 < np.count_nonzero(widths) < 24
    assert len(set(widths)) > 3


def test_the_slope_of_a_slanted_plane():
    u = jnp.indices((64, 64))[1].astype(jnp.float32)
    depth = 0.5 + 0.002 * u  # 2 mm a pixel, a pixel being about 2.5 mm wide
    slope = np.asarray(surface_slope(depth, FOCAL_PX))[8:-8, 8:-8]
    np.testing.assert_allclose(slope, 0.002 / (np.asarray(depth)[8:-8, 8:-8] / FOCAL_PX), rtol=1e-3)
    assert np.asarray(surface_slope(edge(), FOCAL_PX)).max() == pytest.approx(0, abs=1e-5)  # an edge is no slope


def test_noise_is_small_and_what_is_missing_stays_missing():
    depth = jnp.where(np.indices((64, 64))[0] < 40, 0.5, 0.0)
    seen = np.stack([sensed(depth, FOCAL_PX, key) for key in jax.random.split(KEY, 16)])
    assert (seen[:, 40:] == 0).all()
    there = seen[:, :38]
    assert 0.5 < (there > 0).mean() < 1
    error = there[there > 0] - 0.5
    assert 1e-5 < error.std() < 0.004 * 0.25 + 0.002
    assert abs(error).max() < 0.02


# ---- surfaces behind the hand


def test_other_surfaces_lie_behind_the_hand_and_the_hand_stays(batch):
    changed = change_surroundings(batch, keys_of(batch), AugmentConfig(depth_background=1.0))
    np.testing.assert_array_equal(changed.rgb, batch.rgb)
    behind = []
    for before, after, xyz in zip(batch.depth, np.asarray(changed.depth), batch.xyz, strict=True):
        mask = np.asarray(hand_mask(before, xyz, xyz[9, 2])) & (before > 0)
        assert (after[mask] == before[mask]).mean() > 0.4  # a part may be cut: all joints lie in one pixel here
        elsewhere = after[(before == 0) & (after > 0)] * hand.DEPTH_UNIT_M
        if elsewhere.size:
            assert elsewhere.min() >= xyz[:, 2].max() + NEAREST_M - 1e-4
            behind.append(elsewhere.min() - xyz[:, 2].max())
    assert 8 <= len(behind) < 16  # some maps show nothing behind the hand
    assert min(behind) < 0.1 < 0.3 < max(behind)


def test_the_surface_is_as_far_behind_as_is_drawn():
    made = make_batch(1)
    nearest = [
        float(np.asarray(plane_behind(made.xyz[0], made.K[0], 64, key)).min()) * hand.DEPTH_UNIT_M
        - made.xyz[0, :, 2].max()
        for key in jax.random.split(KEY, 64)
    ]
    assert NEAREST_M - 1e-3 <= min(nearest) < 0.03
    assert 0.5 < max(nearest) <= FARTHEST_M + 1e-3
    assert 0.3 < np.mean(np.array(nearest) < 0.17) < 0.8  # half of a uniform logarithm


def test_without_labels_nothing_tells_the_hand_from_what_is_behind(batch):
    unlabelled = batch._replace(xyz=np.full_like(batch.xyz, np.nan))
    changed = change_surroundings(unlabelled, keys_of(batch), AugmentConfig(depth_background=1.0))
    np.testing.assert_array_equal(changed.depth, batch.depth)


# ---- both, as the training step has them


@pytest.mark.parametrize("name", ["depth_sensor", "depth_background"])
def test_drawn_by_seed_step_and_sample_with_the_probability_that_is_asked_for(batch, name):
    change = {"depth_sensor": measure, "depth_background": change_surroundings}[name]
    half = AugmentConfig(**{name: 0.5})
    first = np.asarray(change(batch, keys_of(batch), half).depth)
    backwards = jax.tree.map(lambda column: column[::-1], batch)
    np.testing.assert_array_equal(np.asarray(change(backwards, keys_of(backwards), half).depth)[::-1], first)
    changed = [
        (np.asarray(change(batch, keys_of(batch, step), half).depth) != batch.depth).any((1, 2)).mean()
        for step in range(8)
    ]
    assert 0.3 < np.mean(changed) < 0.7
    assert change(batch, keys_of(batch), AugmentConfig()) is batch


def test_the_training_step_sees_both_in_depth_alone(batch):
    config = AugmentConfig(depth_background=1.0, depth_sensor=1.0)
    changed, plain = (training_inputs(batch, jnp.int32(0), jnp.int32(0), c, False) for c in (config, AugmentConfig()))
    np.testing.assert_array_equal(changed.rgb, plain.rgb)
    np.testing.assert_array_equal(changed.target, plain.target)
    assert (np.asarray(changed.depth) != np.asarray(plain.depth)).any((1, 2, 3)).all()
