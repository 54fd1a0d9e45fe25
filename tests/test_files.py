"""A file is the old one or the new one, never a part."""

from __future__ import annotations

import json

import pytest

from pmd_jax import files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "deep" / "results.json"
    files.write_json(path, {"title": "größer", "epe_mm": 12.5})
    assert json.loads(path.read_bytes().decode("utf-8")) == {"title": "größer", "epe_mm": 12.5}

    def fail_halfway():
        with files.replacing(path) as unfinished:
            unfinished.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_halfway()
    assert json.loads(files.read_text(path))["epe_mm"] == 12.5
    assert [entry.name for entry in path.parent.iterdir()] == ["results.json"]


def test_what_a_killed_process_left_is_overwritten(tmp_path):
    (tmp_path / "a.json.partial").write_text("left")
    files.write_text(tmp_path / "a.json", "whole")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.json"]
    assert files.read_text(tmp_path / "a.json") == "whole"
