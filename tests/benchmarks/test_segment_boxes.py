"""Crops without labels where the hand is found in depth: measured on a few pictures, and what the pages say of them."""

from __future__ import annotations

import json

import pytest

from benchmarks import segment_boxes


@pytest.mark.slow
def test_a_few_pictures_by_stbs_builder():
    result = segment_boxes.measure(6)
    assert result["pictures"] == 6
    assert result["found"] >= 5
    assert 1.2 < result["margin_least"] <= result["margin_median"] <= result["margin_most"] < 2.5
    assert result["joints_inside"] > 0.95


@pytest.mark.parametrize("noisy", [False, True])
def test_a_few_pictures_by_the_finder_alone(noisy):
    result = segment_boxes.measure_view("rhd_like", 8, noisy)
    assert result["found"] == result["pictures"] >= 6
    assert 1.3 < result["margin_median"] < 1.7
    assert result["joints_inside"] > 0.95


@pytest.mark.parametrize(
    ("page", "render"),
    [
        (segment_boxes.PAGE, segment_boxes.render),
        (segment_boxes.CAMERA_PAGE, segment_boxes.render_views),
    ],
    ids=lambda value: getattr(value, "stem", ""),
)
def test_the_pages_show_the_file(page, render):
    begin, end = segment_boxes.MARKS
    shown = page.read_text(encoding="utf-8").split(begin)[1].split(end)[0].strip()
    assert shown == render(json.loads(segment_boxes.FILE.read_text(encoding="utf-8")))
