"""Hands in many pictures or in a video, one after the other; nothing is written here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from pmd_jax.config.backbones import CROP_SIZE_PX
from pmd_jax.data import cropping
from pmd_jax.data.cropping import CropBox
from pmd_jax.predict.boxes import FrameBoxes
from pmd_jax.predict.hand_pose import HandPose, central_square, checked_box
from pmd_jax.predict.images import read_picture
from pmd_jax.predict.predictor import Predictor
from pmd_jax.predict.tracking import OneEuroFilter, PatchTracker
from pmd_jax.predict.video import Video
from pmd_jax.runtime.cores import usable_cores
from pmd_jax.runtime.errors import InputError

BATCH = 32  # pictures at once through the network


@dataclass(frozen=True)
class InferenceOptions:
    """How to look. Boxes are (x0, y0, side) in pixels; see `Predictor.from_image` for the rest.

    Attributes:
        box: for every picture, or for a video's first.
        boxes: by the picture's or video's path as given, then by the picture of a video (`boxes.assign`); go before
            `box`.
        smooth: a video's joints, by a One-Euro filter.
    """

    box: tuple[float, float, float] | None = None
    boxes: Mapping[str, FrameBoxes] = field(default_factory=dict)
    mirror: bool = False
    smooth: bool = False
    side: str | None = None
    hand_scale_m: float | None = None

    def box_of(self, source: str, picture: UInt8[np.ndarray, "h w 3"], frame: int | None = None) -> tuple[CropBox, str]:
        """Where to look in a picture, and how that is known: "given", or "central".

        Raises:
            InputError: the box makes no sense in this picture; names the picture.
        """
        listed = self.boxes.get(source, {})
        box = listed.get(frame, listed.get(None, self.box))
        if box is None:
            return central_square(picture), "central"
        try:
            return checked_box(box, picture), "given"
        except InputError as error:
            where = source if frame is None else f"{source}, picture {frame}"
            raise InputError(f"{where}: {error}") from None


class FramePrediction(NamedTuple):
    """A hand, and where it was found."""

    file: str
    frame: int | None  # of a video, from 0
    time_s: float | None
    hand: HandPose
    box_from: str  # "given", "central" or, in a video, "followed"
    rgb: UInt8[np.ndarray, "h w 3"] | None  # a video's picture; files can be read again


class _Look(NamedTuple):
    crop: UInt8[np.ndarray, "64 64 3"]
    box: CropBox
    box_from: str


def predict_images(
    predictor: Predictor, paths: Sequence[Path], settings: InferenceOptions, problems: list[str]
) -> Iterator[FramePrediction]:
    """One hand a picture. While the network sees one batch, threads read the next.

    Args:
        problems: takes a sentence for each picture that cannot be used; the others go on.
    """

    def look(path: Path) -> _Look:
        picture = read_picture(path)
        box, box_from = settings.box_of(str(path), picture)
        return _Look(cropping.crop_rgb(picture, box, CROP_SIZE_PX), box, box_from)

    size = min(BATCH, len(paths))
    with ThreadPoolExecutor(usable_cores()) as pool:
        runs = [paths[start : start + size] for start in range(0, len(paths), size or 1)]
        waiting: list[Future[_Look]] = [pool.submit(look, path) for run in runs[:1] for path in run]
        for i, run in enumerate(runs):
            current, waiting = waiting, [pool.submit(look, path) for later in runs[i + 1 : i + 2] for path in later]
            looks: list[tuple[Path, _Look]] = []
            for path, future in zip(run, current, strict=True):
                try:
                    looks.append((path, future.result()))
                except InputError as error:
                    problems.append(str(error))
            yield from _hands(predictor, looks, settings)


def _hands(
    predictor: Predictor, looks: list[tuple[Path, _Look]], settings: InferenceOptions
) -> Iterator[FramePrediction]:
    if not looks:
        return
    joints = predictor.of_crops(np.stack([look.crop for _, look in looks]), settings.mirror)
    for (path, look), pose in zip(looks, joints, strict=True):
        found = _place(predictor, pose, look.box, settings)
        yield FramePrediction(str(path), None, None, found, look.box_from, None)


def _place(
    predictor: Predictor, joints: Float[np.ndarray, "21 3"], box: CropBox, settings: InferenceOptions
) -> HandPose:
    return predictor.place(joints, box, hand_scale_m=settings.hand_scale_m, side=settings.side)


def predict_video(predictor: Predictor, video: Video, settings: InferenceOptions) -> Iterator[FramePrediction]:
    """One hand a picture; each next box follows the last joints (`PatchTracker`), and starts anew if they leave.

    A box that is given for a picture of the video goes before the one that follows.

    Raises:
        VideoError: it breaks; what came before has been given.
        InputError: a box that makes no sense in its picture; likewise.
    """
    follower, smooth_joints, smooth_place = None, OneEuroFilter(video.rate), OneEuroFilter(video.rate)
    given = settings.boxes.get(video.name, {})
    for number, (rgb, time_s) in enumerate(video):
        if number in given:
            follower = None
        box, box_from = follower.next_box(rgb) if follower else None, "followed"
        if box is None or not _is_inside(box, rgb):
            (box, box_from), follower = settings.box_of(video.name, rgb, number), None
        joints = predictor.of_crops(cropping.crop_rgb(rgb, box, CROP_SIZE_PX)[None], settings.mirror)[0]
        follower = follower or PatchTracker(rgb, joints, box, predictor.crop_margin)
        follower.saw(rgb, joints, box)
        uv_px = follower.place(joints)
        if settings.smooth:
            # Both in about hand scales, so that one setting of the filter suits both.
            joints, unit = smooth_joints(joints), follower.px_per_scale
            uv_px = smooth_place(uv_px / unit) * unit
        found = _place(predictor, joints, box, settings)
        found = dataclasses.replace(found, uv_px=uv_px.astype(np.float32))
        yield FramePrediction(video.name, number, time_s, found, box_from, rgb)


def _is_inside(box: CropBox, rgb: UInt8[np.ndarray, "h w 3"]) -> bool:
    """Its middle is, and it is neither lost in a few pixels nor larger than all that there is to see."""
    height, width = rgb.shape[:2]
    u, v = box.x0 + box.side / 2, box.y0 + box.side / 2
    return 0 <= u < width and 0 <= v < height and 16 <= box.side <= 2 * max(height, width)
