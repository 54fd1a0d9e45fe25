"""One frame of a recording → prepared examples. No TensorFlow Datasets here: workers import this."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from pmd_jax.data import cropping, hand, rgbd_form
from pmd_jax.data.frames import Outcome, collect, prepared_example
from pmd_jax.data.hand_segment import NEAREST_SHARE, REACH_M, NoHand, hand_masks
from pmd_jax.data.selfcheck import Observation, observe
from pmd_jax.prepare.archive import decode_colour, decode_png
from pmd_jax.runtime.errors import ArchiveError

from .layout import Recording

SIZE_PX = 64
PROBES = 5  # depth maps of a recording that tell its unit
NEAREST_LIMITS_M = (0.05, 5.0)  # the nearest surface in all of them; a unit that is wrong is so by ten or a thousand
KNOWN_UNITS_M = (0.001, 0.0001, 0.00025, 0.000125)


@dataclass(frozen=True)
class Task:
    """A run of one recording's frames for one worker."""

    recording: Recording  # only these frames of it

    def __len__(self) -> int:
        return len(self.recording.colours)


def read_task(task: Task) -> Outcome:
    """The examples of a run of frames, and what was wrong with the others."""
    return collect(task.recording.name, task.recording.colours, lambda frame: read_frame(task.recording, frame))


def read_frame(recording: Recording, frame: str) -> Iterator[tuple[dict[str, Any], Observation | None]]:
    """A sample of each hand in a frame, with what the self-check needs where joints are known.

    Raises:
        NoHand: the frame does not show as many hands as the recording says, or boxes.json has none for it.
        ArchiveError: a picture is missing or broken, the map is empty, or the labels cannot be used.
    """
    depth_m, rgb = read_depth_m(recording, frame), _read_colour(recording, frame)
    labels, K = recording.joints_m.get(frame, {}), recording.description.K
    for side, crop in _crops(recording, frame, depth_m).items():
        xyz_m = labels.get(side)
        try:
            seen = None if xyz_m is None else _observe(recording, xyz_m, side, depth_m)
            example = prepared_example(
                key=f"rgbd_folder/{recording.description.split}/{recording.name}/{frame}/{side}",
                rgb=rgb,
                depth=depth_m,
                xyz_m=np.full((hand.NUM_JOINTS, 3), np.nan) if xyz_m is None else xyz_m,
                visible=np.zeros(hand.NUM_JOINTS, bool) if seen is None else seen.visible,
                K=K,
                is_left=side == "left",
                size=SIZE_PX,
                margin=cropping.MARGIN,
                **crop,
            )
        except ValueError as error:
            raise ArchiveError(f"{recording.archive.where('')}, frame {frame}: {error}.") from None
        yield example, seen


def _crops(recording: Recording, frame: str, depth_m: Float[np.ndarray, "h w"]) -> dict[str, dict[str, Any]]:
    """By the side of the hand: the argument of `prepared_example` that says where it is."""
    if recording.boxes is not None:
        boxes = recording.boxes.get(frame)
        if not boxes:
            raise NoHand(f"{rgbd_form.BOXES} has no box for frame {frame}")
        return {side: {"box": cropping.CropBox(*box.tolist())} for side, box in boxes.items()}
    sides = recording.description.sides
    masks = hand_masks(depth_m, recording.description.K, len(sides))
    return {side: {"mask": mask} for side, mask in zip(sides, masks, strict=True)}


def _observe(recording: Recording, xyz_m: Float[np.ndarray, "21 3"], side: str, depth_m) -> Observation:
    """Nobody says which joints are hidden: visible means inside the picture."""
    hand.check_joints(xyz_m)
    description = recording.description
    inside = cropping.inside(hand.project(xyz_m, description.K), (description.width, description.height))
    return observe(xyz_m, inside, side == "left", description.K, depth_m=depth_m)


def read_depth_m(recording: Recording, frame: str) -> Float[np.ndarray, "h w"]:
    """A frame's depth in metres, 0 = not measured.

    Raises:
        ArchiveError: it is missing, no 16-bit PNG of the size that the recording says, or has no measurement.
    """
    name, description = f"{rgbd_form.DEPTH}/{frame}.png", recording.description
    size = {"width": description.width, "height": description.height}
    counts = decode_png(recording.archive.read(name), recording.archive.where(name), **size, channels=1, bits=16)
    if not counts.any():
        raise ArchiveError(f"{recording.archive.where(name)}: the depth map is empty; all of it is 0.")
    return counts * description.depth_unit_m


def _read_colour(recording: Recording, frame: str) -> UInt8[np.ndarray, "h w 3"]:
    name, description = recording.colours[frame], recording.description
    data, where = recording.archive.read(name), recording.archive.where(name)
    return decode_colour(data, where, width=description.width, height=description.height)


def check_unit(recording: Recording) -> None:
    """Looks at a few depth maps before all of them are read.

    Raises:
        ArchiveError: the nearest surface that they measure cannot be a hand's with this unit, or none can be read.
    """
    frames, nearest_m, faults = sorted(recording.colours), [], []
    for number in np.unique(np.linspace(0, len(frames) - 1, PROBES).astype(int)):
        try:
            depth_m = read_depth_m(recording, frames[number])
            nearest_m.append(float(np.quantile(depth_m[depth_m > 0], NEAREST_SHARE)))
        except ArchiveError as error:
            faults.append(str(error))
    if not nearest_m:
        raise ArchiveError(faults[0])
    nearest, (low, high) = min(nearest_m), NEAREST_LIMITS_M
    if low <= nearest <= high:
        return
    unit = recording.description.depth_unit_m
    fitting = [other for other in KNOWN_UNITS_M if REACH_M[0] < nearest / unit * other < REACH_M[1]]
    remedy = f"; with {fitting[0]:g} it would be {nearest / unit * fitting[0]:.2g} m" if fitting else ""
    raise ArchiveError(
        f"{recording.archive.where(rgbd_form.DESCRIPTION)}: depth_unit_m = {unit:g} puts the nearest surface, a hand, "
        f"{nearest:.3g} m away (limits {low:g} to {high:g} m): the unit is wrong{remedy}."
    )
