"""A file is the old one or the new one, never a part."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pmd_jax import files

ROOT = Path(__file__).resolve().parent.parent


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


def test_a_name_that_is_no_utf_8_is_read_back(tmp_path):
    name = os.fsdecode(b"runs/h\xe4nde")
    files.write_json(tmp_path / "a.json", {"workdir": name})
    assert os.fsencode(json.loads(files.read_text(tmp_path / "a.json"))["workdir"]) == b"runs/h\xe4nde"


HOLDER = """
import pathlib, sys, time
from pmd_jax import files
with files.locked(pathlib.Path(sys.argv[1])):
    print(flush=True)
    time.sleep(60)
"""


def test_a_lock_says_who_has_it_and_ends_with_its_holder(tmp_path, capsys):
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    threading.Timer(0.5, holder.kill).start()
    with files.locked(path, "the folder runs/demo"):
        said = capsys.readouterr().err
        assert f"Waiting for the folder runs/demo: process {holder.pid} on " in said
        assert f"process {os.getpid()} on " in files.read_text(path)
    holder.communicate()
    assert files.read_text(path) == ""


def test_what_a_killed_process_left_is_overwritten(tmp_path):
    (tmp_path / "a.json.partial").write_text("left")
    files.write_text(tmp_path / "a.json", "whole")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.json"]
    assert files.read_text(tmp_path / "a.json") == "whole"


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def fill(folder: Path, word: str, last: str | None, names: tuple[str, ...]) -> None:
    with files.replacing_folder(folder, last) as unfinished:
        for name in names:
            files.write_text(unfinished / name, word)


def test_a_folder_takes_the_place_of_the_old_one(tmp_path):
    (tmp_path / "export.unfinished").mkdir()
    (tmp_path / "export.unfinished" / "left").write_text("by a killed process")
    fill(tmp_path / "export", "old", None, ("weights/a", "b"))
    fill(tmp_path / "export", "new", None, ("weights/a", "c"))
    assert tree(tmp_path) == {"export/weights/a": "new", "export/c": "new"}


def test_entries_take_their_places_and_others_stay(tmp_path):
    fill(tmp_path / "export", "old", "digest.json", ("weights/a", "weights/b", "digest.json", "notes.txt"))
    fill(tmp_path / "export", "new", "digest.json", ("weights/a", "model.onnx"))
    kept = {"export/digest.json": "old", "export/notes.txt": "old"}
    assert tree(tmp_path) == {**kept, "export/weights/a": "new", "export/model.onnx": "new"}


@pytest.mark.parametrize("last", [None, "digest.json"])
def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch, last):
    """Neither a block that is interrupted nor a disk that refuses the move costs what was there."""
    folder = tmp_path / "export"
    fill(folder, "old", None, ("weights/a",))

    def interrupted():
        with files.replacing_folder(folder, last) as unfinished:
            files.write_text(unfinished / "weights/a", "half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert tree(tmp_path) == {"export/weights/a": "old"}
    move = os.replace

    def refuse(source, target):
        if ".unfinished" in str(source) and not str(source).endswith(".partial"):
            raise OSError(28, "No space left on device", str(target))
        move(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        fill(folder, "new", last, ("weights/a",))
    monkeypatch.undo()
    assert tree(tmp_path) == {"export/weights/a": "old"}
