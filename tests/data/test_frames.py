"""The hand in a depth map without a mask, and crops of pairs that nobody has labelled."""

from __future__ import annotations

import numpy as np
import pytest

from pmd_jax.data import hand
from pmd_jax.data.frames import nearest_segment, prepared_example


def test_the_nearest_segment_is_the_connected_part_in_front():
    depth_m = np.full((60, 80), 2.0)
    depth_m[10:30, 20:50] = 0.6  # the hand
    depth_m[12:14, 22:26] = 0.0  # not measured
    depth_m[50:55, 70:75] = 0.65  # as near, but apart and smaller
    depth_m[30:40, 20:50] = 0.9  # the arm, behind
    depth_m[5, 5] = 0.2  # noise: one pixel
    expected = np.zeros((60, 80), bool)
    expected[10:30, 20:50] = True
    expected[12:14, 22:26] = False
    np.testing.assert_array_equal(nearest_segment(depth_m), expected)


def test_an_empty_map_has_no_segment():
    with pytest.raises(ValueError, match="depth map is empty"):
        nearest_segment(np.zeros((4, 4)))


def test_a_pair_without_joints_is_cropped_by_its_mask():
    """What a builder of unlabelled pairs writes: NaN for joints, none visible, and an intrinsic matrix all the same."""
    mask = np.zeros((120, 160), bool)
    mask[40:80, 60:90] = True
    example = prepared_example(
        key="x/train/0",
        rgb=np.zeros((120, 160, 3), np.uint8),
        depth=np.where(mask, 5_000, 20_000).astype(np.uint16),
        xyz_m=np.full((21, 3), np.nan),
        visible=np.zeros(21, bool),
        K=np.array([[200.0, 0, 80], [0, 200.0, 60], [0, 0, 1]]),
        is_left=False,
        size=64,
        margin=1.5,
        mask=mask,
    )
    assert np.isnan(example["xyz"]).all()
    assert np.isfinite(example["K"]).all()
    rows, columns = np.nonzero(example["depth"] == 5_000)
    assert rows.max() - rows.min() + 1 == pytest.approx(64 / hand.MASK_MARGIN, abs=1.01)
    assert (rows.min() + rows.max()) / 2 == pytest.approx(31.5, abs=0.6)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(31.5, abs=0.6)


def test_an_empty_mask():
    with pytest.raises(ValueError, match="no pixel belongs to the hand"):
        hand.mask_box(np.zeros((4, 4), bool))


def test_the_box_of_a_mask_by_hand():
    """Pixels 10 to 19 by 20 to 49: 30 wide, so a side of 39 around (15, 35) in edges."""
    mask = np.zeros((60, 80), bool)
    mask[10:20, 20:50] = True
    assert hand.mask_box(mask) == pytest.approx((35 - 19.5, 15 - 19.5, 39.0))
