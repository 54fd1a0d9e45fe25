"""The square around a hand: which box, and what picture, depth map, joints and intrinsics become in it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Num, UInt8, UInt16

from pmd_jax.data.hand import project

BOXES = ("joints", "mask")  # what a crop goes around: the joints' pixels, or the hand's, which needs no label
MARGIN = 1.5  # of the box around the joints: its side over their larger extent
MASK_MARGIN = 1.3  # of the box around a mask; makes crops about as wide as around joints with MARGIN
MIN_IN_CROP_SHARE = 0.5  # of the visible joints: a crop with fewer shows something else than the hand


class CropBox(NamedTuple):
    """A square of the picture. Edges, not centres: pixel i covers [i, i + 1), so x0 = 0 is the picture's left edge."""

    x0: float
    y0: float
    side: float


def crop_box(uv_px: Num[np.ndarray, "j 2"], margin: float = MARGIN) -> CropBox:
    """The square around all joints, `margin` times their larger extent (docs/paper.md, "crop").

    Raises:
        ValueError: the joints are not finite or all fall on one point, so that the square has no area.
    """
    low, high = uv_px.min(0) + 0.5, uv_px.max(0) + 0.5
    side = float(margin * (high - low).max())
    if not np.isfinite(side) or side <= 0:
        raise ValueError(
            f"The joints span a square of side {side} px; a crop needs finite joints that are not all equal."
        )
    x0, y0 = (low + high) / 2 - side / 2
    return CropBox(float(x0), float(y0), side)


def scaled(box: CropBox, times: float) -> CropBox:
    """A box about the same middle, so many times as wide."""
    grown = (times - 1) * box.side / 2
    return CropBox(box.x0 - grown, box.y0 - grown, times * box.side)


def overlap(a: CropBox, b: CropBox) -> float:
    """Intersection over union of two squares; 0 where both are of no area."""
    shared = 1.0
    for axis in (0, 1):
        shared *= max(0.0, min(a[axis] + a.side, b[axis] + b.side) - max(a[axis], b[axis]))
    union = a.side**2 + b.side**2 - shared
    return shared / union if union > 0 else 0.0


