"""The crops of STB's pairs without labels: measured on a few pictures, and what the page says of them."""

from __future__ import annotations

import json

import pytest

from benchmarks import segment_boxes


@pytest.mark.slow
def test_a_few_pictures():
    result = segment_boxes.measure(6)
    assert result["pictures"] == 6
    assert 1.2 < result["margin_least"] <= result["margin_median"] <= result["margin_most"] < 6
    assert result["joints_inside"] > 0.95


def test_the_page_shows_the_file():
    begin, end = segment_boxes.MARKS
    shown = segment_boxes.PAGE.read_text().split(begin)[1].split(end)[0].strip()
    assert shown == segment_boxes.render(json.loads(segment_boxes.FILE.read_text()))
