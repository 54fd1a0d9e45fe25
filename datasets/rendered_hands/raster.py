"""A z-buffer in NumPy: triangles of a batch of pictures to the nearest face of every pixel.

Triangles are sorted by the side of their bounding box and drawn one class of sides at a time, so each class is a dense
array operation. Inside this file pixel i covers [i, i + 1): its centre is i + ½.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

_SIDES = (2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_CHUNK = 32_768  # elements of a temporary: small enough to stay in the cache
_NEAR_M = 0.05
_SEAM = np.float32(1e-5)  # overlap that keeps rounding from opening cracks between neighbours
_EMPTY = np.int64(-1)  # below every key


class Hits(NamedTuple):
    """The covered pixels of a batch, in row order, and what each of them sees."""

    pixel: Int[np.ndarray, " n"]  # flat index into (b, height, width)
    sample: Int[np.ndarray, " n"]
    face: Int[np.ndarray, " n"]
    share: Float[np.ndarray, "3 n"]  # perspective-correct barycentric coordinates
    depth_m: Float[np.ndarray, " n"]

    def interpolate(
        self, values: Float[np.ndarray, "v c"], corners: Int[np.ndarray, "n 3"]
    ) -> Float[np.ndarray, "n c"]:
        """What vertices have, at the pixels.

        Args:
            values: of all vertices.
            corners: which of them each pixel's triangle has.
        """
        found = np.zeros((len(corners), values.shape[1]), np.float32)
        for corner in range(3):
            found += np.take(values, corners[:, corner], axis=0) * self.share[corner, :, None]
        return found


def rasterise(
    uv: Float[np.ndarray, "b v 2"],
    z_m: Float[np.ndarray, "b v"],
    faces: Int[np.ndarray, "f 3"],
    winding: Float[np.ndarray, " b"],
    shape: tuple[int, int],
) -> Hits:
    """Draws closed meshes seen from outside.

    Args:
        uv: vertices in pixels, centres at integers.
        z_m: distances along the optical axis; faces nearer than 5 cm are left out.
        faces: outward by the right-hand rule where `winding` is +1, inward (a mirrored mesh) where it is −1.
        shape: height and width of the picture.
    """
    triangles = _set_up(uv.astype(np.float32) + np.float32(0.5), z_m.astype(np.float32), faces, winding, shape)
    height, width = shape
    buffer = np.full(len(uv) * height * width, _EMPTY)
    previous = 0
    for limit in _SIDES:
        chosen = np.flatnonzero((triangles.side > previous) & (triangles.side <= limit))
        window = (min(limit, height), min(limit, width))
        step = max(_CHUNK // (window[0] * window[1]), 1)
        for start in range(0, len(chosen), step):
            _draw(buffer, triangles, chosen[start : start + step], window, shape)
        previous = limit
    return _resolve(buffer, triangles, shape)


class _Triangles(NamedTuple):
    """Visible triangles. b1, b2 and 1/z are affine in the picture: value at (x, y) = column·(x, y, 1)."""

    sample: Int[np.ndarray, " t"]
    face: Int[np.ndarray, " t"]
    left: Int[np.ndarray, " t"]  # first column of the box
    top: Int[np.ndarray, " t"]
    side: Int[np.ndarray, " t"]  # pixels, the longer side of the box
    b1: Float[np.ndarray, "3 t"]
    b2: Float[np.ndarray, "3 t"]
    inverse_z: Float[np.ndarray, "3 t"]
    corner_w: Float[np.ndarray, "3 t"]  # 1/z of the corners


def _set_up(uv, z, faces, winding, shape) -> _Triangles:
    count = uv.shape[1]
    x, y, w = uv[..., 0].ravel(), uv[..., 1].ravel(), 1 / np.maximum(z, _NEAR_M).ravel()
    corners = faces.T[:, None] + np.arange(len(uv))[:, None] * count  # (3, b, f), into the flat arrays
    px, py = np.take(x, corners), np.take(y, corners)
    area = (px[1] - px[0]) * (py[2] - py[0]) - (py[1] - py[0]) * (px[2] - px[0])
    # y points down in the picture, so an outward face that looks at the camera has a negative area.
    sample, face = np.nonzero(area * winding[:, None].astype(np.float32) < 0)
    px, py, pw = px[:, sample, face], py[:, sample, face], np.take(w, corners[:, sample, face])

    def box(p, end):  # first and last pixel whose centre may lie inside, cut at the picture's border
        first, last = np.minimum(np.minimum(p[0], p[1]), p[2]), np.maximum(np.maximum(p[0], p[1]), p[2])
        return np.maximum(np.ceil(first - 0.5), 0).astype(np.int64), np.minimum(np.floor(last - 0.5), end - 1).astype(
            np.int64
        )

    (left, right), (top, bottom) = box(px, shape[1]), box(py, shape[0])
    kept = np.flatnonzero((right >= left) & (bottom >= top) & (pw.max(0) < 1 / _NEAR_M))
    px, py, pw, left, right, top, bottom = (values[..., kept] for values in (px, py, pw, left, right, top, bottom))
    inverse = 1 / area[sample[kept], face[kept]]
    b1 = _affine((py[2] - py[0]) * inverse, (px[0] - px[2]) * inverse, px[0], py[0])
    b2 = _affine((py[0] - py[1]) * inverse, (px[1] - px[0]) * inverse, px[0], py[0])
    inverse_z = b1 * (pw[1] - pw[0]) + b2 * (pw[2] - pw[0])
    inverse_z[2] += pw[0]
    side = np.maximum(right - left, bottom - top) + 1
    return _Triangles(sample[kept], face[kept], left, top, side, b1, b2, inverse_z, pw)


def _affine(slope_x, slope_y, x, y) -> Float[np.ndarray, "3 t"]:
    return np.stack([slope_x, slope_y, -(slope_x * x + slope_y * y)])


def _draw(buffer, triangles: _Triangles, chosen, window: tuple[int, int], shape: tuple[int, int]) -> None:
    """Writes the chosen triangles, none larger than the window, into the buffer of (1/z bits, triangle) keys."""
    height, width = shape
    left = np.minimum(triangles.left[chosen], width - window[1])  # the window never leaves the picture
    top = np.minimum(triangles.top[chosen], height - window[0])
    x = left[:, None] + np.arange(window[1])
    y = top[:, None] + np.arange(window[0])
    x_centre, y_centre = x.astype(np.float32) + np.float32(0.5), y.astype(np.float32) + np.float32(0.5)

    def separate(affine):  # an affine function as a part for the columns and a part for the rows
        slope_x, slope_y, at_zero = affine[:, chosen, None]
        return slope_x * x_centre, slope_y * y_centre + at_zero

    b1_x, b1_y = separate(triangles.b1)
    b2_x, b2_y = separate(triangles.b2)
    b1 = b1_y[:, :, None] + b1_x[:, None, :]
    b2 = b2_y[:, :, None] + b2_x[:, None, :]
    inside = np.minimum(b1, b2)
    np.minimum(inside, 1 - b1 - b2, out=inside)
    t, row, column = np.nonzero(inside >= -_SEAM)
    w_x, w_y = separate(triangles.inverse_z)
    w = np.maximum(w_x[t, column] + w_y[t, row], np.float32(1e-6))
    # The bits of positive floats order like integers, so one maximum finds the nearest face whatever the order.
    key = (w.view(np.int32).astype(np.int64) << 32) | chosen[t]
    pixel = (triangles.sample[chosen][t] * height + y[t, row]) * width + x[t, column]
    np.maximum.at(buffer, pixel, key)


def _resolve(buffer, triangles: _Triangles, shape: tuple[int, int]) -> Hits:
    height, width = shape
    pixel = np.flatnonzero(buffer >= 0)
    t = buffer[pixel] & 0xFFFFFFFF
    sample, within = np.divmod(pixel, height * width)
    row, column = np.divmod(within, width)
    x, y = column.astype(np.float32) + np.float32(0.5), row.astype(np.float32) + np.float32(0.5)
    b1, b2 = (f[0] * x + f[1] * y + f[2] for f in (triangles.b1[:, t], triangles.b2[:, t]))
    weighted = np.stack([1 - b1 - b2, b1, b2]) * triangles.corner_w[:, t]
    total = weighted[0] + weighted[1] + weighted[2]
    return Hits(pixel, sample, triangles.face[t], weighted / total, 1 / total)
