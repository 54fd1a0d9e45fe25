"""A box goes to the picture that it was written for, or to none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pmd_jax.predict.boxes import assign, read_boxes
from pmd_jax.runtime.errors import InputError


def write(path: Path, *files, encoding: str = "utf-8", between: str = "\n") -> Path:
    """A line a file: its box is (number of the line, 0, 100)."""
    lines = [json.dumps({"file": str(file), "box": [i, 0, 100]}, ensure_ascii=False) for i, file in enumerate(files)]
    path.write_bytes((between.join(lines) + between).encode(encoding, "surrogateescape"))
    return path


def corners(path: Path, *sources) -> dict[str, float]:
    """The x0 of each source that has a box."""
    found = assign(read_boxes(path), map(Path, sources), path)
    return {source: boxes[None][0] for source, boxes in found.items()}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("s1/f.png", "s2/f.png", "s3/f.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()


def test_one_name_in_two_folders(tmp_path):
    path = write(tmp_path / "b", "s1/f.png", "s2/f.png")
    assert corners(path, "s2/f.png", "s1/f.png") == {"s1/f.png": 0, "s2/f.png": 1}


def test_paths_that_lead_to_the_same_file(tmp_path):
    path = write(tmp_path / "b", tmp_path / "s1" / "f.png", "./s3/../s2/f.png")
    assert corners(path, "s1/f.png", tmp_path / "s2" / "f.png") == {"s1/f.png": 0, str(tmp_path / "s2" / "f.png"): 1}


def test_paths_from_the_files_own_folder(tmp_path, monkeypatch):
    path = write(tmp_path / "b", "s1/f.png", "s2/f.png")
    monkeypatch.chdir("/")
    assert corners(path, tmp_path / "s2" / "f.png") == {str(tmp_path / "s2" / "f.png"): 1}


def test_a_base_name_that_is_unique(tmp_path):
    path = write(tmp_path / "b", "elsewhere/a.png", "f.png")
    assert corners(path, "s1/f.png", "x/a.png") == {"x/a.png": 0, "s1/f.png": 1}


def test_a_box_of_another_picture_that_is_there_is_not_taken(tmp_path):
    path = write(tmp_path / "b", "s1/f.png")
    assert corners(path, "s2/f.png") == {}
    assert corners(path, "s1/f.png", "s2/f.png") == {"s1/f.png": 0}


@pytest.mark.parametrize(
    ("files", "sources", "words"),
    [
        (["f.png"], ["s1/f.png", "s2/f.png"], "the box of f.png is for s1/f.png and s2/f.png cannot be told"),
        (["x/f.png", "y/f.png"], ["s1/f.png"], "the box of x/f.png and y/f.png is for s1/f.png cannot be told"),
        (["s1/f.png", "s2/../s1/f.png"], ["s1/./f.png", "s3/../s1/f.png"], "are one file"),
        (["s1/f.png", "s1/f.png"], [], "line 2 gives s1/f.png a second box"),
    ],
)
def test_what_cannot_be_told_is_said(tmp_path, files, sources, words):
    with pytest.raises(InputError, match=words.replace(".", r"\.")):
        corners(write(tmp_path / "b", *files), *sources)


def test_a_videos_pictures_have_boxes_of_their_own(tmp_path):
    path = tmp_path / "b"
    lines = [{"file": "film.mp4", "frame": i, "box": [i, 0, 100]} for i in range(3)]
    path.write_text("\n".join(map(json.dumps, lines)))
    found = assign(read_boxes(path), [Path("film.mp4")], path)
    assert found == {"film.mp4": {0: (0, 0, 100), 1: (1, 0, 100), 2: (2, 0, 100)}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("between", ["\n", "\r\n", "\n\n  \n"])
def test_what_editors_make_of_it(tmp_path, encoding, between):
    path = write(tmp_path / "b", "ä.png", "s1/f.png", encoding=encoding, between=between)
    assert list(read_boxes(path)) == ["ä.png", "s1/f.png"]


@pytest.mark.parametrize("name", ["with\u2028separator.png", "with\x85.png", "b\udce4d.png"])
def test_odd_names(tmp_path, name):
    assert list(read_boxes(write(tmp_path / "b", name))) == [name]


@pytest.mark.parametrize(
    "line", ['{"file": 3, "box": [1, 2, 3]}', '{"file": "a", "frame": [1], "box": [1, 2, 3]}', "[]", "a.png"]
)
def test_a_line_that_is_none(tmp_path, line):
    (tmp_path / "b").write_text(f"\n{line}\n")
    with pytest.raises(InputError, match="line 2 is not"):
        read_boxes(tmp_path / "b")
