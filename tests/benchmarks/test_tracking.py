"""A rendered hand in a film: its box stays where it stands, and goes where it goes."""

from __future__ import annotations

import json

import pytest

from benchmarks import tracking
from pmd_jax.predict.predictor import load

SMALL = {"width": 320, "height": 240, "fx": 304.0, "fy": 304.0, "cx": 160.0, "cy": 120.0}


@pytest.fixture(scope="module")
def network():
    return load()  # the demo network: what it says of a hand makes the box


def test_a_hand_that_stands_still_keeps_its_box_within_a_tenth(network):
    shown = tracking.film(3, tracking.WAYS["stands still"], 60, SMALL)
    for size, off in tracking.tracked_boxes(network, shown):
        assert size == pytest.approx(1, abs=0.1)
        assert off < 0.05


def test_a_hand_that_moves_steadily_is_followed(network):
    """By 75 pixels, half its box."""
    shown = tracking.film(0, lambda t: (2.5 * (t - 15), 1.0), 31, SMALL)
    assert shown.boxes[-1].x0 - shown.boxes[0].x0 == pytest.approx(75, abs=5)
    for size, off in tracking.tracked_boxes(network, shown):
        assert size == pytest.approx(1, abs=0.1)
        assert off < 0.1


def test_the_page_shows_the_file():
    begin, end = tracking.MARKS
    shown = tracking.PAGE.read_text().split(begin)[1].split(end)[0].strip()
    assert shown == tracking.render(json.loads(tracking.FILE.read_text()))