def mask_box(mask: Bool[np.ndarray, "h w"], margin: float = MASK_MARGIN) -> CropBox:
    """The square around a hand's pixels, `margin` times their larger extent: a crop that needs no joint.

    Raises:
        ValueError: the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        raise ValueError("no pixel belongs to the hand, so there is nothing to crop around")
    corners = np.array([[columns[0] - 0.5, rows[0] - 0.5], [columns[-1] + 0.5, rows[-1] + 0.5]])
    return crop_box(corners, margin)


def crop_margin(uv: Float[np.ndarray, "n 21 2"], size: int = 64) -> float:
    """How many times as wide as their joints' larger extent crops are, in the median, to a hundredth.

    `crop_box`'s own margin where it made them; any other rule has one as well, and `project_weak_perspective` needs it.

    Args:
        uv: joints in crops of `size` pixels, as prepared samples have them.
    """
    return round(float(np.median(size / np.ptp(uv, axis=1).max(1))), 2)


def project_weak_perspective(
    pose: Float[Any, "*b 21 3"], box: CropBox, margin: float = MARGIN
) -> Float[np.ndarray, "*b 21 2"]:
    """Pixels of the picture for joints of unknown place, by the crop rule (`crop_box`) turned round.

    Weak perspective: all joints count as equally far from the camera. Their larger extent is then the box's side over
    `margin`, and their middle the box's. Units and origin of `pose` do not matter.
    """
    low, high = pose[..., :2].min(-2, keepdims=True), pose[..., :2].max(-2, keepdims=True)
    extent = np.maximum((high - low).max(-1, keepdims=True), 1e-6)  # joints all at one place stay there
    px_per_unit = box.side / margin / extent
    return (pose[..., :2] - (low + high) / 2) * px_per_unit + _centre(box)


def solve_root_translation(
    pose: Float[np.ndarray, "21 3"],
    box: CropBox,
    K: Float[np.ndarray, "3 3"],
    depth: float | None = None,
    margin: float = MARGIN,
) -> Float[np.ndarray, " 3"]:
    """Where a root-relative pose's root must be in the camera frame for the joints to have `box` as their crop.

    Fixed-point steps: move sideways until the projected joints' middle is the box's and, where the depth is free, away
    until their larger extent is the box's side over `margin`.

    Args:
        pose: in any unit.
        depth: of the root, in that unit; None: found, too.

    Returns:
        The root, in the unit of `pose`; a place that keeps all joints in front of the camera.
    """
    nearest = 0.1 - pose[:, 2].min()  # joints within a tenth of a unit of the lens have no picture
    focal = np.sqrt(K[0, 0] * K[1, 1])
    extent = np.ptp(pose[:, :2], axis=0).max()
    root = np.array([0.0, 0.0, max(nearest, focal * extent * margin / box.side) if depth is None else depth])
    for _ in range(100):
        uv = project(pose + root, K)
        low, high = uv.min(0), uv.max(0)
        miss = _centre(box) - (low + high) / 2
        growth = (high - low).max() * margin / box.side
        if abs(miss).max() < 1e-4 and (depth is not None or abs(growth - 1) < 1e-6):
            break
        root[:2] += np.linalg.solve(K[:2, :2], miss) * root[2]
        if depth is None:
            root[2] = max(nearest, root[2] * growth)
    return root


def _centre(box: CropBox) -> Float[np.ndarray, " 2"]:
    """In pixels, whose centres lie at integers."""
    return np.array([box.x0, box.y0]) + box.side / 2 - 0.5


def inside(uv_px: Num[np.ndarray, "*j 2"], size: tuple[int, int]) -> Bool[np.ndarray, "*j"]:
    """Which points lie in a picture of `size` (width, height)."""
    return np.asarray(((uv_px > -0.5) & (uv_px < np.array(size) - 0.5)).all(-1))


def crop_points(uv_px: Num[np.ndarray, "*j 2"], box: CropBox, size: int) -> Float[np.ndarray, "*j 2"]:
    """Pixels of the picture to pixels of the crop: u → (u − x0 + ½)·s − ½."""
    return (uv_px - np.array([box.x0, box.y0]) + 0.5) * (size / box.side) - 0.5


def crop_intrinsics(K: Float[np.ndarray, "3 3"], box: CropBox, size: int) -> Float[np.ndarray, "3 3"]:
    """The camera matrix of the crop, so that `project` gives crop pixels."""
    zoom = size / box.side
    to_crop = np.array([[zoom, 0, (0.5 - box.x0) * zoom - 0.5], [0, zoom, (0.5 - box.y0) * zoom - 0.5], [0, 0, 1]])
    return to_crop @ K


def crop_rgb(image: UInt8[np.ndarray, "h w 3"], box: CropBox, size: int) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Area-averaged crop, black outside the picture: each pixel is the mean over the square it covers."""
    rows = _area_weights(box.y0, box.side, size, image.shape[0])
    columns = _area_weights(box.x0, box.side, size, image.shape[1])
    used = np.ix_(rows.any(0), columns.any(0))
    window = image[used].astype(np.float32)
    narrowed = np.tensordot(rows[:, rows.any(0)], window, 1)  # (size, w, 3)
    crop = np.tensordot(narrowed, columns[:, columns.any(0)], (1, 1))  # (size, 3, size)
    return np.rint(crop.swapaxes(1, 2)).astype(np.uint8)


def _area_weights(start: float, side: float, size: int, pixels: int) -> Float[np.ndarray, "{size} {pixels}"]:
    """What share of each of `size` cells from `start` to `start + side` each pixel of a line covers."""
    edges = start + np.arange(size + 1) * (side / size)
    pixel = np.arange(pixels)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (overlap.clip(0) * (size / side)).astype(np.float32)


def crop_depth(depth: UInt16[np.ndarray, "h w"], box: CropBox, size: int) -> UInt16[np.ndarray, "{size} {size}"]:
    """Nearest original sample (a mean of two depths lies on neither surface), 0 = missing outside the picture."""
    steps = (np.arange(size) + 0.5) * (box.side / size)
    rows, columns = np.floor(box.y0 + steps).astype(int), np.floor(box.x0 + steps).astype(int)
    inside = ((rows >= 0) & (rows < depth.shape[0]))[:, None] & ((columns >= 0) & (columns < depth.shape[1]))
    sampled = depth[rows.clip(0, depth.shape[0] - 1)[:, None], columns.clip(0, depth.shape[1] - 1)]
    return np.where(inside, sampled, 0).astype(depth.dtype)
