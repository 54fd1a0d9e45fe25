"""Crops of frames, and of pairs that nobody has labelled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pmd_jax.data import cropping
from pmd_jax.data.frames import depth_units, prepared_example
from pmd_jax.runtime.errors import InputError


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
    assert rows.max() - rows.min() + 1 == pytest.approx(64 / cropping.MASK_MARGIN, abs=1.01)
    assert (rows.min() + rows.max()) / 2 == pytest.approx(31.5, abs=0.6)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(31.5, abs=0.6)


@pytest.fixture
def frame() -> dict[str, Any]:
    """A frame of one's own, as `prepared_example` takes it."""
    xyz_m = np.random.default_rng(0).normal((0, 0, 0.6), 0.03, (21, 3))
    return {
        "key": "my_hands/train/0001",
        "rgb": np.zeros((120, 160, 3), np.uint8),
        "depth": np.full((120, 160), 0.6),
        "xyz_m": xyz_m,
        "visible": np.ones(21, bool),
        "K": np.array([[200.0, 0, 80], [0, 200.0, 60], [0, 0, 1]]),
        "is_left": False,
        "size": 64,
        "margin": 1.5,
    }


FAULTS = {
    "millimetres": (lambda f: {"xyz_m": 1000 * f["xyz_m"]}, "m apart (limit 1 m): give joints in metres"),
    "behind": (lambda f: {"xyz_m": f["xyz_m"] * [1, 1, -1]}, "a joint lies behind the camera (z = -0."),
    "one_place": (lambda f: {"xyz_m": np.tile(f["xyz_m"][:1], (21, 1))}, "lie at one place"),
    "half_labelled": (lambda f: {"xyz_m": np.where(np.eye(21, 3), np.nan, f["xyz_m"])}, "the joints hold NaN"),
    "nobodys_but_seen": (lambda f: {"xyz_m": np.full((21, 3), np.nan)}, "called visible, but all are NaN"),
    "joints": (lambda f: {"xyz_m": f["xyz_m"][:20]}, "xyz_m is of shape (20, 3)"),
    "visible": (lambda f: {"visible": np.ones(21, int)}, "visible is int64 in place of bool"),
    "depth_size": (lambda f: {"depth": f["depth"][::2, ::2]}, "depth of shape (60, 80) beside colours of (120, 160)"),
    "mask_size": (lambda f: {"mask": np.ones((60, 80), bool)}, "mask of shape (60, 80) beside colours"),
    "negative_depth": (lambda f: {"depth": f["depth"] - 1}, "a depth of -0.4 m"),
    "depth_unit": (lambda f: {"depth": (1000 * f["depth"]).astype(np.int32)}, "depth is int32: give metres"),
    "no_depth": (lambda f: {"depth": 0 * f["depth"]}, "the depth map shows nothing in the crop"),
    "grey": (lambda f: {"rgb": f["rgb"][..., 0]}, "rgb is uint8 of shape (120, 160)"),
    "focal": (lambda f: {"K": np.diag([200.0, -200.0, 1.0])}, "is not [[fx, s, cx]"),
    "turned_K": (lambda f: {"K": f["K"].T}, "is not [[fx, s, cx]"),
    "elsewhere": (lambda f: {"mask": np.eye(120, 160, 140) > 0}, "visible joints lie in the crop (limit 50%)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_frame_that_cannot_be_right_is_named(frame, fault):
    prepared_example(**frame)
    change, complaint = FAULTS[fault]
    with pytest.raises(InputError) as refusal:
        prepared_example(**{**frame, **change(frame)})
    assert str(refusal.value).startswith("my_hands/train/0001: ")
    assert complaint in str(refusal.value)


def test_depth_in_metres_and_in_units_are_one(frame):
    metres = prepared_example(**frame)["depth"]
    np.testing.assert_array_equal(metres, prepared_example(**frame | {"depth": depth_units(frame["depth"])})["depth"])
    assert not prepared_example(**frame | {"depth": None})["depth"].any()


def test_what_is_not_measured_has_no_depth():
    np.testing.assert_array_equal(depth_units(np.array([[0, np.nan, np.inf, 7.0, 0.1]])), [[0, 0, 0, 0, 1000]])
    with pytest.raises(InputError, match=r"a depth of -1 m"):
        depth_units(np.array([[0.5, -1.0]]))


def test_an_empty_mask():
    with pytest.raises(ValueError, match="no pixel belongs to the hand"):
        cropping.mask_box(np.zeros((4, 4), bool))


def test_the_box_of_a_mask_by_hand():
    """Pixels 10 to 19 by 20 to 49: 30 wide, so a side of 39 around (15, 35) in edges."""
    mask = np.zeros((60, 80), bool)
    mask[10:20, 20:50] = True
    assert cropping.mask_box(mask) == pytest.approx((35 - 19.5, 15 - 19.5, 39.0))
