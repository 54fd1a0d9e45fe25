"""RHD's annotation pickle: what it says of each frame, checked."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from pmd_jax.prepare.archive import Archive, option
from pmd_jax.runtime.errors import ArchiveError

from . import safe_pickle

FOLDERS = {"train": "training", "test": "evaluation"}
FRAMES = {"train": 41_258, "test": 2_728}  # the archive's count; the paper's 41,238 appears nowhere else
ANNOTATION_LIMIT_BYTES = 1 << 30

# Each hand's rows are the wrist, then every finger from its tip to its base; ours run from the base to the tip.
TO_OUR_ORDER = np.array([0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17])
ROWS = {"left": slice(0, 21), "right": slice(21, 42)}


class Annotation(NamedTuple):
    """One frame's labels, rows in the archive's own order: 21 of the left hand, then 21 of the right."""

    uv_px: Float[np.ndarray, "42 2"]
    visible: Bool[np.ndarray, " 42"]
    xyz_m: Float[np.ndarray, "42 3"]  # camera frame, although the archive's README says world
    K: Float[np.ndarray, "3 3"]  # differs from frame to frame


def annotation_name(split: str) -> str:
    """The pickle's path inside the archive."""
    return f"{FOLDERS[split]}/anno_{FOLDERS[split]}.pickle"


def read_annotations(archive: Archive, split: str, allow_partial: bool) -> dict[int, Any]:
    """All frames' raw entries by frame number; `parse` checks each.

    Raises:
        ArchiveError: the file is missing, truncated, would run code, or does not hold the data set's number of frames.
    """
    name = annotation_name(split)
    try:
        entries = safe_pickle.loads(archive.read(name, ANNOTATION_LIMIT_BYTES))
    except ValueError as error:
        raise ArchiveError(f"{archive.where(name)}: not RHD's annotation: {error}.") from None
    if not isinstance(entries, dict) or not all(type(key) is int and key >= 0 for key in entries):
        raise ArchiveError(f"{archive.where(name)}: not RHD's annotation: it is not a dict by frame number.")
    expected = FRAMES[split]
    if len(entries) != expected and not (allow_partial and 0 < len(entries) < expected):
        raise ArchiveError(
            f"{archive.where(name)}: {len(entries):,} frames; RHD has {expected:,} here. Fetch the whole archive, or "
            f"prepare a smaller one as it is by {option('allow_partial')}."
        )
    return entries


def parse(entry: object) -> Annotation:
    """One frame's entry as arrays.

    Raises:
        ValueError: something is missing, has another shape or is not finite.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"the annotation is a {type(entry).__name__}, not a dict")
    uv_vis, xyz, K = (_field(entry, *field) for field in (("uv_vis", (42, 3)), ("xyz", (42, 3)), ("K", (3, 3))))
    if K[0, 0] <= 0 or K[1, 1] <= 0:
        raise ValueError(f"K has a focal length of {K[0, 0]:.3g} × {K[1, 1]:.3g} px")
    return Annotation(uv_vis[:, :2], uv_vis[:, 2] > 0.5, xyz, K)


def _field(entry: dict, name: str, shape: tuple[int, ...]) -> np.ndarray:
    value = entry.get(name)
    if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype.kind not in "fiu":
        found = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise ValueError(f"{name} is {found} in place of numbers of shape {shape}")
    value = value.astype(np.float64)
    if not np.isfinite(value).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return value
