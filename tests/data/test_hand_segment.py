"""The hand in a depth map without a mask: the end of the nearest arm, cut at the wrist."""

from __future__ import annotations

import numpy as np
import pytest

from pmd_jax.data import cropping
from pmd_jax.data.hand_segment import NoHand, hand_masks
from reference import mini_recording

K = np.array([[150.0, 0, 80], [0, 150.0, 60], [0, 0, 1]])


def paint(depth_m: np.ndarray, z_m: float, left_m: float, right_m: float, top_m: float, bottom_m: float) -> np.ndarray:
    """A rectangle that faces the camera of `K`, given by its edges in metres."""
    columns = (np.arange(depth_m.shape[1]) - K[0, 2]) / K[0, 0] * z_m
    rows = (np.arange(depth_m.shape[0]) - K[1, 2]) / K[1, 1] * z_m
    inside = ((rows >= top_m) & (rows < bottom_m))[:, None] & ((columns >= left_m) & (columns < right_m))
    depth_m[inside] = z_m
    return inside


def arm(z_m: float = 0.5, x_m: float = 0.0, wall_m: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """A paddle of 9 × 10 cm on a stick of 5 cm that leaves the picture below, before a wall; and the paddle's mask."""
    depth_m = np.full((120, 160), wall_m)
    paint(depth_m, z_m, x_m - 0.025, x_m + 0.025, 0.0, 1.0)
    hand = paint(depth_m, z_m, x_m - 0.045, x_m + 0.045, -0.06, 0.04)
    return depth_m, hand


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def test_an_arm_is_cut_behind_its_palm():
    depth_m, hand = arm()
    (found,) = hand_masks(depth_m, K)
    assert overlap(found, hand) > 0.75
    assert not found[-1].any()  # where the stick leaves the picture


def test_what_is_not_measured_and_single_pixels_in_front_do_no_harm():
    depth_m, hand = arm()
    depth_m[50:52, 78:82] = 0.0
    depth_m[5, 5] = 0.2
    (found,) = hand_masks(depth_m, K)
    assert overlap(found, hand) > 0.75


def test_a_finger_that_stands_out_towards_the_camera_belongs_to_the_hand():
    depth_m, hand = arm()
    finger = paint(depth_m, 0.44, -0.008, 0.008, -0.075, -0.02)
    (found,) = hand_masks(depth_m, K)
    assert (found & finger).sum() / finger.sum() > 0.9
    assert overlap(found, hand | finger) > 0.75


def test_two_hands_come_from_left_to_right():
    (right, right_hand), (left, left_hand) = arm(0.6, x_m=0.15), arm(0.45, x_m=-0.12)
    found = hand_masks(np.minimum(right, left), K, count=2)
    assert overlap(found[0], left_hand) > 0.7
    assert overlap(found[1], right_hand) > 0.7
    assert overlap(hand_masks(np.minimum(right, left), K)[0], left_hand) > 0.7  # the nearer one
    with pytest.raises(NoHand, match=r"1 hand in place of 2: the nearest surface is 0\.45 m away"):
        hand_masks(left, K, count=2)


@pytest.mark.parametrize(
    ("depth_m", "sentence"),
    [
        (np.zeros((120, 160)), "no hand: the depth map is empty"),
        (np.full((120, 160), 40.0), r"no hand: the nearest surface is 40 m away, and hands are looked for from 0.1 to"),
        (np.full((120, 160), 0.9), r"no hand: the nearest surface is 0.9 m away"),  # a wall
    ],
)
def test_a_map_without_a_hand(depth_m, sentence):
    with pytest.raises(NoHand, match=sentence):
        hand_masks(depth_m, K)


def test_a_finer_map_gives_the_same_hand():
    depth_m, hand = arm()
    fine = cropping.crop_intrinsics(K, cropping.CropBox(0, 0, 160), 480)
    (found,) = hand_masks(depth_m.repeat(3, 0).repeat(3, 1), fine)
    assert overlap(found, hand.repeat(3, 0).repeat(3, 1)) > 0.75


def test_rendered_hands_get_boxes_of_their_joints_size():
    margins, inside = [], []
    for drawn in mini_recording.hands(24, seed=7):
        depth_m = np.where(drawn["depth"] > 0, drawn["depth"] * 1e-4, 1.8)
        box = cropping.mask_box(hand_masks(depth_m, drawn["K"].astype(float))[0])
        margins.append(box.side / np.ptp(drawn["uv"], axis=0).max())
        uv = cropping.crop_points(drawn["uv"], box, 64)
        inside.append(cropping.inside(uv, (64, 64)).mean())
    assert 1.4 < np.median(margins) < 1.7
    assert np.mean((np.array(margins) > 1.3) & (np.array(margins) < 1.9)) > 0.8
    assert np.mean(inside) > 0.97
