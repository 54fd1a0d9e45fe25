"""Checksums of a folder's files, written when it is saved and checked before anything in it is read; and of one file
of figures, which carries its own (`write_json`).

CRC-32, as in ZIP: it finds every change of one bit and every burst of up to 32, and misses other damage once in 4·10⁹
times. That is enough against disks and copies that fail; against an adversary it is none. It is taken of the files'
bytes: nothing damaged is ever parsed, and it does not matter how many processes or devices wrote or read them.
"""

from __future__ import annotations

import errno
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pmd_jax.runtime.errors import BrokenCheckpoint, CheckpointError
from pmd_jax.runtime.files import read_text
from pmd_jax.runtime.files import write_json as write_plain_json

NAME = "digest.json"
SUM = "crc32"  # the entry that holds the sum of the others
FORMAT = 1
_BUFFER = 1 << 18  # fits a core's cache: the sum is taken while the bytes are near


class Damaged(Exception):
    """Bytes are not those that were saved; the message names the file and what is wrong with it."""


def crc32(file: BinaryIO, size: int | None = None) -> tuple[int, int]:
    """The CRC-32 of a file's next `size` bytes (None: of all to its end), and how many there were."""
    buffer, crc, done = memoryview(bytearray(_BUFFER)), 0, 0
    while count := file.readinto(buffer[: _BUFFER if size is None else min(_BUFFER, size - done)]):  # pyright: ignore[reportAttributeAccessIssue]
        crc = zlib.crc32(buffer[:count], crc)
        done += count
    return crc, done


def write(folder: Path, names: Iterable[str]) -> None:
    """Writes the sums of the files in `folder` that are, or lie below, one of `names`; a name may be absent.

    Raises:
        OSError: a file cannot be read, or the sums cannot be written.
    """
    parts = [folder / name for name in names]
    files = sorted(path for part in parts for path in (part, *part.rglob("*")) if path.is_file())
    sums = {path.relative_to(folder).as_posix(): _sum(path) for path in files}
    write_plain_json(folder / NAME, {"format": FORMAT, "files": sums, SUM: _sum_of_sums(sums)})


def check(folder: Path) -> bool:
    """Compares the files with their sums; False where there are none, as earlier versions left it.

    Raises:
        Damaged: a file, or the sums themselves, are not what was saved.
        OSError: a file cannot be read.
    """
    try:
        text = read_text(folder / NAME)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except UnicodeDecodeError as error:
        raise Damaged(f"{NAME} is no text") from error
    for name, expected in _parse(text).items():
        try:
            found = _sum(folder / name)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise Damaged(f"{name} is missing") from error
        if found != expected:
            raise Damaged(f"{name} is not what was saved: CRC-32 and size are {found}, and were {expected}")
    return True


def require_whole(folder: Path) -> bool:
    """Compares a folder's files with the checksums that were written with them; whether there are any.

    Raises:
        BrokenCheckpoint: they differ.
        CheckpointError: a file cannot be read.
    """
    try:
        return check(folder)
    except Damaged as error:
        raise BrokenCheckpoint(folder, error) from error
    except OSError as error:
        if error.errno == errno.EIO:  # the disk itself says that it has lost the bytes
            raise BrokenCheckpoint(folder, error) from error
        raise CheckpointError(f"{folder} cannot be read ({error}); ask its owner for the right to read it.") from error


def _parse(text: str) -> Mapping[str, str]:
    """The sums of a file's text, if it is whole."""
    try:
        tree = json.loads(text)
        files = tree["files"]
        whole = tree["format"] == FORMAT and tree[SUM] == _sum_of_sums(files)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{NAME} is not what was saved ({type(error).__name__}: {error})") from error
    if not whole:
        raise Damaged(f"{NAME} is not what was saved")
    return files


# ---- one file of figures


def write_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Whole or not at all, with the sum of its content as one more entry, "crc32".

    Raises:
        OSError: it cannot be written.
    """
    write_plain_json(path, {**tree, SUM: _sum_of(tree)})


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote, without the sum. A file that has none, as earlier versions left it, is read as it is.

    Raises:
        Damaged: it is no JSON object, or not what was saved.
        OSError: it cannot be read.
    """
    try:
        tree = json.loads(read_text(path))
    except ValueError as error:  # not UTF-8, too
        raise Damaged(f"{path} is not JSON ({error})") from error
    if not isinstance(tree, dict):
        raise Damaged(f"{path} is no JSON object")
    said = tree.pop(SUM, None)
    if said is not None and said != _sum_of(tree):
        raise Damaged(f"{path} is not what was saved: the CRC-32 of its content is {_sum_of(tree)}, and was {said}")
    return tree


def _sum_of(tree: Mapping[str, Any]) -> str:
    """Of the values, not of how they are laid out: JSON gives each number back as it was."""
    content = json.loads(json.dumps(tree))  # keys as they will be read
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def _sum(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        crc, size = crc32(file)
    return f"{crc:08x} {size}"


def _sum_of_sums(files: Mapping[str, str]) -> str:
    return f"{zlib.crc32(json.dumps(sorted(files.items())).encode()):08x}"
