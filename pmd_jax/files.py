"""Files: written whole or not at all, always as UTF-8, and one writer at a time."""

from __future__ import annotations

import fcntl
import io
import itertools
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pmd_jax.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; what the block leaves there takes the place of `path`, on disk before it does.

    If the block or the disk fails, `path` is as it was and nothing is left beside it. Two writers of one path need a
    lock (`locked`): the name is the same for both, so that what a killed process left is overwritten.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.partial")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Whole or not at all; UTF-8 and plain line ends whatever the locale."""
    write_bytes(path, text.encode())


def write_json(path: Path, tree: Any) -> None:
    """Whole or not at all."""
    write_text(path, json.dumps(tree, indent=2, ensure_ascii=False) + "\n")


def read_text(path: Path) -> str:
    """UTF-8 whatever the locale.

    Raises:
        OSError, UnicodeDecodeError: it is not there, or not text.
    """
    return path.read_text(encoding="utf-8")


def free_name(path: Path) -> Path:
    """`path`, or the first of path-2, path-3 … that is not taken."""
    names = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(name for name in itertools.chain([path], names) if not name.exists())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_arrays(path: Path, remedy: str = "run again what wrote it") -> dict[str, np.ndarray]:
    """The arrays of an .npz file. Each member's checksum is compared before anything is made of its bytes.

    Raises:
        InputError: it is missing or broken; the message names `remedy`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # np.load would parse an array's header first.
            members = {name.removesuffix(".npy"): io.BytesIO(archive.read(name)) for name in archive.namelist()}
        if len(members) != int.from_bytes(path.read_bytes()[-12:-10], "little"):  # zipfile itself does not count
            raise ValueError("an array is missing")
        return {name: np.lib.format.read_array(member, allow_pickle=False) for name, member in members.items()}
    except Exception as error:  # zipfile, zlib and NumPy each have their own; all mean the same to the user
        raise InputError(f"{path} cannot be read ({type(error).__name__}: {error}); {remedy}.") from error
