"""Joints are drawn where they are, and a turned hand is turned."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageColor

from pmd_jax.data.cropping import CropBox
from pmd_jax.predict.hand_pose import place_hand
from pmd_jax.predict.overlays import LONGEST_PX, TURNS, overlay, turntable
from pmd_jax.viz.skeleton import JOINT_COLOURS

POSE = np.random.default_rng(3).normal(size=(21, 3)).astype(np.float32)


def test_joints_are_drawn_where_they_are():
    found = place_hand(POSE, CropBox(50.5, -10, 300))
    image = np.asarray(overlay(np.full((360, 500, 3), 128, np.uint8), found))
    nearest = found.joints[:, 2].argmin()  # nothing lies over it
    u, v = np.rint(found.uv_px[nearest]).astype(int)
    colour = ImageColor.getrgb(JOINT_COLOURS[nearest])
    assert abs(image[v, u].astype(int) - colour).max() < 12
    assert (image[:, 400:] == 128).all()


def test_a_large_picture_becomes_smaller_with_its_joints():
    found = place_hand(POSE, CropBox(1000, 500, 1200))
    image = np.asarray(overlay(np.full((2000, 3200, 3), 128, np.uint8), found))
    assert image.shape == (LONGEST_PX * 2000 // 3200, LONGEST_PX, 3)
    drawn = np.argwhere((image != 128).any(-1))
    assert (drawn.min(0) >= [245, 495]).all()
    assert (drawn.max(0) <= [855, 1105]).all()


def test_a_box_that_reaches_outside_is_drawn_as_far_as_it_goes():
    for box in (CropBox(-40, -60, 90), CropBox(80, 90, 90)):
        image = np.asarray(overlay(np.full((100, 120, 3), 128, np.uint8), place_hand(POSE, box)))
        assert image.shape == (100, 120, 3)
        assert (image != 128).any()


def test_a_full_turn():
    """The first picture is the camera's view, half a turn later it is mirrored."""
    images = [np.asarray(image) for image in turntable(np.repeat(POSE[None], TURNS, 0))]
    assert len(images) == TURNS
    mask = [(image != 250).any(-1) for image in images]
    assert (mask[TURNS // 2][:, ::-1] != mask[0]).mean() < 0.01
    for angle, pose in ((0, POSE), (TURNS // 4, POSE[:, [2, 1, 0]])):
        drawn = np.ptp(np.argwhere(mask[angle]), axis=0)
        assert drawn[1] / drawn[0] == pytest.approx(np.ptp(pose[:, 0]) / np.ptp(pose[:, 1]), rel=0.07)
