"""RHD's pictures and labels of one frame → prepared examples. No TensorFlow Datasets here: workers import this."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from pmd_jax.data import cropping
from pmd_jax.data.frames import Outcome, Sample, collect, prepared_example
from pmd_jax.data.selfcheck import Observation, observe
from pmd_jax.prepare.archive import Archive, decode_png
from pmd_jax.runtime.errors import ArchiveError

from .annotations import FOLDERS, ROWS, TO_OUR_ORDER, Annotation, parse

SIZE_PX = 320
# Mask labels: 0 background, 1 the rest of the person, then a label for each part of each hand.
MASK_LABELS = {"left": (2, 17), "right": (18, 33)}


@dataclass(frozen=True)
class Settings:
    """What to make of a frame.

    Attributes:
        size: side of the crop, pixels.
        margin: crop side over the larger extent of the joints.
        box: the crop goes around the "joints", or around the hand's "mask", which needs no label.
        hands: "one" sample a frame, or one for each of "both" hands that has a pixel in the mask.
        choose_by: which hand is the one: more "mask" pixels, or more "visible" joints; ties go to the right hand.
        full: the original pictures byte for byte and all 42 joints in place of crops.
    """

    size: int = 64
    margin: float = cropping.MARGIN
    box: str = "joints"
    hands: str = "one"
    choose_by: str = "mask"
    full: bool = False


@dataclass(frozen=True)
class Task:
    """A run of frames for one worker."""

    archive: Archive
    split: str
    entries: tuple[tuple[int, object], ...]  # frame number, its entry of the pickle
    settings: Settings

    def __len__(self) -> int:
        return len(self.entries)


def read_task(task: Task) -> Outcome:
    """The examples of a run of frames, and what was wrong with the others."""
    return collect(task.split, task.entries, lambda item: read_frame(task, *item))


def read_frame(task: Task, number: int, entry: object) -> Iterator[Sample | ArchiveError]:
    """One frame's samples. Of both hands, one that is no use costs itself only, and its error comes in its place.

    Raises:
        ArchiveError: a picture or the annotation is missing or broken, or no hand can be cropped.
    """
    folder = FOLDERS[task.split]
    names = {kind: f"{folder}/{kind}/{number:05d}.png" for kind in ("color", "depth", "mask")}
    files = {kind: task.archive.read(name) for kind, name in names.items()}
    pictures = {
        kind: decode_png(
            data, task.archive.where(names[kind]), width=SIZE_PX, height=SIZE_PX, channels=1 if kind == "mask" else 3
        )
        for kind, data in files.items()
    }
    where = f"{task.archive.where(folder)}, frame {number:05d}"
    try:
        annotation = parse(entry)
        if (largest := int(pictures["mask"].max())) > MASK_LABELS["right"][1]:
            raise ValueError(f"the mask has a label {largest}; RHD's are 0 to {MASK_LABELS['right'][1]}")
        sides = choose_hands(pictures["mask"], annotation.visible, task.settings)
        depth_m = decode_depth_m(pictures["depth"])
        if task.settings.full:
            observed = [_observe(side, annotation, depth_m, pictures["mask"]) for side in sides]
            yield _full_example(task.split, number, files, annotation), observed[0] if observed else None
            return
        if not sides:
            raise ValueError("neither hand has a pixel in the mask")
    except ValueError as error:
        raise ArchiveError(f"{where}: {error}.") from None
    for side in sides:
        try:
            yield _sample(task, number, side, annotation, pictures, depth_m)
        except ValueError as error:
            yield ArchiveError(f"{where}: {side} hand: {error}.")


def _sample(
    task: Task,
    number: int,
    side: str,
    annotation: Annotation,
    pictures: dict[str, np.ndarray],
    depth_m: Float[np.ndarray, "h w"],
) -> Sample:
    """One hand of a frame. Raises ValueError where it is no use."""
    settings = task.settings
    observation = _observe(side, annotation, depth_m, pictures["mask"])
    example = prepared_example(
        key=f"rhd/{task.split}/{number:05d}/{side}",
        rgb=pictures["color"],
        depth=depth_m,
        xyz_m=observation.xyz_m,
        visible=observation.visible,
        K=annotation.K,
        is_left=side == "left",
        size=settings.size,
        margin=settings.margin,
        mask=hand_mask(pictures["mask"], side) if settings.box == "mask" else None,
    )
    return example, observation


def decode_depth_m(picture: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Metres from RHD's packed depth: the high byte is red, the low byte green, 65535 stands for 5 m (its README)."""
    wide = picture.astype(np.uint32)  # 256 times a byte does not fit a byte
    return (wide[..., 0] * 256 + wide[..., 1]) * (5.0 / 65535.0)


def hand_mask(mask: UInt8[np.ndarray, "h w"], side: str) -> Bool[np.ndarray, "h w"]:
    """The pixels of one hand."""
    low, high = MASK_LABELS[side]
    return (mask >= low) & (mask <= high)


def choose_hands(mask: UInt8[np.ndarray, "h w"], visible: Bool[np.ndarray, " 42"], settings: Settings) -> list[str]:
    """The sides to make samples of: none when no hand has a pixel."""
    pixels = {side: int(hand_mask(mask, side).sum()) for side in ("right", "left")}
    seen = [side for side in ("right", "left") if pixels[side]]
    if settings.hands == "both" or not seen:
        return seen
    score = pixels if settings.choose_by == "mask" else {side: int(visible[ROWS[side]].sum()) for side in seen}
    return [max(seen, key=score.__getitem__)]  # the first of equals: right


def _observe(side: str, annotation: Annotation, depth_m: np.ndarray, mask: np.ndarray) -> Observation:
    uv_px, visible, xyz_m = (rows[ROWS[side]][TO_OUR_ORDER] for rows in annotation[:3])
    return observe(xyz_m, visible, side == "left", annotation.K, uv_px, depth_m, hand_mask(mask, side))


def _full_example(split: str, number: int, files: dict[str, bytes], annotation: Annotation) -> dict[str, object]:
    return {
        "rgb": files["color"],
        "depth": files["depth"],
        "mask": files["mask"],
        "uv": annotation.uv_px.astype(np.float32),
        "visible": annotation.visible,
        "xyz": annotation.xyz_m.astype(np.float32),
        "K": annotation.K.astype(np.float32),
        "key": f"rhd/{split}/{number:05d}",
    }
