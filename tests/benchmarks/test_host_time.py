"""The host's time a step: measured in all three ways, and the committed figures show what the page says."""

from __future__ import annotations

import json

from conftest import small_config

from benchmarks import host_time


def test_measure(monkeypatch):
    monkeypatch.setattr(host_time, "ROW", "depth_teacher")  # the quickest to compile
    found = host_time.measure(small_config(compute_dtype="float32"), devices=1, steps=1, batch=4)
    assert found["devices"] == 1
    for way in ("one_by_one", "batch_packed", "all_packed"):
        assert found[way]["host_ms"] == found[way]["put_ms"] + found[way]["dispatch_ms"] > 0


def test_packed_takes_less_than_half():
    """As measured, at the full-size network's number of arrays."""
    rows = json.loads(host_time.FILE.read_text(encoding="utf-8"))["host"]
    assert [row["devices"] for row in rows] == list(host_time.DEVICES)
    for row in rows:
        assert row["state_arrays"] == 453
        assert row["all_packed"]["host_ms"] < 0.5 * row["one_by_one"]["host_ms"]
