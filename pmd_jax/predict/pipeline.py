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
from pmd_jax.predict.hand_pose import HandPose, central_square, checked_box, place_hand
from pmd_jax.predict.images import read_picture
from pmd_jax.predict.predictor import Predictor
from pmd_jax.predict.tracking import OneEuroFilter, PatchTracker
from pmd_jax.predict.video import Video
from pmd_jax.runtime.cores import usable_cores
from pmd_jax.runtime.errors import InputError

BATCH = 32  # pictures at once through the network
CHECK_EVERY = 15  # pictures of a video


class Place(NamedTuple):
    """Where a hand is, and how that is known.

    Attributes:
        known_from: "given", "detected", "central" or, in a video, "followed".
        score: the detector's.
    """

    box: CropBox
    known_from: str
    score: float | None = None


@dataclass(frozen=True)
class InferenceOptions:
    """How to look. Boxes are (x0, y0, side) in pixels; see `Predictor.from_image` for the rest.

    Attributes:
        detect: look for hands where no box is given, by `Predictor.detect`; else the central square is taken.
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
    detect: bool = False

    def places(
        self, predictor: Predictor, source: str, picture: UInt8[np.ndarray, "h w 3"], frame: int | None = None
    ) -> list[Place]:
        """Where to look in a picture: the box that is given, the hands that are detected, or the central square.

        Raises:
            InputError: the box makes no sense in this picture; names the picture.
        """
        listed = self.boxes.get(source, {})
        box = listed.get(frame, listed.get(None, self.box))
        if box is None and self.detect:
            return [Place(found.box, "detected", found.score) for found in predictor.detect(picture)]
        if box is None:
            return [Place(central_square(picture), "central")]
        try:
            return [Place(checked_box(box, picture), "given")]
        except InputError as error:
            where = source if frame is None else f"{source}, picture {frame}"
            raise InputError(f"{where}: {error}") from None


class FramePrediction(NamedTuple):
    """A hand, and where it was found; or a video's picture that shows none."""

    file: str
    frame: int | None  # of a video, from 0
    time_s: float | None
    hand: HandPose | None
    box_from: str  # see `Place`
    rgb: UInt8[np.ndarray, "h w 3"] | None  # a video's picture; files can be read again
    score: float | None = None  # of the detector, where that found it


class _Look(NamedTuple):
    crop: UInt8[np.ndarray, "64 64 3"]
    place: Place


def predict_images(
    predictor: Predictor, paths: Sequence[Path], settings: InferenceOptions, problems: list[str]
) -> Iterator[FramePrediction]:
    """The hands of each picture: one, or as many as are detected. While the network sees one batch, threads read on.

    Args:
        problems: takes a sentence for each picture that cannot be used; the others go on.
    """

    def look(path: Path) -> list[_Look]:
        picture = read_picture(path)
        places = settings.places(predictor, str(path), picture)
        return [_Look(cropping.crop_rgb(picture, place.box, CROP_SIZE_PX), place) for place in places]

    size = min(BATCH, len(paths))
    with ThreadPoolExecutor(usable_cores()) as pool:
        runs = [paths[start : start + size] for start in range(0, len(paths), size or 1)]
        waiting: list[Future[list[_Look]]] = [pool.submit(look, path) for run in runs[:1] for path in run]
        for i, run in enumerate(runs):
            current, waiting = waiting, [pool.submit(look, path) for later in runs[i + 1 : i + 2] for path in later]
            looks: list[tuple[Path, _Look]] = []
            for path, future in zip(run, current, strict=True):
                try:
                    found = future.result()
                    looks += [(path, one) for one in found]
                    if not found:
                        yield FramePrediction(str(path), None, None, None, "detected", None)
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
        found = _place(predictor, pose, look.place.box, settings)
        yield FramePrediction(str(path), None, None, found, look.place.known_from, None, look.place.score)


def _place(
    predictor: Predictor, joints: Float[np.ndarray, "21 3"], box: CropBox, settings: InferenceOptions
) -> HandPose:
    return place_hand(
        joints,
        box,
        hand_scale_m=settings.hand_scale_m,
        side=settings.side,
        margin=predictor.crop_margin,
        axes=predictor.axes,
    )


def predict_video(predictor: Predictor, video: Video, settings: InferenceOptions) -> Iterator[FramePrediction]:
    """One hand a picture; each next box follows the last joints (`PatchTracker`), and starts anew if they leave.

    A box that is given for a picture of the video goes before the one that follows. With a detector, pictures without a
    hand give none, and every `CHECK_EVERY` pictures it is looked whether the followed box still holds one.

    Raises:
        VideoError: it breaks; what came before has been given.
        InputError: a box that makes no sense in its picture; likewise.
    """
    follower, smooth_joints, smooth_place = None, OneEuroFilter(video.rate), OneEuroFilter(video.rate)
    given = settings.boxes.get(video.name, {})
    for number, (rgb, time_s) in enumerate(video):
        if number in given:
            follower = None
        place = Place(follower.next_box(rgb), "followed") if follower else None
        if place and settings.detect and number % CHECK_EVERY == 0 and not _confirmed(predictor, rgb, place.box):
            place = None
        if place is None or not _is_inside(place.box, rgb):
            follower = None
            places = settings.places(predictor, video.name, rgb, number)
            if not places:
                yield FramePrediction(video.name, number, time_s, None, "detected", rgb)
                continue
            place = places[0]
        box = place.box
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
        yield FramePrediction(video.name, number, time_s, found, place.known_from, rgb, place.score)


def _confirmed(predictor: Predictor, rgb: UInt8[np.ndarray, "h w 3"], box: CropBox) -> bool:
    """Whether the detector finds a hand whose middle lies in the middle half of the followed box."""
    middles = (np.array(found.box[:2]) + found.box.side / 2 for found in predictor.detect(rgb))
    return any(abs(middle - np.array(box[:2]) - box.side / 2).max() <= box.side / 4 for middle in middles)


def _is_inside(box: CropBox, rgb: UInt8[np.ndarray, "h w 3"]) -> bool:
    """Its middle is, and it is neither lost in a few pixels nor larger than all that there is to see."""
    height, width = rgb.shape[:2]
    u, v = box.x0 + box.side / 2, box.y0 + box.side / 2
    return 0 <= u < width and 0 <= v < height and 16 <= box.side <= 2 * max(height, width)
