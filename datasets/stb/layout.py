"""Where STB's sequences and label files lie, in any of the shapes they come in, and what the label files hold."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.io
from jaxtyping import Float

from pmd_jax.prepare.archive import Archive, option
from pmd_jax.prepare.finding import find_in_zips, fullest, places, zips
from pmd_jax.runtime.errors import ArchiveError

SEQUENCES = {
    "train": tuple(f"B{i}{kind}" for i in range(2, 7) for kind in ("Counting", "Random")),
    "test": ("B1Counting", "B1Random"),
}
FRAMES = 1500  # of each sequence
LABEL_LIMIT_BYTES = 64 << 20

# Palm centre, then little, ring, middle, index, thumb, each from its base to its tip; ours begin with the thumb.
TO_OUR_ORDER = np.array([0, 17, 18, 19, 20, 13, 14, 15, 16, 9, 10, 11, 12, 5, 6, 7, 8, 1, 2, 3, 4])


def find_sequence(folder: Path, sequence: str, camera: str) -> Archive | None:
    """The pictures of a sequence: zips with or without a top folder, or an unpacked tree with or without `images/`.

    A sequence may come in several zips, as web drives cut them (`B1Counting-….zip`), and a zip may hold several
    sequences. Of an unpacked tree and zips the fuller counts.
    """
    kinds = [name.replace("0", "*") for name in picture_names(camera, 0)]
    folders = [place / sequence for place in places(folder)]
    # A zip's own top folder may lie inside another of its name, and `images/` a folder deeper than we look.
    folders += [inner for place in folders for inner in (place / sequence, place.parent / "images" / sequence)]
    trees = [Archive(place) for place in folders if any(any(place.glob(kind)) for kind in kinds)]
    parts = list(dict.fromkeys(part for kind in kinds for part in _parts(zips(folder), sequence, kind)))
    packed = [replace(parts[0], further=tuple(parts[1:]))] if parts else []
    return fullest([*dict.fromkeys(trees), *packed], f"{camera}_*.png")


def _parts(paths: list[Path], sequence: str, kind: str) -> list[Archive]:
    """The zips with a sequence's pictures: their folder's name says so, or, where there is none, the zip's own."""
    ours = [path for path in paths if path.name.lower().startswith(sequence.lower())]
    inside = find_in_zips(paths, f"{sequence}/{kind}", strict=False)
    named = [replace(archive, prefix=f"{archive.prefix}{sequence}/") for archive in inside]
    rest = [path for path in ours if path not in {archive.path for archive in named}]
    return [*named, *find_in_zips(rest, kind, strict=not named)]


def find_labels(folder: Path, sequence: str, camera: str) -> Archive | None:
    """What holds a sequence's label file: `labels/`, the folder itself, `labels.zip`, or another zip."""
    name = label_name(sequence, camera)
    bases = [inner for place in places(folder) for inner in (place, place / "labels")]
    trees = [Archive(base) for base in dict.fromkeys(bases) if (base / name).is_file()]
    ours = [path for path in zips(folder) if path.name.lower().startswith("label")]
    packed = find_in_zips(zips(folder), name, strict=False) or ([] if trees else find_in_zips(ours, name))
    return fullest([*trees, *packed], name)


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
