"""Files of a raw data set, read from the zip it was downloaded as or from the folder it was unpacked into.

Nothing is unpacked, and nothing in an archive is trusted: sizes are bounded before anything is read, and whatever is
missing or broken becomes an `ArchiveError` that names the file.
"""

from __future__ import annotations

import functools
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pmd_jax.errors import InputError

T = TypeVar("T")
PICTURE_LIMIT_BYTES = 16 << 20  # the largest real one, an uncompressed 640 × 480 picture, is under 1 MB


class ArchiveError(InputError):
    """What is wrong with raw data, said to the person who has to put it right."""


def option(name: str, value: object = None) -> str:
    """How to give an option of `prepare.prepare` on the command line, and in a run, which prepares what it needs."""
    if value is None:
        return f"--{name} (in a run --config.data.{name}=true)"
    return f"--{name}={value} (in a run --config.data.{name}={value})"


def attempt_all(attempts: Iterable[Callable[[], T]]) -> list[T]:
    """The result of every attempt; what goes wrong in several is said at once.

    Raises:
        ArchiveError: any attempt raised one.
    """
    results, faults = [], []
    for attempt in attempts:
        try:
            results.append(attempt())
        except ArchiveError as error:
            faults.append(str(error))
    if faults:
        raise ArchiveError("\n".join(faults))
    return results


@dataclass(frozen=True)
class Archive:
    """A zip, or a folder, and the folder inside it where the files of interest begin.

    Small and picklable: a worker process that receives one opens its own file handle on first use.
    """

    path: Path
    prefix: str = ""  # "" or "some/folder/"

    def where(self, name: str) -> str:
        """How errors and summaries name a member."""
        return f"{self.path}/{self.prefix}{name}"

    def names(self) -> set[str]:
        """The members below `prefix`, relative to it.

        Raises:
            ArchiveError: the zip cannot be opened.
        """
        if self.path.is_dir():
            base = self.path / self.prefix
            return {p.relative_to(base).as_posix() for p in base.rglob("*") if p.is_file()}
        members = _open_zip(self.path).namelist()
        return {m[len(self.prefix) :] for m in members if m.startswith(self.prefix) and not m.endswith("/")}

    def read(self, name: str, limit_bytes: int = PICTURE_LIMIT_BYTES) -> bytes:
        """One member's bytes.

        Raises:
            ArchiveError: the member is missing, damaged, or larger than `limit_bytes`.
        """
        try:
            if self.path.is_dir():
                file = self.path / self.prefix / name
                size, load = file.stat().st_size, file.read_bytes
            else:
                archive = _open_zip(self.path)
                info = archive.getinfo(self.prefix + name)
                size, load = info.file_size, functools.partial(archive.read, info)
            if size > limit_bytes:
                raise ArchiveError(f"{self.where(name)}: {size:,} bytes, more than the {limit_bytes:,} it may have.")
            return load()
        except (KeyError, FileNotFoundError):
            raise ArchiveError(f"{self.where(name)}: missing.") from None
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise ArchiveError(f"{self.where(name)}: cannot be read ({error}).") from None


@functools.lru_cache(maxsize=32)
def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        size = f"{path.stat().st_size:,} bytes long" if path.is_file() else "not a file"
        raise ArchiveError(
            f"{path}: not a whole zip ({error}; it is {size}). The download probably broke off: fetch it again."
        ) from None


def find_archive(folder: Path, marker: str) -> Archive | None:
    """The place in or under `folder` that holds a file like `marker`, unpacked or in a zip; None if there is none.

    Looks in the folder, one level below it, then inside its zips, so that an archive may lie there as downloaded, or
    unpacked with or without its top folder.

    Args:
        marker: a path such as "training/labels.pickle"; may have wildcards.
    """
    for place in (folder, *sorted(p for p in folder.glob("*") if p.is_dir())):
        if any(place.glob(marker)):
            return Archive(place)
    for path in sorted(folder.glob("*.zip")):
        if (archive := find_in_zip(path, marker)) is not None:
            return archive
    return None


def find_in_zip(path: Path, marker: str) -> Archive | None:
    """The folder inside a zip that holds a file like `marker`; None if there is none."""
    depth = len(PurePosixPath(marker).parts)
    tops = {PurePosixPath(m).parts[:-depth] for m in Archive(path).names() if PurePosixPath(m).match(marker)}
    if not tops:
        return None
    nearest = min(tops, key=lambda top: (len(top), top))
    return Archive(path, "".join(f"{part}/" for part in nearest))


def decode_png(data: bytes, where: str, *, width: int, height: int, channels: int) -> UInt8[np.ndarray, "h w *c"]:
    """An 8-bit PNG as an array: (height, width, 3) for colour, (height, width) for one channel.

    The size is compared with what it must be before a pixel is decoded.

    Raises:
        ArchiveError: not a PNG, damaged, or of another size or kind.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            size, mode = image.size, image.mode
            fits = size == (width, height) and mode in (("RGB", "RGBA") if channels == 3 else ("L", "P"))
            pixels = np.asarray(image) if fits else None
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        zlib.error,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        raise ArchiveError(f"{where}: not a whole PNG ({error}).") from None
    if pixels is None:
        raise ArchiveError(
            f"{where}: a picture of {size[0]} × {size[1]} in mode {mode}; {width} × {height} with {channels} "
            "channel(s) of 8 bits belongs here."
        )
    return pixels[..., :3] if channels == 3 else pixels
