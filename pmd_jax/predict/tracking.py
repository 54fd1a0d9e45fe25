"""From one picture of a video to the next: where the hand has gone, and joints that do not tremble.

A root-relative pose says nothing of where the hand is: placed by the crop rule, its joints have the box they came from
as their box again. So the picture itself tells how the hand moved, and the joints tell where to look and how large the
next box is.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from pmd_jax.config.backbones import CROP_SIZE_PX
from pmd_jax.data import cropping
from pmd_jax.data.cropping import CropBox

SIZE = CROP_SIZE_PX  # of the patch that is looked for, pixels of a crop
REACH = 16  # how far, to each side
WIDE = SIZE + 2 * REACH
ZOOMS = (0.94, 0.97, 1.0, 1.03, 1.06)  # of one picture over the last
NEAR_JOINTS = 2.0  # σ of the weight around each joint
SETTLE = 0.3  # share of the newest joints in those that make the box, for the network's tremble by some per cent
ALIKE = 0.5  # a patch that differs by more than this share of its contrast is given up for a new one


class PatchTracker:
    """Holds where the pose's origin is and how many pixels a hand scale takes, from picture to picture.

    Args:
        rgb: the first picture.
        joints, box: what the network said there, and where.
        margin: of the network's crops (`cropping.crop_margin`).
    """

    def __init__(
        self,
        rgb: UInt8[np.ndarray, "h w 3"],
        joints: Float[np.ndarray, "21 3"],
        box: CropBox,
        margin: float = cropping.MARGIN,
    ):
        self._margin = margin
        uv_px = cropping.project_weak_perspective(joints, box, margin)
        self.px_per_scale = float(np.ptp(uv_px, axis=0).max() / np.ptp(joints[:, :2], axis=0).max())
        self.origin_px = uv_px[0] - joints[0, :2] * self.px_per_scale
        self._joints = joints
        # What later pictures are compared with, and where that is now. It stays as long as it can be recognised: what
        # is measured from each picture to the next adds up to a drift.
        self._patch: Patch | None = Patch(rgb, box, uv_px)
        self._box = box

    def place(self, joints: Float[np.ndarray, "21 3"]) -> Float[np.ndarray, "21 2"]:
        """Joints in pixels of the last picture."""
        return self.origin_px + joints[:, :2] * self.px_per_scale

    def next_box(self, rgb: UInt8[np.ndarray, "h w 3"]) -> CropBox:
        """Where the hand is in the next picture: around the last joints, settled, moved as their surroundings moved."""
        assert self._patch is not None, "saw() comes after each next_box()"
        move_px, zoom, unlike = self._patch.find(rgb, self._box)
        centre, side = np.array([self._box.x0, self._box.y0]) + self._box.side / 2, self._box.side * zoom
        self.origin_px = centre - 0.5 + (self.origin_px - centre + 0.5) * zoom + move_px
        self.px_per_scale *= zoom
        x0, y0 = centre + move_px - side / 2
        self._box = CropBox(x0, y0, side)
        if unlike > ALIKE:
            self._patch = None
        return cropping.crop_box(self.place(self._joints), self._margin)

    def saw(self, rgb: UInt8[np.ndarray, "h w 3"], joints: Float[np.ndarray, "21 3"], box: CropBox) -> None:
        """What the network said of that box."""
        self._joints = self._joints + SETTLE * (joints - self._joints)
        if self._patch is None:
            self._patch, self._box = Patch(rgb, box, self.place(joints)), box


class Patch:
    """A hand as it looked, to be found again: the crop at `box`, where the pixels near the joints `uv_px` count."""

    def __init__(self, rgb: UInt8[np.ndarray, "h w 3"], box: CropBox, uv_px: Float[np.ndarray, "21 2"]):
        patch = _around(rgb, box)[ZOOMS.index(1.0), REACH:-REACH, REACH:-REACH]
        grid = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), -1)
        away = ((grid[:, :, None] - cropping.crop_points(uv_px, box, SIZE)) ** 2).sum(-1).min(-1)
        weight = np.exp(-away / (2 * NEAR_JOINTS**2)) + 1e-4
        weight = (weight / weight.sum())[..., None]
        self._square = (weight * patch**2).sum()
        self._contrast = self._square - ((weight * patch).sum((0, 1)) ** 2).sum()
        self._weight = _spectrum(weight).conj()
        self._weighted = _spectrum(weight * patch).conj()

    def find(self, rgb: UInt8[np.ndarray, "h w 3"], box: CropBox) -> tuple[Float[np.ndarray, " 2"], float, float]:
        """Where it has gone in a picture that shows it near `box`.

        The least sum of squared differences, for all shifts at once by Fourier transforms.

        Returns:
            Its move in pixels and how much larger it became, nothing below half a crop's pixel; and the difference
            that is left, as a share of the contrast: 0 is the same picture, 1 could be any other.
        """
        wide = _around(rgb, box)
        squares = _spectrum((wide**2).sum(-1, keepdims=True)) * self._weight
        products = (_spectrum(wide) * self._weighted).sum(-1)
        costs = np.fft.irfft2(squares[..., 0] - 2 * products, (WIDE, WIDE))[:, : 2 * REACH + 1, : 2 * REACH + 1]
        which, row, column = map(int, np.unravel_index(costs.argmin(), costs.shape))
        left = max(0.0, float(costs[which, row, column] + self._square))
        unlike = float(np.sqrt(left / max(self._contrast, 1.0)))
        zoom = 1.0 if ZOOMS[which] == 1 else ZOOMS[0] + (ZOOMS[1] - ZOOMS[0]) * _vertex(costs.min((1, 2)), which)
        if zoom == 1 and (row, column) == (REACH, REACH):
            return np.zeros(2), 1.0, unlike
        shift = np.array([_vertex(costs[which, row], column), _vertex(costs[which, :, column], row)]) - REACH
        return shift * (box.side * zoom / SIZE), zoom, unlike


def _spectrum(image: np.ndarray) -> np.ndarray:
    return np.fft.rfft2(image, (WIDE, WIDE), axes=(-3, -2))


def _around(rgb: UInt8[np.ndarray, "h w 3"], box: CropBox) -> Float[np.ndarray, "zooms wide wide 3"]:
    """The crop of a box with `REACH` more to each side, the box grown by each of `ZOOMS`. Black outside the picture.

    Pillow's resize, not `cropping.crop_rgb`: what is compared need only be alike, and large pictures cost a tenth.
    """
    side = box.side * WIDE / SIZE
    picture, shrink = Image.fromarray(rgb), max(1, int(side // (2 * WIDE)))
    if shrink > 1:  # read the whole once, then small pictures only
        picture = picture.reduce(shrink)
    side, u, v = side / shrink, (box.x0 + box.side / 2) / shrink, (box.y0 + box.side / 2) / shrink
    edge = int(np.ceil(side * ZOOMS[-1] / 2)) + 1
    left, top = int(u) - edge, int(v) - edge
    picture = picture.crop((left, top, left + 2 * edge, top + 2 * edge))
    crops = []
    for zoom in ZOOMS:
        half = side * zoom / 2
        seen = (u - left - half, v - top - half, u - left + half, v - top + half)
        crops.append(np.asarray(picture.resize((WIDE, WIDE), Image.Resampling.BILINEAR, box=seen)))
    return np.stack(crops).astype(np.float64)


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
