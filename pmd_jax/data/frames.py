"""From one original frame to prepared examples: the part that the readers of all raw archives share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt16

from pmd_jax.data import cropping, hand
from pmd_jax.data.hand_segment import NoHand
from pmd_jax.data.selfcheck import Observation
from pmd_jax.runtime.errors import ArchiveError, InputError

MAX_CROP_SIDE_PX = 20_000  # a hand 1 cm from the lens; beyond it a label is wrong, and the crop would fill the memory
DEPTH_LIMIT_M = 65_535 * hand.DEPTH_UNIT_M

Item = TypeVar("Item")
Sample = tuple[dict[str, Any], Observation | None]  # an example, and what the self-check needs of it


class Outcome(NamedTuple):
    """What a worker hands back for a run of frames."""

    group: str  # the split, or the sequence: what the self-check judges as one
    frames: int
    examples: list[dict[str, Any]]
    observations: list[Observation]
    problems: list[str]
    without_hand: int = 0  # frames that show none, which is no fault


def collect(group: str, items: Iterable[Item], read: Callable[[Item], Iterable[Sample | ArchiveError]]) -> Outcome:
    """Reads every item; a frame that cannot be used becomes a sentence, and the rest goes on.

    Args:
        read: gives a frame's samples, and an ArchiveError in place of one that is no use; raises ArchiveError for a
            frame that is no use at all, and NoHand for one without a hand.
    """
    outcome, count, without_hand = Outcome(group, 0, [], [], []), 0, 0
    for item in items:
        count += 1
        try:
            samples = list(read(item))
        except NoHand:
            without_hand += 1
            continue
        except ArchiveError as error:
            outcome.problems.append(str(error))
            continue
        for sample in samples:
            if isinstance(sample, ArchiveError):
                outcome.problems.append(str(sample))
                continue
            example, observation = sample
            outcome.examples.append(example)
            if observation is not None:
                outcome.observations.append(observation)
    return outcome._replace(frames=count, without_hand=without_hand)


def depth_units(depth_m: Float[np.ndarray, "h w"]) -> UInt16[np.ndarray, "h w"]:
    """Metres to the prepared unit of 0.1 mm; what is too far for 16 bits (6.55 m) counts as not measured.

    Raises:
        InputError: a depth is negative.
    """
    if (depth_m < 0).any():
        raise InputError(f"a depth of {depth_m.min():g} m; depth counts from 0, not measured, away from the camera")
    return np.rint(np.where(depth_m <= DEPTH_LIMIT_M, depth_m, 0) / hand.DEPTH_UNIT_M).astype(np.uint16)


def prepared_example(
    *,
    key: str,
    rgb: UInt8[np.ndarray, "h w 3"],
    depth: Float[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"] | None,
    xyz_m: Float[np.ndarray, "21 3"],
    visible: Bool[np.ndarray, " 21"],
    K: Float[np.ndarray, "3 3"],
    is_left: bool,
    size: int,
    margin: float,
    mask: Bool[np.ndarray, "h w"] | None = None,
    box: cropping.CropBox | None = None,
) -> dict[str, Any]:
    """The crop around one hand, in the form that all builders share (`prepared.prepared_features`).

    Args:
        key: of the sample: data set, split, frame and hand; what was taken together is held out together, by the key
            (`pmd_jax.data.recordings`).
        depth: metres, or counts of 0.1 mm as uint16; registered to `rgb`, 0 = not measured. None: there is no sensor.
        xyz_m: our joint order, in the camera of `K`; NaN, with nothing visible, where nobody has labelled them.
        margin: of the box around the joints.
        mask: the hand's pixels, to crop around these (`cropping.mask_box`), which needs no joint.
        box: the crop itself, in place of both.

    Raises:
        InputError: the frame cannot be used; the message begins with its key. The pictures do not fit each other, the
            joints are not those of a hand in front of the camera, in metres, the crop would be empty, absurdly large
            or beside the hand, or shows no depth though there is a sensor.
    """
    try:
        depth = _pictures_that_fit(rgb, depth, mask)
        _check_labels(xyz_m, visible, K)
        uv_px = hand.project(xyz_m, K)  # annotated uv may differ by a rounding; K·xyz/z = uv holds exactly here
        if box is None:
            box = cropping.crop_box(uv_px, margin) if mask is None else cropping.mask_box(mask)
        if box.side > MAX_CROP_SIDE_PX:
            raise ValueError(f"the crop would be {box.side:.0f} px wide (limit {MAX_CROP_SIDE_PX})")
        uv = cropping.crop_points(uv_px, box, size).astype(np.float32)
        _check_crop(uv[visible], size)
        cropped = np.zeros((size, size), np.uint16) if depth is None else cropping.crop_depth(depth, box, size)
        if depth is not None and not cropped.any():
            raise ValueError("the depth map shows nothing in the crop; give no map (None) where there is no sensor")
    except ValueError as error:
        raise InputError(f"{key}: {error}") from None
    return {
        "rgb": cropping.crop_rgb(rgb, box, size),
        "depth": cropped,
        "xyz": xyz_m.astype(np.float32),
        "uv": uv,
        "visible": visible,
        "K": cropping.crop_intrinsics(K, box, size).astype(np.float32),
        "is_left": is_left,
        "key": key,
    }


def _pictures_that_fit(rgb, depth, mask) -> UInt16[np.ndarray, "h w"] | None:
    """The depth in prepared units, after all pictures were compared with the colours."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"rgb is {rgb.dtype} of shape {rgb.shape}; 8-bit colours (height, width, 3) belong here")
    for name, picture in (("depth", depth), ("mask", mask)):
        if picture is not None and picture.shape != rgb.shape[:2]:
            raise ValueError(
                f"{name} of shape {picture.shape} beside colours of {rgb.shape[:2]}: each pixel of both must show the "
                "same point"
            )
    if depth is None or depth.dtype == np.uint16:
        return depth
    if depth.dtype.kind != "f":
        raise ValueError(f"depth is {depth.dtype}: give metres as floats, or counts of 0.1 mm as uint16")
    return depth_units(depth)


def _check_labels(xyz_m, visible, K) -> None:
    """The shapes and values of a frame's numbers, where it is labelled or not."""
    for name, value, shape in (("xyz_m", xyz_m, (hand.NUM_JOINTS, 3)), ("visible", visible, (hand.NUM_JOINTS,))):
        if value.shape != shape:
            raise ValueError(f"{name} is of shape {value.shape} in place of {shape}")
    if visible.dtype != bool:
        raise ValueError(f"visible is {visible.dtype} in place of bool")
    if K.shape != (3, 3) or not np.isfinite(K).all() or min(K[0, 0], K[1, 1]) <= 0 or K[2].tolist() != [0, 0, 1]:
        raise ValueError(f"K = {K.tolist()} is not [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels, fx and fy above 0")
    if np.isnan(xyz_m).all():
        if visible.any():
            raise ValueError("joints are called visible, but all are NaN; without labels none is visible")
    else:
        hand.check_joints(xyz_m)


def _check_crop(visible_uv: Float[np.ndarray, "n 2"], size: int) -> None:
    """Where joints are known they must lie in the crop, whatever it was made from."""
    found = int(cropping.inside(visible_uv, (size, size)).sum())
    if found < cropping.MIN_IN_CROP_SHARE * len(visible_uv):
        raise ValueError(
            f"only {found} of {len(visible_uv)} visible joints lie in the crop (limit "
            f"{cropping.MIN_IN_CROP_SHARE:.0%}): what it was made around is not this hand"
        )
