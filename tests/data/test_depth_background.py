"""Surfaces behind a hand: never before it, at the drawn distance, for hands of known and unknown joints."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmd_jax.config import AugmentConfig
from pmd_jax.data.augment import sample_keys
from pmd_jax.data.depth_background import Surface, kept_pixels, put_behind, with_surface
from reference.made_up_columns import make_batch

SIZE = 32
K = np.array([[80, 0, 15.5], [0, 80, 15.5], [0, 0, 1]], np.float32)
WALL = Surface(
    gap_m=np.float32(0.05),
    slope=np.zeros(2, np.float32),
    bump_m=np.float32(0),
    bump_at=np.full(2, 0.5, np.float32),
    bump_radius=np.float32(0.3),
    empty=np.bool_(False),
    cut_m=np.float32(np.inf),
)
UNLABELLED = np.full((21, 3), np.nan, np.float32)


def hand(behind_m: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A flat hand at 0.5 m, before a wall or nothing, and where it is."""
    depth, where = np.full((SIZE, SIZE), round(behind_m * 1e4), np.uint16), np.zeros((SIZE, SIZE), bool)
    where[10:22, 6:26] = True
    depth[where] = 5000
    return depth, where


def joints() -> np.ndarray:
    """Of a hand whose fingers point up, wrist in the middle of the crop."""
    xyz = np.zeros((21, 3), np.float32)
    xyz[:, 2] = 0.5
    xyz[1:, 1] = -0.05
    return xyz


@pytest.mark.parametrize("before", [0.0, 0.9])
def test_a_wall_stands_where_it_was_drawn_and_the_hand_stays(before):
    depth, where = hand(before)
    changed = with_surface(depth, UNLABELLED, K, np.float32(0.5), WALL)
    np.testing.assert_array_equal(changed[where], 5000)
    np.testing.assert_array_equal(changed[~where], 5500)


@pytest.mark.parametrize("slope", [(1.5, 0.0), (-2.0, 3.0)])
@pytest.mark.parametrize("bump", [0.0, 0.2])
def test_no_surface_reaches_the_hand(slope, bump):
    """Where the hand is nearest to the surface, it is as far from it as was drawn."""
    depth, where = hand()
    depth[where] += np.arange(where.sum(), dtype=np.uint16)
    surface = WALL._replace(slope=np.array(slope, np.float32), bump_m=np.float32(bump))
    changed = with_surface(depth, UNLABELLED, K, np.float32(0.5), surface).astype(int)
    np.testing.assert_array_equal(changed[where], depth[where])
    ring = np.zeros_like(where)
    ring[9:23, 5:27] = True
    assert changed[ring & ~where].min() > 5000 + 200
    assert np.ptp(changed[~where]) > 500  # it is not flat


def test_nothing_behind_the_hand():
    depth, where = hand(0.9)
    changed = with_surface(depth, UNLABELLED, K, np.float32(0.5), WALL._replace(empty=np.bool_(True)))
    np.testing.assert_array_equal(changed > 0, where)


def test_a_forearm_ends_where_it_is_cut():
    """3 cm behind the wrist are 4.8 pixels at 0.5 m."""
    depth, where = hand()
    kept = kept_pixels(depth, joints(), K, np.float32(0.5), np.float32(0.03))
    rows = np.flatnonzero(kept.any(1))
    assert (rows.min(), rows.max()) == (10, 20)
    np.testing.assert_array_equal(kept_pixels(depth, joints(), K, np.float32(0.5), np.float32(np.inf)), where)
    np.testing.assert_array_equal(kept_pixels(depth, UNLABELLED, K, np.float32(0.5), np.float32(0.01)), where)


def test_only_depth_of_chosen_samples_that_show_a_hand_changes():
    batch = make_batch(40)
    size = batch.depth.shape[1]
    depth = np.zeros_like(batch.depth)
    depth[:20, : size // 2] = np.round(batch.depth_origin_m[:20] * 1e4)[:, None, None]
    depth[20:] = 60_000  # a wall without a hand
    batch = batch._replace(depth=depth)
    keys = sample_keys(jnp.int32(0), jnp.int32(0), batch.index)
    assert put_behind(batch, keys, AugmentConfig()) is batch
    after = jax.jit(lambda batch: put_behind(batch, keys, AugmentConfig(depth_background=0.5)))(batch)
    changed = (np.asarray(after.depth) != depth).any((1, 2))
    assert 4 <= changed[:20].sum() <= 16
    assert not changed[20:].any()
    for name in ("rgb", "xyz", "uv", "K", "depth_origin_m"):
        np.testing.assert_array_equal(getattr(after, name), getattr(batch, name))
