"""Files: written whole or not at all, always as UTF-8, and one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import io
import itertools
import json
import os
import shutil
import socket
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np

from pmd_jax.runtime.errors import InputError

_SAY_EVERY_S = 60

Found = TypeVar("Found")


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


def unfinished_name(folder: Path) -> Path:
    """Where a folder is filled before it takes its place: the same for all processes that write to it."""
    return folder.with_name(f"{folder.name}.unfinished")


@contextmanager
def replacing_folder(folder: Path, last: str | None = None) -> Iterator[Path]:
    """An empty folder beside `folder` to fill (`unfinished_name`); what the block leaves in it takes the place of
    `folder`, or of the entries of the same names. What was there goes when the new one is in its place.

    If the block or the disk fails, `folder` is as it was and nothing is left beside it. Two writers need a lock.

    Args:
        last: None: `folder` is replaced whole. A name: each entry replaces that of its name in `folder`, and others
            stay; the entry of this name vouches for the rest, so the old one goes before they change and the new one
            comes after them.
    """
    unfinished = unfinished_name(folder)
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        if last is None:
            _put(unfinished, folder)
            return
        folder.mkdir(exist_ok=True)
        if (unfinished / last).exists():
            (folder / last).unlink(missing_ok=True)
        for path in sorted(unfinished.iterdir(), key=lambda path: path.name == last):
            _put(path, folder / path.name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _put(new: Path, place: Path) -> None:
    """Moves a file or a folder to its place. A folder that is there makes room for it and comes back if it fails."""
    old = place.with_name(f"{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)  # a killed process left it
    moved = place.is_dir()
    if moved:
        os.replace(place, old)
    try:
        os.replace(new, place)
    except BaseException:
        if moved:
            os.replace(old, place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def given_path(text: str | Path) -> Path:
    """A path as somebody wrote it, with ~ as their home: a shell leaves it alone behind "=" and in quotes."""
    return Path(os.path.expanduser(text))


def write_bytes(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Whole or not at all; UTF-8 and plain line ends whatever the locale.

    A byte of a file's name that is no UTF-8 becomes an escape, which JSON reads back.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


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
def locked(path: Path, what: str = "", meanwhile: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """One process at a time, on all machines that share the disk; the next one waits, and says for whom.

    The kernel ends the lock with its holder, whatever becomes of it. The file stays, and says who has it.

    Args:
        path: of the lock; a file of its own.
        what: is locked, in words; "" = a matter of moments, of which nothing is said.
        meanwhile: called again and again while it waits; what it raises ends the waiting.

    Yields:
        Whether it is certain that nobody else is inside: not on a disk that knows no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        alone = _wait_for_lock(file, what, meanwhile)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        try:
            yield alone
        finally:
            file.truncate(0)


def _wait_for_lock(file: TextIO, what: str, meanwhile: Callable[[], None]) -> bool:
    """Returns what `locked` yields."""
    if not what:
        return _lock(file, 0) is True
    said = -_SAY_EVERY_S
    while (got := _lock(file, fcntl.LOCK_NB)) is False:
        if time.monotonic() - said > _SAY_EVERY_S:
            said = time.monotonic()
            file.seek(0)
            print(f"Waiting for {what}: {file.read() or 'another process'} has it.", file=sys.stderr, flush=True)
        meanwhile()
        time.sleep(0.2)
    return got is True


def _lock(file: TextIO, flags: int) -> bool | None:
    """Whether it was free; None where there are no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | flags)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        print(f"This disk knows no locks ({file.name}): start nothing twice.", file=sys.stderr, flush=True)
        return None
    return True


def wait_for_file(look: Callable[[], Found | None], seconds: float = 60) -> Found | None:
    """What `look` finds, once it does: a network disk may show a new file to other machines some time later."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


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
