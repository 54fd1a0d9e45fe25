"""Where STB's sequences and label files lie, in any of the shapes they come in, and what the label files hold."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import scipy.io
from jaxtyping import Float

from pmd_jax.data.archive import Archive, ArchiveError, find_in_zip, option

SEQUENCES = {
    "train": tuple(f"B{i}{kind}" for i in range(2, 7) for kind in ("Counting", "Random")),
    "test": ("B1Counting", "B1Random"),
}
FRAMES = 1500  # of each sequence
LABEL_LIMIT_BYTES = 64 << 20

# Palm centre, then little, ring, middle, index, thumb, each from its base to its tip; ours begin with the thumb.
TO_OUR_ORDER = np.array([0, 17, 18, 19, 20, 13, 14, 15, 16, 9, 10, 11, 12, 5, 6, 7, 8, 1, 2, 3, 4])


def find_sequence(folder: Path, sequence: str, camera: str) -> Archive | None:
    """The pictures of a sequence: a zip with or without a top folder, or an unpacked tree with or without `images/`."""
    marker = "SK_color_*.png" if camera == "SK" else "BB_left_*.png"
    for base in _bases(folder, "images"):
        for place in (base / sequence, base / sequence / sequence):  # a zip's own top folder may lie inside another
            if any(place.glob(marker)):
                return Archive(place)
        if (base / f"{sequence}.zip").is_file():
            return find_in_zip(base / f"{sequence}.zip", marker)
    return None


def find_labels(folder: Path, sequence: str, camera: str) -> Archive | None:
    """What holds a sequence's label file: `labels/`, `labels.zip`, or the folder itself."""
    name = label_name(sequence, camera)
    for base in _bases(folder, "labels"):
        if (base / name).is_file():
            return Archive(base)
        if (base / "labels.zip").is_file() and (found := find_in_zip(base / "labels.zip", name)):
            return found
    return None


def _bases(folder: Path, inner: str) -> list[Path]:
    tops = [folder, *sorted(p for p in folder.glob("*") if p.is_dir())]
    return [place for top in tops for place in (top, top / inner)]


def label_name(sequence: str, camera: str) -> str:
    """The label file of a sequence, for the depth sensor (SK) or the stereo pair (BB)."""
    return f"{sequence}_{camera}.mat"


def picture_names(camera: str, frame: int) -> tuple[str, str]:
    """A frame's two files: (colour, depth) of SK, (left, right) of BB. Their numbers are not padded."""
    kinds = ("SK_color", "SK_depth") if camera == "SK" else ("BB_left", "BB_right")
    return f"{kinds[0]}_{frame}.png", f"{kinds[1]}_{frame}.png"


def read_labels(archive: Archive, sequence: str, camera: str, allow_partial: bool) -> Float[np.ndarray, "frames 21 3"]:
    """A sequence's joints: metres, our order, in the label file's own camera (SK: the depth camera; BB: the left eye).

    A frame that holds NaN is returned as it is: it is that frame's fault alone.

    Raises:
        ArchiveError: the file is missing or damaged, or does not hold `handPara`, 3 × 21 × 1500 numbers.
    """
    name = label_name(sequence, camera)
    where, data = archive.where(name), archive.read(name, LABEL_LIMIT_BYTES)
    try:
        # The index first: a stranger's file may declare any size or kind of variable.
        declared = {variable: (shape, kind) for variable, shape, kind in scipy.io.whosmat(io.BytesIO(data))}
    except Exception as error:  # scipy's reader raises whatever the broken byte leads to
        raise ArchiveError(f"{where}: not a whole MATLAB 5 file ({error}).") from None
    if "handPara" not in declared:
        raise ArchiveError(f"{where}: no variable handPara in it, only {', '.join(declared) or 'nothing'}.")
    shape, kind = declared["handPara"]
    if kind != "double" or len(shape) != 3 or shape[:2] != (3, 21):
        raise ArchiveError(f"{where}: handPara is {kind} of shape {shape}; STB's is double of shape (3, 21, {FRAMES}).")
    if shape[2] != FRAMES and not (allow_partial and 0 < shape[2] < FRAMES):
        raise ArchiveError(
            f"{where}: labels of {shape[2]} frames; STB has {FRAMES} in each sequence. Fetch the whole archive, or "
            f"prepare a smaller one as it is by {option('allow_partial')}."
        )
    try:
        hand_para = scipy.io.loadmat(io.BytesIO(data), variable_names=["handPara"])["handPara"]
    except Exception as error:
        raise ArchiveError(f"{where}: handPara cannot be read ({error}).") from None
    return np.ascontiguousarray(hand_para.transpose(2, 1, 0)[:, TO_OUR_ORDER]) / 1000
