"""STB's pictures and labels of one frame → prepared examples. No TensorFlow Datasets here: workers import this."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from pmd_jax.data import cropping, hand
from pmd_jax.data.frames import Outcome, collect, prepared_example
from pmd_jax.data.hand_segment import hand_masks
from pmd_jax.data.selfcheck import Observation, observe
from pmd_jax.prepare.archive import Archive, decode_png
from pmd_jax.runtime.errors import ArchiveError

from . import cameras
from .layout import picture_names


@dataclass(frozen=True)
class Settings:
    """What to make of a frame.

    Attributes:
        size: side of the crop, pixels.
        margin: crop side over the larger extent of the joints.
        box: the crop goes around the "joints", or around a "mask" (SK only; `hand_segment.hand_masks`), without labels.
        camera: "SK", colour and depth; or "BB", the stereo pair: two samples a frame, without depth.
        full: the original pictures byte for byte in place of crops.
    """

    size: int = 64
    margin: float = cropping.MARGIN
    box: str = "joints"
    camera: str = "SK"
    full: bool = False


@dataclass(frozen=True)
class Task:
    """A run of one sequence's frames for one worker."""

    archive: Archive
    split: str
    sequence: str
    first_frame: int
    joints_m: Float[np.ndarray, "frames 21 3"]  # as `layout.read_labels` gives them
    settings: Settings

    def __len__(self) -> int:
        return len(self.joints_m)


def read_task(task: Task) -> Outcome:
    """The examples of a run of frames, and what was wrong with the others."""
    read = read_stereo_frame if task.settings.camera == "BB" else read_depth_frame
    return collect(task.sequence, enumerate(task.joints_m, task.first_frame), lambda item: read(task, *item))


def read_depth_frame(
    task: Task, frame: int, joints_m: Float[np.ndarray, "21 3"]
) -> Iterator[tuple[dict, Observation | None]]:
    """The sample of a frame of the depth sensor, everything moved into its colour camera.

    Raises:
        ArchiveError: a picture is missing or broken, or the labels cannot be used.
    """
    files, (colour, packed_depth) = _pictures(task, frame)
    try:
        hand.check_joints(joints_m)
        xyz_m = cameras.depth_to_colour(joints_m)
        depth_m = cameras.warp_depth_m(decode_depth_m(packed_depth))
        observation = observe(xyz_m, _inside(xyz_m, cameras.K_COLOUR), True, cameras.K_COLOUR, depth_m=depth_m)
        if task.settings.full:
            yield _full_example(task, frame, files, xyz_m, cameras.K_COLOUR), observation
        else:
            key = f"{task.sequence}_SK_{frame}"
            mask = hand_masks(depth_m, cameras.K_COLOUR)[0] if task.settings.box == "mask" else None
            yield _sample(task, key, colour, depth_m, xyz_m, cameras.K_COLOUR, observation, mask)
    except ValueError as error:
        raise _fault(task, frame, error) from None


def read_stereo_frame(
    task: Task, frame: int, joints_m: Float[np.ndarray, "21 3"]
) -> Iterator[tuple[dict, Observation | None]]:
    """The two samples of a frame of the stereo pair, each in its own eye's frame; no depth: all of it missing.

    Raises:
        ArchiveError: a picture is missing or broken, or the labels cannot be used.
    """
    _, pictures = _pictures(task, frame)
    try:
        hand.check_joints(joints_m)
        for eye, picture, offset_m in zip(("left", "right"), pictures, (0, cameras.BASELINE_M), strict=True):
            xyz_m = joints_m - np.array([offset_m, 0, 0])
            observation = observe(xyz_m, _inside(xyz_m, cameras.K_STEREO), True, cameras.K_STEREO)
            key = f"{task.sequence}_BB_{eye}_{frame}"
            yield _sample(task, key, picture, None, xyz_m, cameras.K_STEREO, observation)
    except ValueError as error:
        raise _fault(task, frame, error) from None


def _sample(
    task: Task, key: str, rgb: UInt8[np.ndarray, "h w 3"], depth, xyz_m, K, observation: Observation, mask=None
) -> tuple[dict, Observation]:
    """A prepared example of a frame, with its observation; STB's hands are all left."""
    example = prepared_example(
        key=f"stb/{task.split}/{key}/left",
        rgb=rgb,
        depth=depth,
        xyz_m=xyz_m,
        visible=observation.visible,
        K=K,
        is_left=True,
        size=task.settings.size,
        margin=task.settings.margin,
        mask=mask,
    )
    return example, observation


def decode_depth_m(picture: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Metres from STB's packed depth: red is the low byte, green the high one, in millimetres. RHD swaps the bytes."""
    wide = picture.astype(np.uint32)  # 256 times a byte does not fit a byte
    return (wide[..., 0] + wide[..., 1] * 256) / 1000


def _pictures(task: Task, frame: int) -> tuple[list[bytes], list[UInt8[np.ndarray, "480 640 3"]]]:
    names = picture_names(task.settings.camera, frame)
    files = [task.archive.read(name) for name in names]
    size = {"width": cameras.WIDTH_PX, "height": cameras.HEIGHT_PX, "channels": 3}
    return files, [decode_png(data, task.archive.where(name), **size) for name, data in zip(names, files, strict=True)]


def _inside(xyz_m, K) -> np.ndarray:
    """STB does not say which joints are hidden: visible means inside the picture."""
    return cropping.inside(hand.project(xyz_m, K), (cameras.WIDTH_PX, cameras.HEIGHT_PX))


def _fault(task: Task, frame: int, error: ValueError) -> ArchiveError:
    return ArchiveError(f"{task.archive.where('')}, {task.sequence} {task.settings.camera} frame {frame}: {error}.")


def _full_example(task: Task, frame: int, files, xyz_m, K) -> dict[str, object]:
    return {
        "rgb": files[0],
        "depth": files[1],
        "xyz": xyz_m.astype(np.float32),
        "K": K.astype(np.float32),
        "key": f"stb/{task.split}/{task.sequence}_SK_{frame}",
    }
