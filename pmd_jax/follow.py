"""From one picture of a video to the next: where the hand has gone, and joints that do not tremble.

A root-relative pose says nothing of where the hand is: placed by the crop rule, its joints have the box they came from
as their box again. So the picture itself tells how the hand moved, and the joints tell where to look and how large the
next box is.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from pmd_jax.data import hand
from pmd_jax.data.hand import CropBox

SIZE = 64  # of the patch that is looked for, pixels of a crop
REACH = 16  # how far, to each side
ZOOMS = (0.94, 0.97, 1.0, 1.03, 1.06)  # of one picture over the last
NEAR_JOINTS = 2.5  # σ of the weight around each joint


class Follower:
    """Holds where the pose's origin is and how many pixels a hand scale takes, from picture to picture.

    Args:
        rgb: the first picture.
        joints, box: what the network said there, and where.
    """

    def __init__(self, rgb: UInt8[np.ndarray, "h w 3"], joints: Float[np.ndarray, "21 3"], box: CropBox):
        uv_px = hand.place_in_box(joints, box)
        self.px_per_scale = float(np.ptp(uv_px, axis=0).max() / np.ptp(joints[:, :2], axis=0).max())
        self.origin_px = uv_px[0] - joints[0, :2] * self.px_per_scale
        self._joints = joints
        # What later pictures are compared with: the last one in which the hand had moved. Compared with the picture
        # just before, it would drift away by what is too little to be seen.
        self._reference: tuple[np.ndarray, CropBox] | None = (rgb, box)

    def place(self, joints: Float[np.ndarray, "21 3"]) -> Float[np.ndarray, "21 2"]:
        """Joints in pixels of the last picture."""
        return self.origin_px + joints[:, :2] * self.px_per_scale

    def next_box(self, rgb: UInt8[np.ndarray, "h w 3"]) -> CropBox:
        """Where the hand is in the next picture: the last joints' crop, moved as their surroundings moved."""
        assert self._reference is not None, "saw() comes after each next_box()"
        before, box = self._reference
        move_px, zoom = motion(before, rgb, box, self.place(self._joints))
        if move_px.any() or zoom != 1:
            centre = np.array([box.x0, box.y0]) + box.side / 2 - 0.5
            self.origin_px = centre + (self.origin_px - centre) * zoom + move_px
            self.px_per_scale *= zoom
            self._reference = None
        return hand.crop_box(self.place(self._joints))

    def saw(self, rgb: UInt8[np.ndarray, "h w 3"], joints: Float[np.ndarray, "21 3"], box: CropBox) -> None:
        """What the network said of that box."""
        self._joints = joints
        self._reference = self._reference or (rgb, box)


def motion(
    before: UInt8[np.ndarray, "h w 3"],
    after: UInt8[np.ndarray, "h w 3"],
    box: CropBox,
    uv_px: Float[np.ndarray, "21 2"],
) -> tuple[Float[np.ndarray, " 2"], float]:
    """How what lies around `uv_px` moved, in pixels, and how much larger it became; nothing below half a crop's pixel.

    The least sum of squared differences between the patch and its surroundings in the next picture, weighted towards
    the joints; for all shifts at once by Fourier transforms.
    """
    patch = hand.crop_rgb(before, box, SIZE).astype(np.float64)
    grid = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), -1)
    away = ((grid[:, :, None] - hand.crop_points(uv_px, box, SIZE)) ** 2).sum(-1).min(-1)
    weight = np.exp(-away / (2 * NEAR_JOINTS**2))[..., None] + 1e-4
    costs = np.stack([_differences(_around(after, box, zoom), patch, weight) for zoom in ZOOMS])
    which, row, column = map(int, np.unravel_index(costs.argmin(), costs.shape))
    zoom = 1.0 if ZOOMS[which] == 1 else ZOOMS[0] + (ZOOMS[1] - ZOOMS[0]) * _vertex(costs.min((1, 2)), which)
    if zoom == 1 and (row, column) == (REACH, REACH):
        return np.zeros(2), 1.0
    shift = np.array([_vertex(costs[which, row], column), _vertex(costs[which, :, column], row)]) - REACH
    return shift * (box.side * zoom / SIZE), zoom


def _around(rgb: UInt8[np.ndarray, "h w 3"], box: CropBox, zoom: float) -> Float[np.ndarray, "wide wide 3"]:
    """The crop of a box grown `zoom` times, with `REACH` more to each side."""
    side = box.side * zoom * (SIZE + 2 * REACH) / SIZE
    grown = CropBox(box.x0 + (box.side - side) / 2, box.y0 + (box.side - side) / 2, side)
    return hand.crop_rgb(rgb, grown, SIZE + 2 * REACH).astype(np.float64)


def _differences(wide: np.ndarray, patch: np.ndarray, weight: np.ndarray) -> Float[np.ndarray, "shifts shifts"]:
    """Σ weight·(wide shifted − patch)² for each shift that keeps the patch inside."""
    shape = wide.shape[:2]

    def correlate(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        spectrum = np.fft.rfft2(image, shape, (0, 1)) * np.fft.rfft2(kernel, shape, (0, 1)).conj()
        return np.fft.irfft2(spectrum, shape, (0, 1)).sum(-1)

    cost = correlate(wide**2, weight) - 2 * correlate(wide, weight * patch) + (weight * patch**2).sum()
    return cost[: 2 * REACH + 1, : 2 * REACH + 1]


def _vertex(line: Float[np.ndarray, " n"], lowest: int) -> float:
    """Where the parabola through the lowest sample and its neighbours has its minimum."""
    if not 0 < lowest < len(line) - 1:
        return float(lowest)
    left, middle, right = line[lowest - 1 : lowest + 2]
    bend = left - 2 * middle + right
    return lowest + float(0.5 * (left - right) / bend) if bend > 0 else float(lowest)


class OneEuroFilter:
    """Smooths what trembles and follows what moves (Casiez, Roussel and Vogel, "1€ Filter", CHI 2012).

    Args:
        rate: samples a second.
        min_cutoff: Hz, for what stands still; lower is smoother.
        beta: how much the cutoff rises with speed (units a second); higher lags less.
    """

    def __init__(self, rate: float, min_cutoff: float = 1.0, beta: float = 1.0):
        self.rate, self.min_cutoff, self.beta = rate, min_cutoff, beta
        self._value: np.ndarray | None = None
        self._speed: np.ndarray | float = 0.0

    def __call__(self, value: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
        """The next sample, smoothed; each number by itself."""
        if self._value is None:
            self._value = value
            return value
        self._speed += self._share(1.0) * ((value - self._value) * self.rate - self._speed)
        self._value = self._value + self._share(self.min_cutoff + self.beta * abs(self._speed)) * (value - self._value)
        return self._value

    def _share(self, cutoff_hz):
        """Of the new sample in a first-order low-pass filter."""
        return 1 / (1 + self.rate / (2 * np.pi * cutoff_hz))
