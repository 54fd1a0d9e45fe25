"""A prepared split as one file a column, beside its records: written once, mapped by every process of a host.

Decoding a split takes a quarter of a millisecond a sample, and all of it in memory, in every process. These files are
mapped instead: nothing is copied, and the operating system keeps what is used for all processes.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Int64

from pmd_jax.data.depth_origin import in_chunks, is_measured, map_origin_m
from pmd_jax.data.records import PREPARED_KEYS, read_records
from pmd_jax.runtime.files import locked, read_text, replacing_folder, write_json

FORMAT = 1
DESCRIPTION = "columns.json"
PIXELS = ("rgb", "depth")  # the large columns, of which a file's mapping is all that is kept
FACTS = ("is_measured", "map_origin_m")  # what takes a look at every pixel of depth, so it is done once
_RELEASE_BYTES = 1 << 29
_SAMPLES, _SAMPLE_BYTES = 64, 4096  # of a large column
_DESCRIPTIONS = ("dataset_info.json", "features.json", "summary.json")  # TFDS's and ours


class Column:
    """Rows of a column whose bytes stay where they are: in a file that is mapped, or in memory.

    An index in place of a copy: taking a part of a split costs eight bytes a sample. Indexing gives arrays.
    """

    def __init__(self, array: np.ndarray, rows: Int64[np.ndarray, " n"] | None = None, file: mmap.mmap | None = None):
        self._array, self._file = array, file
        self._rows = np.arange(len(array)) if rows is None else rows
        self.shape, self.dtype = (len(self._rows), *array.shape[1:]), array.dtype
        self._touched = 0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """Of the rows, wherever they lie."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, index: Any) -> np.ndarray:
        values = self._array[self._rows[index]]
        self._touched += values.nbytes
        if self._file is not None and self._touched > _RELEASE_BYTES:
            # The pages stay in the operating system's cache, but count no more as this process's memory.
            self._file.madvise(mmap.MADV_DONTNEED)
            self._touched = 0
        return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy  # always
        values = self[:]
        return values if dtype is None else values.astype(dtype)

    def take(self, index: Int64[np.ndarray, " m"]) -> Column:
        """Some of these rows."""
        return Column(self._array, self._rows[index], self._file)


def folder_of(prepared: Path, split: str) -> Path:
    """Where a split's column files lie."""
    return prepared / f"columns_{split}"


def ensure(prepared: Path, split: str) -> None:
    """Writes the column files of a split, unless they are there and are those of its records.

    Where they cannot be written (a folder that can only be read, a full disk), nothing is left and a sentence is said:
    the records are decoded into memory then.

    Raises:
        DataError: the records cannot be read.
    """
    if open_columns(prepared, split) is not None:
        return
    try:
        with locked(prepared / f".columns_{split}.lock", f"the column files of {prepared.name}/{split}"):
            if open_columns(prepared, split) is None:
                _write(prepared, split)
    except OSError as error:
        print(
            f"No column files for {prepared}, split {split!r} ({error}): every process decodes it into memory.",
            file=sys.stderr,
        )


def _write(prepared: Path, split: str) -> None:
    records = read_records(prepared, split)
    with replacing_folder(folder_of(prepared, split)) as unfinished:
        keys: list[bytes] = []
        with ExitStack() as open_files:
            files: dict[str, BinaryIO] = {}
            for example in records.examples:
                keys.append(example["key"].encode())
                for name in (name for name in PREPARED_KEYS if name != "key" and name in example):
                    value = np.asarray(example[name])
                    if name not in files:
                        files[name] = open_files.enter_context((unfinished / f"{name}.npy").open("wb", 1 << 20))
                        begin(files[name], value, records.count)
                    # Not through a mapping: on a full disk that would end the process, and this is an error.
                    files[name].write(value.tobytes())
        np.save(unfinished / "key.npy", np.array(keys))
        if (unfinished / "depth.npy").is_file():
            depth = _mapped(unfinished / "depth.npy")
            np.save(unfinished / "is_measured.npy", in_chunks(is_measured, depth))
            np.save(unfinished / "map_origin_m.npy", in_chunks(map_origin_m, depth))
        describe(prepared, unfinished, len(keys))


def describe(prepared: Path, folder: Path, count: int) -> None:
    """Writes what the column files in `folder` are, which makes them whole: last, when all are written."""
    files = sorted(folder.glob("*.npy"))
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())  # before the description vouches for them
    described = {"format": FORMAT, "count": count, "records": _records(prepared)}
    write_json(folder / DESCRIPTION, {**described, "files": {path.stem: _sum(path) for path in files}})


def begin(file: BinaryIO, example: np.ndarray, count: int) -> None:
    """The header of an .npy file of `count` such arrays."""
    described = {"descr": example.dtype.str, "fortran_order": False, "shape": (count, *example.shape)}
    np.lib.format.write_array_header_1_0(file, described)


def open_columns(prepared: Path, split: str) -> dict[str, Any] | None:
    """A split's columns: the large ones mapped (`Column`), the others in memory; None where they are not to be had.

    Not to be had are files that are missing, of another version, of other records, or not whole: by the hashes of the
    small ones, and by the sizes and some bytes of the large ones.
    """
    folder = folder_of(prepared, split)
    try:
        described = json.loads(read_text(folder / DESCRIPTION))
        if described["format"] != FORMAT or described["records"] != _records(prepared):
            return None
        columns: dict[str, Any] = {}
        for name, expected in described["files"].items():
            path = folder / f"{name}.npy"
            if _sum(path) != expected:
                return None
            columns[name] = _mapped(path) if name in PIXELS else np.load(path, allow_pickle=False)
        if any(len(column) != described["count"] for column in columns.values()):
            return None
        if not {*PREPARED_KEYS, *FACTS} <= set(columns):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    columns["key"] = np.array([key.decode() for key in columns["key"].tolist()], object)
    return columns


def _mapped(path: Path) -> Column:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        start = file.tell()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapped.madvise(mmap.MADV_RANDOM)  # samples are read in random order: what lies behind them is not wanted
    array = np.frombuffer(mapped, dtype, offset=start).reshape(shape)
    return Column(array, file=mapped)


def _records(prepared: Path) -> str:
    """Names the records that a split was decoded from: their description, their files' sizes and when these changed."""
    digest = hashlib.blake2b(digest_size=8)
    for name in _DESCRIPTIONS:
        if (prepared / name).is_file():
            digest.update(f"{name}\n".encode() + (prepared / name).read_bytes())
    for path in sorted(prepared.glob("*.array_record*")):
        # Not by their bytes, which to read takes as long as decoding: records that are replaced come with another time.
        digest.update(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _sum(path: Path) -> str:
    """A file's size and a hash: of all its bytes, or, of a large column's, of some that are spread evenly over it."""
    size = path.stat().st_size
    digest = hashlib.blake2b(f"{size}\n".encode(), digest_size=8)
    with path.open("rb") as file:
        if path.stem not in PIXELS:
            digest.update(file.read())
        for part in range(_SAMPLES if path.stem in PIXELS else 0):
            file.seek(part * size // _SAMPLES)
            digest.update(file.read(_SAMPLE_BYTES))
    return f"{digest.hexdigest()} {size}"
