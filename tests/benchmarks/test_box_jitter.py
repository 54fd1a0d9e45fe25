"""Trainings with and without jittered boxes and light: what differs between them, and that the page shows the file."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchmarks import box_jitter, full_images
from pmd_jax.predict.predictor import load


@pytest.fixture
def trained(monkeypatch, tiny_export):
    """The commands that were called; each counts as a training that ended."""
    calls: list[list[str]] = []

    def run(call: list[str], **_) -> None:
        calls.append(call)
        [workdir] = [option.split("=")[1] for option in call if option.startswith("--workdir=")]
        Path(workdir).mkdir(parents=True)
        (Path(workdir) / "results.json").write_text("{}")

    monkeypatch.setattr(subprocess, "run", run)
    network = load(tiny_export)
    monkeypatch.setattr(box_jitter, "load", lambda _: network)
    return calls


def test_the_two_differ_in_boxes_and_light_alone_and_are_trained_once(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(box_jitter, "LENGTHS", {"rendered_small": 1})
    found = box_jitter.measure(tmp_path, 2, [])["epe_mm"]["rendered_small"]
    assert box_jitter.measure(tmp_path, 2, [])["epe_mm"]["rendered_small"] == found
    teacher, plain, careless = trained
    assert "--config.rows=('depth_teacher',)" in teacher
    fields = {f"--config.augment.{name}={value}" for name, value in box_jitter.JITTERED.items()}
    none = {f"--config.augment.{name}={value}" for name, value in box_jitter.PLAIN.items()}
    assert {*careless} - {*plain} == fields | {f"--workdir={tmp_path / 'rendered_small' / 'careless_0'}"}
    assert {*plain} - {*careless} == none | {f"--workdir={tmp_path / 'rendered_small' / 'plain_0'}"}
    assert found["plain"] == found["careless"]  # one network stands for both here
    assert all(np.isfinite(list(found["plain"]["0"].values())))


def test_other_light_is_the_same_each_time_and_changes_each_crop():
    hands = full_images.draw(2)
    crops = full_images.crops_at(hands, hands.boxes)
    lit = box_jitter.other_light(crops)
    np.testing.assert_array_equal(lit, box_jitter.other_light(crops))
    assert (np.abs(lit.astype(int) - crops).mean((1, 2, 3)) > 1).all()


def test_the_page_shows_the_file():
    begin, end = box_jitter.MARKS
    shown = box_jitter.PAGE.read_text().split(begin)[1].split(end)[0].strip()
    assert shown == box_jitter.render(json.loads(box_jitter.FILE.read_text()))
