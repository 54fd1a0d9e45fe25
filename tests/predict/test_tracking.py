"""A texture of which the motion is known is followed; a filter that smooths and does not lag."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pmd_jax.data import cropping, hand
from pmd_jax.predict.tracking import OneEuroFilter, PatchTracker

_COARSE = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
WORLD = np.asarray(Image.fromarray(_COARSE).resize((640, 640), Image.Resampling.BICUBIC))
POSE = hand.normalise(np.random.default_rng(1).normal(size=(21, 3))).pose
START = cropping.CropBox(100, 90, 80)


def seen(x: float, y: float, side: float) -> np.ndarray:
    """What a camera sees that looks at this square of the world: 240 × 240 pixels."""
    return cropping.crop_rgb(WORLD, cropping.CropBox(x, y, side), 240)


def follow(views: list[tuple[float, float, float]]) -> list[cropping.CropBox]:
    """The boxes of each view; the pose does not change."""
    boxes, follower = [START], PatchTracker(seen(*views[0]), POSE, START)
    for view in views[1:]:
        boxes.append(follower.next_box(seen(*view)))
        follower.saw(seen(*view), POSE, boxes[-1])
    return boxes


def test_what_stands_still_keeps_its_box():
    for box in follow([(200, 200, 240)] * 6):
        np.testing.assert_allclose(box, START, atol=1e-6)


def test_a_box_moves_with_the_picture():
    """The camera goes left and down, so that all in its view goes right and up."""
    boxes = follow([(200 - 4 * t, 200 + 2.5 * t, 240) for t in range(10)])
    assert boxes[-1] == pytest.approx((START.x0 + 36, START.y0 - 22.5, START.side), abs=3)


def test_a_box_grows_with_what_it_holds():
    views = [(320 - side / 2, 320 - side / 2, side) for side in 240 / 1.02 ** np.arange(10)]
    assert follow(views)[-1].side == pytest.approx(START.side * 1.02**9, rel=0.1)


def test_wider_crops_stay_wider():
    still = seen(200, 200, 240)
    follower = PatchTracker(still, POSE, START, margin=2.4)
    assert cropping.crop_box(follower.place(POSE), 2.4) == pytest.approx(START)
    follower.saw(still, POSE, START)
    np.testing.assert_allclose(follower.next_box(still), START, atol=1e-6)


def test_a_hand_that_opens_gets_a_larger_box():
    """Its origin and the pixels of a hand scale stay, so the joints decide."""
    still = seen(200, 200, 240)
    follower = PatchTracker(still, POSE, START)
    before = follower.place(POSE)
    sides = []
    for _ in range(20):
        follower.saw(still, 1.3 * POSE, START)
        sides.append(follower.next_box(still).side)
    assert START.side < sides[0] < sides[1]  # not at once, for a single picture may be misread
    assert sides[-1] == pytest.approx(1.3 * START.side, rel=0.01)
    np.testing.assert_allclose(follower.place(POSE), before, atol=1e-6)


def test_the_first_sample_is_itself_and_what_rests_stays():
    smooth, value = OneEuroFilter(30), np.array([1.0, -2.0])
    for _ in range(5):
        np.testing.assert_array_equal(smooth(value), value)


def test_noise_is_smoothed_and_motion_followed():
    generator = np.random.default_rng(0)
    smooth = OneEuroFilter(30)
    trembling = np.array([smooth(value) for value in generator.normal(0, 0.01, (300, 21, 3))])
    assert trembling[50:].std() < 0.5 * 0.01
    smooth = OneEuroFilter(30)
    moving = np.array([smooth(np.array(5.0 * t / 30)) for t in range(60)])  # five units a second
    assert 5.0 * 59 / 30 - moving[-1] < 0.2  # lags by less than 0.04 s
