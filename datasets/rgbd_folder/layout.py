"""Which frames a recording has, and what is known of them beside their pictures. No picture is decoded here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pmd_jax.data import rgbd_form
from pmd_jax.data.hand import NUM_JOINTS
from pmd_jax.data.rgbd_form import Description
from pmd_jax.prepare.archive import Archive, attempt_all
from pmd_jax.runtime.errors import ArchiveError, InputError

TEXT_LIMIT_BYTES = 256 << 20  # of joints.jsonl: a hundred thousand frames with two hands have half of it
SHOWN_FRAMES = 5
BySide = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Recording:
    """One folder.

    Attributes:
        archive: the folder.
        colours: the colour picture's name by the frame's.
        joints_m: (21, 3) by frame and side, where somebody has labelled them.
        boxes: (3,) x0, y0 and side in pixels by frame and side; None: the hands are to be found in the depth.
    """

    archive: Archive
    description: Description
    colours: Mapping[str, str]
    joints_m: Mapping[str, BySide] = field(default_factory=dict)
    boxes: Mapping[str, BySide] | None = None

    @property
    def name(self) -> str:
        return self.archive.path.name

    def part(self, frames: Sequence[str]) -> Recording:
        """Some frames and what is known of them: what a worker needs."""
        colours, joints_m = ({f: known[f] for f in frames if f in known} for known in (self.colours, self.joints_m))
        boxes = None if self.boxes is None else {f: self.boxes[f] for f in frames if f in self.boxes}
        return replace(self, colours=colours, joints_m=joints_m, boxes=boxes)


def find_recordings(folder: Path) -> list[Recording]:
    """The recordings in a folder, by name; what is wrong with several is said at once.

    Raises:
        ArchiveError: there is none, or one is not whole.
    """
    places = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not places:
        raise ArchiveError(f"{folder}: no recording in it; each is a folder with {rgbd_form.DESCRIPTION}.")

    def attempt(place: Path) -> Callable[[], Recording]:
        return lambda: read_recording(Archive(place))

    return attempt_all(map(attempt, places))


def read_recording(archive: Archive) -> Recording:
    """One recording's names and numbers, checked against each other.

    Raises:
        ArchiveError: a file is missing or broken, colour and depth differ in their frames, or labels name others.
    """
    description = _read(archive, rgbd_form.DESCRIPTION, rgbd_form.parse_description)
    names = archive.names()
    colours = _frames(archive, names, rgbd_form.COLOUR, ("jpg", "jpeg", "png"))
    depths = _frames(archive, names, rgbd_form.DEPTH, ("png",))
    _check_pairs(archive, colours, depths)
    joints = dict(_read_joints(archive, names, description))
    boxes = None
    if rgbd_form.BOXES in names:
        boxes = _read(archive, rgbd_form.BOXES, lambda text: _boxes(text, description))
    for what, known in ((rgbd_form.JOINTS, joints), (rgbd_form.BOXES, boxes or {})):
        if others := sorted(known.keys() - colours.keys()):
            raise ArchiveError(f"{archive.where('')} has {what} of frame {others[0]}, and no picture of it.")
    return Recording(archive, description, colours, joints, boxes)


def _read(archive: Archive, name: str, parse: Callable[[str], Any]) -> Any:
    """A text file, with what is wrong in it said of the file."""
    try:
        return parse(archive.read(name, TEXT_LIMIT_BYTES).decode("utf-8"))
    except ArchiveError:
        raise
    except (InputError, ValueError, RecursionError) as error:
        raise ArchiveError(f"{archive.where(name)}: {error}.") from None


def _frames(archive: Archive, names: set[str], folder: str, suffixes: tuple[str, ...]) -> dict[str, str]:
    """File names by frame. Left out is what a writer leaves that was killed (`.partial`), or a system hides."""
    found: dict[str, str] = {}
    for name in sorted(names):
        place, _, file = name.rpartition("/")
        if place != folder or file.startswith(".") or file.endswith(".partial"):
            continue
        match = re.fullmatch(rf"(\d+)\.({'|'.join(suffixes)})", file, re.IGNORECASE)
        if not match:
            wanted = " or ".join(f"000000.{suffix}" for suffix in suffixes)
            raise ArchiveError(f"{archive.where(name)}: not called like a frame; call them {wanted}.")
        if match[1] in found:
            raise ArchiveError(f"{archive.where(name)}: the frame is there as {found[match[1]]}, too; remove one.")
        found[match[1]] = name
    return found


def _check_pairs(archive: Archive, colours: Mapping[str, str], depths: Mapping[str, str]) -> None:
    if not colours and not depths:
        raise ArchiveError(f"{archive.where('')}: no frame in {rgbd_form.COLOUR}/ and {rgbd_form.DEPTH}/.")
    if single := sorted(colours.keys() ^ depths.keys()):
        shown = ", ".join(single[:SHOWN_FRAMES]) + (" …" if len(single) > SHOWN_FRAMES else "")
        raise ArchiveError(
            f"{archive.where('')}: {len(colours)} colour pictures and {len(depths)} depth maps; {len(single)} frame(s) "
            f"have one without the other: {shown}. Remove these files, or add what is missing."
        )


def _read_joints(archive: Archive, names: set[str], description: Description) -> Iterator[tuple[str, BySide]]:
    def joints_of(text: str) -> BySide:
        return _by_side(json.loads(text), description, (NUM_JOINTS, 3))

    for name in sorted(names):
        match = re.fullmatch(rf"{rgbd_form.JOINTS}/(\d+)\.json", name)
        if match:
            yield match[1], _read(archive, name, joints_of)
    if rgbd_form.JOINT_LINES in names:
        yield from _read(
            archive, rgbd_form.JOINT_LINES, lambda text: [_line(line, description) for line in _lines(text)]
        )


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _line(line: str, description: Description) -> tuple[str, BySide]:
    given = json.loads(line)
    if not isinstance(given, dict) or not isinstance(given.get("frame"), str):
        raise ValueError(f'a line without "frame", the name of a frame in quotes: {line[:60]}')
    frame = given.pop("frame")
    return frame, _by_side(given, description, (NUM_JOINTS, 3))


def _boxes(text: str, description: Description) -> Mapping[str, BySide]:
    given = json.loads(text)
    if not isinstance(given, dict):
        raise ValueError("not a JSON object of boxes by frame")
    boxes = {frame: _by_side(sides, description, (3,)) for frame, sides in given.items()}
    for frame, sides in boxes.items():
        if any(box[2] <= 0 for box in sides.values()):
            raise ValueError(f"the box of frame {frame} has no side; a box is [x0, y0, side], pixels")
    return boxes


def _by_side(given: Any, description: Description, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Numbers by the side of the hand, of those sides that the recording shows."""
    if not isinstance(given, dict) or not given.keys() <= set(description.sides):
        raise ValueError(
            f"numbers by side belong here, {' and '.join(description.sides)} as {rgbd_form.DESCRIPTION} says; given: "
            f"{sorted(given) if isinstance(given, dict) else type(given).__name__}"
        )
    arrays = {}
    for side, numbers in given.items():
        try:
            array = np.array(numbers, float)
        except (TypeError, ValueError):
            array = np.array(np.nan)
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"{side}: {' × '.join(map(str, shape))} finite numbers belong here")
        arrays[side] = array
    return arrays
