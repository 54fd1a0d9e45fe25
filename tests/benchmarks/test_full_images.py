"""Boxes that do not fit, placing and the command's speed: the figures fit together, and the page shows the file's."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import full_images
from pmd_jax.data import hand
from pmd_jax.data.cropping import CropBox
from pmd_jax.predict.predictor import load


@pytest.fixture(scope="module")
def hands() -> full_images.Hands:
    return full_images.draw(2)


def test_a_moved_box_keeps_its_middle_but_for_the_shift():
    box = full_images.moved(CropBox(10, 20, 100), (0.1, -0.2), 0.8)
    assert box == pytest.approx((30, 10, 80))


def test_true_joints_are_off_by_nothing_where_the_camera_is_known(hands, tiny_export):
    assert full_images.epe_mm(hand.normalise(hands.xyz_m).pose, hands) == pytest.approx(0, abs=1e-3)
    rows = full_images.placement_errors(load(tiny_export), hands)
    true = {row["known"]: row["px"] for row in rows if row["joints"] == "true"}
    assert true["K"] < 0.01
    assert true["K, scale and root depth"] < 0.01
    assert 0.01 < true["nothing"] < 30


def test_the_box_as_it_is_stands_in_both_tables(hands, tiny_export):
    found = full_images.box_errors(load(tiny_export), hands)
    unmoved, unscaled = found["shift"][0], next(row for row in found["scale"] if row["scale"] == 1)
    assert unmoved["epe_mm"] == unmoved["worst_direction_epe_mm"] == unscaled["epe_mm"]
    assert all(row["worst_direction_epe_mm"] >= row["epe_mm"] for row in found["shift"])


@pytest.mark.slow
def test_the_command_finds_a_hand_in_each_picture(hands, tiny_export):
    found = full_images.command_speed(hands, 4, str(tiny_export), rounds=1)
    assert found["pictures_per_s_with_start"] == pytest.approx(4 / found["command_s"])
    assert np.isfinite(found["pictures_per_s"])


def test_the_page_shows_the_file():
    begin, end = full_images.MARKS
    shown = full_images.PAGE.read_text().split(begin)[1].split(end)[0].strip()
    assert shown == full_images.render(json.loads(full_images.FILE.read_text()))
