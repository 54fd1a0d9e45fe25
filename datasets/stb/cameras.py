"""STB's calibration (its README), and what it takes to bring labels and depth into one camera."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Num

WIDTH_PX, HEIGHT_PX = 640, 480


def _intrinsics(fx: float, fy: float, cx: float, cy: float) -> Float[np.ndarray, "3 3"]:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


K_COLOUR = _intrinsics(607.92271, 607.88192, 314.78337, 236.42484)
K_DEPTH = _intrinsics(475.62768, 474.77709, 336.41179, 238.77962)
K_STEREO = _intrinsics(822.79041, 822.79041, 318.47345, 250.31296)  # both eyes
BASELINE_M = 0.120054  # the right eye of the stereo pair sees X − (baseline, 0, 0)

_ROTATION_VECTOR = (0.00531, -0.01196, 0.00301)
_TRANSLATION_M = np.array([-24.0381, -0.4563, -1.2326]) / 1000


def rotation_matrix(vector: Num[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Rodrigues: the rotation about `vector` by its length in radians."""
    angle = float(np.linalg.norm(vector))
    x, y, z = np.asarray(vector) / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


_ROTATION = rotation_matrix(np.array(_ROTATION_VECTOR))


def depth_to_colour(xyz_m: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Points of the depth camera's frame in the colour camera's: X_depth = R·X_colour + t, solved for X_colour."""
    return (xyz_m - _TRANSLATION_M) @ _ROTATION


# A depth pixel's ray in the colour camera's frame: its point at depth z is z·ray + _ORIGIN.
_PIXELS = np.stack([*np.meshgrid(np.arange(WIDTH_PX), np.arange(HEIGHT_PX)), np.ones((HEIGHT_PX, WIDTH_PX))], axis=-1)
_RAYS = np.moveaxis(_PIXELS @ np.linalg.inv(K_DEPTH).T @ _ROTATION, -1, 0).astype(np.float32)
_ORIGIN = depth_to_colour(np.zeros(3)).astype(np.float32)
# Half a depth pixel's width in colour pixels, and a fifth more so that neighbours on a slanted surface leave no seam.
_HALF_FOOTPRINT = (0.6 * K_COLOUR[[0, 1], [0, 1]] / K_DEPTH[[0, 1], [0, 1]]).astype(np.float32)
_BAND_ROWS = 32  # worked on at a time, so that temporaries stay in the cache: three times as fast


def warp_depth_m(depth_m: Float[np.ndarray, "480 640"]) -> Float[np.ndarray, "480 640"]:
    """The depth map as the colour camera would see it, metres along its own axis.

    Each sample covers its pixel's footprint in the colour picture (about 1.5 pixels wide: colour has the longer lens);
    where several fall, the nearest is in front. 0, not measured, stays 0, and so does what no sample reaches.
    """
    # A pixel of margin all round takes what falls outside, and is cut off in the end.
    nearest = np.full((HEIGHT_PX + 2, WIDTH_PX + 2), np.inf, np.float32)
    for top in range(0, HEIGHT_PX, _BAND_ROWS):
        band = slice(top, top + _BAND_ROWS)
        z = depth_m[band].astype(np.float32)
        x, y, ahead = (z * ray + origin for ray, origin in zip(_RAYS[:, band], _ORIGIN, strict=True))
        ahead[z == 0] = np.inf  # behind everything
        columns = _covered(x / ahead, axis=0, limit=WIDTH_PX)
        rows = _covered(y / ahead, axis=1, limit=HEIGHT_PX)
        for row in rows:
            for column in columns:
                np.minimum.at(nearest.ravel(), row * (WIDTH_PX + 2) + column, ahead.ravel())
    return np.where(np.isfinite(nearest), nearest, 0)[1:-1, 1:-1]


def _covered(slope: Float[np.ndarray, "h w"], axis: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last colour pixel that each sample covers along an axis, plus one for the margin."""
    centre = slope.ravel() * np.float32(K_COLOUR[axis, axis]) + np.float32(K_COLOUR[axis, 2])
    first, last = np.ceil(centre - _HALF_FOOTPRINT[axis]), np.floor(centre + _HALF_FOOTPRINT[axis])
    return first.clip(-1, limit).astype(np.intp) + 1, last.clip(-1, limit).astype(np.intp) + 1
