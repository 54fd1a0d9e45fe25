"""Where the camera stands: global rotation, distance, and the intrinsics of what is drawn.

Camera frame: metres, x right, y down, z forward. Pixels have their centres at integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from pmd_jax.data.cropping import BOXES, MASK_MARGIN, crop_box
from pmd_jax.data.hand import project

from .draws import Draws
from .kinematics import rotation
from .viewpoints import everyday_rotations

VIEWS = ("rhd_like", "uniform", "everyday")
MAX_PIXELS = 640 * 480  # of a picture as drawn
UNIFORM_TAIL = 0.10
MAX_TILT_DEG, MAX_ROLL_DEG = 50, 60
DISTANCE_M = (0.35, 0.8)
TRIES = 4
FOREARM_Z = (-0.45, 0.85)  # less: it reaches the camera; more: its cut end shows
# "everyday": people hold hands nearer and further, and point at the camera; a forearm that comes from beside the
# camera leaves the picture before it gets there, and the hand hides most of an end behind it.
EVERYDAY_DISTANCE_M, EVERYDAY_FOREARM_Z = (0.28, 1.3), (-0.88, 0.93)


def _refuse_large(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"A picture of {width} × {height} pixels is larger than {MAX_PIXELS} in all; draw a smaller one."
        )


@dataclass(frozen=True)
class CropFrame:
    """The project's crop rule (`cropping.crop_box`): drawn at `draw_size` pixels a side and reduced to `size`.

    The box goes around the joints, or around the hand's mask, for which no joint need be known.

    Raises:
        ValueError: `draw_size` is not a multiple of `size`, the picture is too large, or `box` is no rule.
    """

    size: int = 64
    draw_size: int = 128
    box: str = "joints"  # one of hand.BOXES

    def __post_init__(self):
        if self.size < 1 or self.draw_size < self.size or self.draw_size % self.size:
            raise ValueError(
                f"draw_size = {self.draw_size} is not a multiple of size = {self.size}; e.g. draw at {2 * self.size}."
            )
        if self.box not in BOXES:
            raise ValueError(f"box = {self.box!r} is unknown; choose one of {', '.join(BOXES)}.")
        _refuse_large(*self.shape)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width as drawn."""
        return self.draw_size, self.draw_size


@dataclass(frozen=True)
class FullFrame:
    """A whole picture of a given camera (RHD: 320 × 320, f about 283 px; STB: 640 × 480, f 608 px).

    Raises:
        ValueError: the picture is too large.
    """

    width: int = 320
    height: int = 320
    fx: float = 283.0
    fy: float = 283.0
    cx: float = 160.0
    cy: float = 160.0

    def __post_init__(self):
        _refuse_large(*self.shape)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


class Placement(NamedTuple):
    """Hand frame to camera frame: x ↦ linear·x + translation. `linear` holds rotation, hand size and mirror."""

    linear: Float[np.ndarray, "b 3 3"]
    translation: Float[np.ndarray, "b 3"]
    K: Float[np.ndarray, "b 3 3"]  # of the picture as drawn
    is_left: Bool[np.ndarray, " b"]
    scale: Float[np.ndarray, " b"]  # hand size, 1 on average

    def to_camera(self, points: Float[np.ndarray, "b n 3"]) -> Float[np.ndarray, "b n 3"]:
        """Points of the hand frame in the camera frame."""
        return _times(self.linear, points) + self.translation.astype(points.dtype)[:, None]

    def turn(self, normals: Float[np.ndarray, "b n 3"]) -> Float[np.ndarray, "b n 3"]:
        """Unit normals of the hand frame in the camera frame; hand size is the same in all directions."""
        return _times(self.linear / self.scale[:, None, None], normals)


def _times(linear: Float[np.ndarray, "b 3 3"], points: Float[np.ndarray, "b n 3"]) -> Float[np.ndarray, "b n 3"]:
    linear = linear.astype(points.dtype)[:, None]
    x, y, z = points[..., 0, None], points[..., 1, None], points[..., 2, None]
    return linear[..., 0] * x + linear[..., 1] * y + linear[..., 2] * z


def place(
    draws: Draws,
    labels: Float[np.ndarray, "b 21 3"],
    forearm: Float[np.ndarray, "b 3"],
    views: str,
    frame: CropFrame | FullFrame,
) -> Placement:
    """Draws side, size, view and distance of a batch.

    Args:
        labels: joints in the hand frame; they define the crop.
        forearm: unit vector from the wrist to the elbow, hand frame.
        views: "rhd_like" (palm or back roughly towards the camera, forearm from below or the side, with a uniform
            tail), "uniform" on all rotations, or "everyday" (`viewpoints`: selfies, desk and head cameras).
    """
    batch = len(labels)
    is_left = draws.chance(0.5)
    scale = np.clip(draws.normal(std=0.09), -0.25, 0.25) + 1
    mirror = np.stack([np.where(is_left, -1.0, 1.0), np.ones(batch), np.ones(batch)], -1)
    turn = _sample_rotation(draws, forearm * mirror, views)
    linear = turn * mirror[:, None] * scale[:, None, None]
    turned = _times(linear, labels)
    aim = draws.uniform(2, low=-1, high=1)
    distance = _distance(draws, views)
    ray = np.concatenate([_aim_at(frame, aim), np.ones((batch, 1))], 1)
    translation = ray * distance[:, None] - turned.mean(1)
    return Placement(linear, translation, _intrinsics(frame, turned + translation[:, None]), is_left, scale)


def _distance(draws: Draws, views: str) -> Float[np.ndarray, " b"]:
    if views == "everyday":  # perspective goes with the logarithm
        near, far = np.log(EVERYDAY_DISTANCE_M)
        return np.exp(draws.uniform(low=near, high=far))
    return draws.uniform(low=DISTANCE_M[0], high=DISTANCE_M[1])


def _aim_at(frame: CropFrame | FullFrame, aim: Float[np.ndarray, "b 2"]) -> Float[np.ndarray, "b 2"]:
    """Where the hand's centre lies, as x/z and y/z: off the optical axis, as in a crop of a larger picture."""
    if isinstance(frame, CropFrame):
        return aim * np.array([0.4, 0.3])
    centre = np.array([frame.width / 2, frame.height / 2]) * (1 + 0.45 * aim)
    return (centre - np.array([frame.cx, frame.cy])) / np.array([frame.fx, frame.fy])


def _intrinsics(frame: CropFrame | FullFrame, labels: Float[np.ndarray, "b 21 3"]) -> Float[np.ndarray, "b 3 3"]:
    if isinstance(frame, FullFrame):
        K = np.array([[frame.fx, 0, frame.cx], [0, frame.fy, frame.cy], [0, 0, 1]])
        return np.broadcast_to(K, (len(labels), 3, 3)).copy()
    return _around(labels, frame)


def around_surface(surface: Float[np.ndarray, "b v 3"], frame: CropFrame) -> Float[np.ndarray, "b 3 3"]:
    """The intrinsics of the crop around the hand's mask, from its surface in the camera frame.

    Nothing is drawn yet that one could take a mask of: its edges are those of the projected vertices, a wrist behind
    the forearm included.
    """
    return _around(surface.astype(np.float64), frame, MASK_MARGIN)


def _around(points: Float[np.ndarray, "b n 3"], frame: CropFrame, *margin: float) -> Float[np.ndarray, "b 3 3"]:
    K = np.zeros((len(points), 3, 3))
    for row, rays in enumerate(project(points, np.eye(3))):
        box = crop_box(rays, *margin)  # pixels of a picture with focal length one: the rule does not depend on the unit
        zoom = frame.draw_size / box.side
        K[row] = [[zoom, 0, (0.5 - box.x0) * zoom - 0.5], [0, zoom, (0.5 - box.y0) * zoom - 0.5], [0, 0, 1]]
    return K


def _sample_rotation(draws: Draws, forearm: Float[np.ndarray, "b 3"], views: str) -> Float[np.ndarray, "b 3 3"]:
    """The first of a few rotations whose forearm neither reaches the camera nor shows its end, else the nearest."""
    anywhere = _uniform_rotations(draws, TRIES)
    everyday = views == "everyday"
    towards = everyday_rotations(draws, TRIES) if everyday else _facing_rotations(draws, TRIES)
    tail = draws.chance(1.0 if views == "uniform" else UNIFORM_TAIL, 1)
    candidates = np.where(tail[..., None, None], anywhere, towards)
    forearm_z = (candidates[..., 2, :] * forearm[:, None]).sum(-1)
    nearest, furthest = EVERYDAY_FOREARM_Z if everyday else FOREARM_Z
    excess = np.maximum(nearest - forearm_z, forearm_z - furthest)
    chosen = np.where((excess < 0).any(1), (excess < 0).argmax(1), excess.argmin(1))
    return candidates[np.arange(len(forearm)), chosen]


def _uniform_rotations(draws: Draws, k: int) -> Float[np.ndarray, "b k 3 3"]:
    """Uniform on SO(3), by uniform unit quaternions (Shoemake, 1992)."""
    share, first, second = draws.uniform(k), draws.uniform(k, high=2 * np.pi), draws.uniform(k, high=2 * np.pi)
    x, y = np.sqrt(1 - share) * np.sin(first), np.sqrt(1 - share) * np.cos(first)
    z, w = np.sqrt(share) * np.sin(second), np.sqrt(share) * np.cos(second)
    norm = np.sqrt(x * x + y * y + z * z)
    axis = np.stack([x, y, z], -1) / np.maximum(norm, 1e-12)[..., None]
    return rotation(axis, 2 * np.arctan2(norm, w))


def _facing_rotations(draws: Draws, k: int) -> Float[np.ndarray, "b k 3 3"]:
    """Palm or back towards the camera with fingers up, then tilted about an axis in the image, then rolled."""
    palm, back = np.diag([1.0, -1.0, -1.0]), np.diag([-1.0, -1.0, 1.0])
    facing = np.where(draws.chance(0.5, k)[..., None, None], palm, back)
    heading = draws.uniform(k, high=2 * np.pi)
    axis = np.stack([np.cos(heading), np.sin(heading), np.zeros_like(heading)], -1)
    tilt = np.radians(MAX_TILT_DEG) * np.sqrt(draws.uniform(k))  # uniform over the disc of viewing directions
    roll = draws.uniform(k, low=-np.radians(MAX_ROLL_DEG), high=np.radians(MAX_ROLL_DEG))
    return rotation(np.array([0.0, 0.0, 1.0]), roll) @ rotation(axis, tilt) @ facing
