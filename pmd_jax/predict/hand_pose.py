"""A hand in a picture: where the network looked, and where its root-relative joints lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from pmd_jax.data import cropping, hand
from pmd_jax.data.cropping import CropBox
from pmd_jax.data.ray_frame import ray_rotation
from pmd_jax.runtime.errors import InputError

LONGEST_M, LARGEST_PX = 1000, 1_000_000  # beyond these a length or a box is a mistake


@dataclass(frozen=True)
class HandPose:
    """A hand in a picture. Joints are in the order of `pmd_jax.data.hand.JOINT_NAMES`.

    Attributes:
        joints: relative to the middle MCP (joint 9), in hand scales: the distance from joint 0 to joint 9 is about one.
            Axes: x right, y down, z away from the camera (see `axes`).
        uv_px: pixels of the picture, u right, v down, centres at integers.
        uv_is_approximate: they were placed by the crop rule (`cropping.project_weak_perspective`), so they are as
            good as the box. False where the camera and the root's depth were given.
        xyz_m: metres, same axes; None where the hand's scale is not known.
        xyz_is_absolute: `xyz_m` is relative to the camera; else to joint 9.
        box: the square of the picture that the network saw.
        side: "left" or "right", if the caller said so. The network does not tell.
        axes: of `joints` and `xyz_m`: the "camera"'s, or those of the "ray" through the middle of the box, where the
            network knows these alone (`data.ray_frame`) and the camera was not given. Both are the same for a hand in
            the middle of the picture.
    """

    joints: Float[np.ndarray, "21 3"]
    uv_px: Float[np.ndarray, "21 2"]
    uv_is_approximate: bool
    xyz_m: Float[np.ndarray, "21 3"] | None
    xyz_is_absolute: bool
    box: CropBox
    side: str | None = None
    axes: str = "camera"

    def as_dict(self) -> dict[str, Any]:
        """JSON types, by the attributes' names; lengths to a hundredth of a millimetre or a pixel."""
        return {
            "box": _rounded(self.box, 2),
            "side": self.side,
            "joints": _rounded(self.joints, 4),
            "uv_px": _rounded(self.uv_px, 2),
            "uv_is_approximate": self.uv_is_approximate,
            "xyz_m": None if self.xyz_m is None else _rounded(self.xyz_m, 5),
            "xyz_is_absolute": self.xyz_is_absolute,
            "axes": self.axes,
        }


def _rounded(values: Any, digits: int) -> list:
    return np.round(np.asarray(values, np.float64), digits).tolist()


def central_square(picture: UInt8[np.ndarray, "h w 3"]) -> CropBox:
    """The largest square in the middle of a picture."""
    height, width = picture.shape[:2]
    side = min(height, width)
    return CropBox((width - side) / 2, (height - side) / 2, side)


def checked_box(box: tuple[float, float, float], picture: UInt8[np.ndarray, "h w 3"]) -> CropBox:
    """A caller's box.

    Raises:
        InputError: it is not three finite numbers, or of no area, or wholly outside the picture.
    """
    try:
        x0, y0, side = map(float, box)
    except (TypeError, ValueError):
        raise InputError(f"box = {box!r}: give three numbers, x0, y0 and side, in pixels.") from None
    if not np.isfinite([x0, y0, side]).all() or side < 1:
        raise InputError(f"box = {(x0, y0, side)}: it has no area; give a finite corner and a side of 1 px or more.")
    if side > LARGEST_PX:
        raise InputError(f"box = {(x0, y0, side)}: give a side of at most {LARGEST_PX:,} px.")
    height, width = picture.shape[:2]
    if x0 >= width or y0 >= height or x0 + side <= 0 or y0 + side <= 0:
        raise InputError(f"box = {(x0, y0, side)} lies outside the picture of {width} × {height} pixels; move it.")
    return CropBox(x0, y0, side)


def place_hand(
    joints: Float[np.ndarray, "21 3"],
    box: CropBox,
    K: Float[np.ndarray, "3 3"] | None = None,
    hand_scale_m: float | None = None,
    root_depth_m: float | None = None,
    *,
    side: str | None = None,
    margin: float = cropping.MARGIN,
    axes: str = "camera",
) -> HandPose:
    """A network's joints for the crop at `box`, placed in the picture; arguments and errors as `from_image`.

    Args:
        margin: how many times as wide as the joints' larger extent the box is (`cropping.crop_margin`).
        axes: of the joints, "camera" or "ray" (`config.model.target_frame`).
    """
    if side is not None and side not in hand.SIDES:
        raise InputError(f"side = {side!r}: choose left or right.")
    for name, length in (("hand_scale_m", hand_scale_m), ("root_depth_m", root_depth_m)):
        if length is not None and not 0 < length <= LONGEST_M:  # also false for NaN
            raise InputError(f"{name} = {length}: give metres, a number > 0 and at most {LONGEST_M}.")
    root, depth = np.zeros(3), None  # in hand scales
    if K is None:
        uv_px = cropping.project_weak_perspective(joints, box, margin)
    else:
        camera = _checked_intrinsics(K)
        if axes == "ray":
            middle = np.array([box.x0, box.y0]) + (box.side - 1) / 2
            joints, axes = (joints @ ray_rotation(camera, middle)).astype(np.float32), "camera"
        depth = None if hand_scale_m is None or root_depth_m is None else root_depth_m / hand_scale_m
        if depth is not None and depth + joints[:, 2].min() <= 0:
            raise InputError(f"root_depth_m = {root_depth_m}: a part of the hand would lie behind the camera.")
        root = cropping.solve_root_translation(joints, box, camera, depth, margin)
        uv_px = hand.project(joints + root, camera)
    absolute = depth is not None
    xyz_m = None if hand_scale_m is None else ((joints + root * absolute) * hand_scale_m).astype(np.float32)
    approximate = K is None or root_depth_m is None
    return HandPose(joints, uv_px.astype(np.float32), approximate, xyz_m, absolute, box, side, axes)


def _checked_intrinsics(K: object) -> Float[np.ndarray, "3 3"]:
    matrix = np.asarray(K, np.float64)
    if matrix.shape != (3, 3):
        raise ValueError(f"K has shape {matrix.shape}; give the camera matrix (3, 3).")
    if not np.isfinite(matrix).all() or min(matrix[0, 0], matrix[1, 1]) <= 0 or list(matrix[2]) != [0, 0, 1]:
        raise InputError(f"K = {matrix.tolist()}: give [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels, fx, fy > 0.")
    return matrix
