"""Boxes from a file, and which of them belongs to which picture or video."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pmd_jax.runtime.errors import InputError

Box = tuple[float, float, float]  # x0, y0, side in pixels
FrameBoxes = dict[int | None, Box]  # by the number of a video's picture, from 0; None: of a picture, or a video's first

_FORM = '{"file": "a.jpg", "box": [x0, y0, side]}'


def read_boxes(path: Path) -> dict[str, FrameBoxes]:
    """The boxes of a JSON lines file, by "file" as it is written there: {"file": "a.jpg", "box": [x0, y0, side]}.

    The predict command's own joints.jsonl is such a file. UTF-8 or UTF-16; empty lines count for nothing.

    Raises:
        InputError: missing, or a line that is none, or two lines that differ about one picture.
    """
    try:
        text = _decoded(path.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--boxes={path}: cannot be read ({error}).") from None
    boxes: dict[str, FrameBoxes] = {}
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: a name may hold other line separators
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            x0, y0, side = map(float, entry["box"])
            file, frame = str(Path(entry["file"])), entry.get("frame")
            if not (frame is None or type(frame) is int):
                raise TypeError(frame)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"--boxes={path}: line {number} is not {_FORM}; put it right.") from None
        known = boxes.setdefault(file, {}).setdefault(frame, (x0, y0, side))
        if known != (x0, y0, side):
            raise InputError(f"--boxes={path}: line {number} gives {file} a second box; leave one of them.")
    return boxes


def _decoded(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    # A file's name may be any bytes; those that are no UTF-8 become what Python's paths have for them.
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def assign(boxes: Mapping[str, FrameBoxes], sources: Iterable[Path], path: Path) -> dict[str, FrameBoxes]:
    """The boxes of each picture and video that has some, by its path as given.

    A path goes before a name: as given, then the file that it leads to (from the working folder, or from that of
    `path`), then a base name that only one of the boxes left and one of the pictures left has.

    Args:
        boxes: of `read_boxes`.
        path: the file they are from.

    Raises:
        InputError: several boxes or several pictures of one base name, so that it cannot be told which is meant.
    """
    ways: Sequence[Callable[[str], object]] = (str, _place, lambda name: _place(str(path.absolute().parent / name)))
    known = [_grouped(boxes, way) for way in ways]
    assigned, used, left = {}, set(), []
    for source in dict.fromkeys(map(str, sources)):
        keys = (source, _place(source), _place(source))
        names = next((found[key] for found, key in zip(known, keys, strict=True) if key in found), [])
        if len({str(boxes[name]) for name in names}) > 1:
            raise InputError(f"--boxes={path}: {' and '.join(names)} are one file, {source}; leave one of them.")
        if names:
            assigned[source] = boxes[names[0]]
            used.update(names)
        else:
            left.append(source)
    # A box whose own file is there belongs to that file, whether it is looked at or not.
    free = [name for name in boxes if name not in used and not (Path(name).name != name and Path(name).is_file())]
    listed, wanted = _grouped(free, _base_name), _grouped(left, _base_name)
    for base in listed.keys() & wanted.keys():
        if len(listed[base]) > 1 or len(wanted[base]) > 1:
            lines, files = " and ".join(listed[base][:2]), " and ".join(wanted[base][:2])
            raise InputError(
                f"--boxes={path}: whether the box of {lines} is for {files} cannot be told by the name; write each "
                "picture's whole path as its file."
            )
        assigned[wanted[base][0]] = boxes[listed[base][0]]
    return assigned


def _place(name: str) -> Path:
    return Path(name).resolve()


def _base_name(name: str) -> str:
    return Path(name).name


def _grouped(names: Iterable[str], key: Callable[[str], object]) -> dict[object, list[str]]:
    groups: dict[object, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups
