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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from pmd_jax.runtime.errors import ArchiveError

T = TypeVar("T")
_PNG_BITS = 24  # where a PNG's header says the bits of a channel, and after it what the channels are
_PNG_KINDS = {0: "grey", 2: "colour", 3: "palette", 4: "grey with alpha", 6: "colour with alpha"}
PICTURE_LIMIT_BYTES = 16 << 20  # the largest real one, an uncompressed 640 × 480 picture, is under 1 MB


def option(name: str, value: object = None) -> str:
    """How to give an option of `prepare` on the command line, and in a run, which prepares what it needs."""
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
    further: tuple[Archive, ...] = ()  # other parts of the same, looked into for what is not here

    def where(self, name: str) -> str:
        """How errors and summaries name a member."""
        return f"{self.path}/{self.prefix}{name}"

    def names(self) -> set[str]:
        """The members below `prefix`, relative to it.

        Raises:
            ArchiveError: the zip cannot be opened.
        """
        return set(self.sizes())

    def sizes(self) -> dict[str, int]:
        """The bytes of each member below `prefix`.

        Raises:
            ArchiveError: the zip cannot be opened.
        """
        own: dict[str, int] = {}
        if self.path.is_dir():
            base = self.path / self.prefix
            own = {p.relative_to(base).as_posix(): p.stat().st_size for p in base.rglob("*") if p.is_file()}
        else:
            members, skipped = open_zip(self.path)[1], len(self.prefix)
            own = {name[skipped:]: i.file_size for name, i in members.items() if name.startswith(self.prefix)}
        return {name: size for part in self.further for name, size in part.sizes().items()} | own

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
                opened, members = open_zip(self.path)
                info = members[self.prefix + name]
                size, load = info.file_size, functools.partial(opened.read, info)
            if size > limit_bytes:
                raise ArchiveError(f"{self.where(name)}: {size:,} bytes, more than the {limit_bytes:,} it may have.")
            return load()
        except (KeyError, FileNotFoundError):
            if self.further:
                return replace(self.further[0], further=self.further[1:]).read(name, limit_bytes)
            raise ArchiveError(f"{self.where(name)}: missing.") from None
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise ArchiveError(f"{self.where(name)}: cannot be read ({error}).") from None


@functools.lru_cache(maxsize=32)
def open_zip(path: Path) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """A zip and its files by their names, with slashes whatever its writer took for one."""
    try:
        opened = zipfile.ZipFile(path)
    except PermissionError:
        raise ArchiveError(f"{path}: may not be read by you: change its permissions.") from None
    except (OSError, zipfile.BadZipFile) as error:
        size = f"{path.stat().st_size:,} bytes long" if path.is_file() else "not a file"
        raise ArchiveError(
            f"{path}: not a whole zip ({error}; it is {size}). The download probably broke off: fetch it again."
        ) from None
    members = {info.filename.replace("\\", "/"): info for info in opened.infolist()}
    return opened, {name: info for name, info in members.items() if not name.endswith("/")}


def decode_colour(data: bytes, where: str, *, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """A JPEG or an 8-bit PNG in colour, as its pixels lie in the file: a note to turn it would not hold for its depth.

    Raises:
        ArchiveError: neither, damaged, or of another size or kind.
    """
    if data[:4] == b"\x89PNG":
        return decode_png(data, where, width=width, height=height, channels=3)
    with _opened(data, "JPEG", where) as image:
        if (image.size, image.mode) != ((width, height), "RGB"):
            raise ArchiveError(
                f"{where}: a picture of {image.size[0]} × {image.size[1]}, {image.mode}; {width} × {height}, RGB, "
                "belongs here."
            )
        return np.asarray(image)


def decode_png(
    data: bytes, where: str, *, width: int, height: int, channels: int, bits: int = 8
) -> UInt8[np.ndarray, "h w *c"] | UInt16[np.ndarray, "h w"]:
    """A PNG as an array: (height, width, 3) for colour, (height, width) for one channel of grey, of 8 or 16 `bits`.

    Size and kind are compared with what they must be before a pixel is decoded: a palette's numbers, and shades of less
    or more bits, would be decoded to other values than were written.

    Raises:
        ArchiveError: not a PNG, damaged, or of another size or kind.
    """
    wanted = ((8, 2), (8, 6)) if channels == 3 else ((bits, 0),)
    with _opened(data, "PNG", where) as image:
        size, kind = image.size, (data[_PNG_BITS], data[_PNG_BITS + 1])
        if size != (width, height) or kind not in wanted:
            raise ArchiveError(
                f"{where}: a picture of {size[0]} × {size[1]}, {_PNG_KINDS.get(kind[1], 'unknown')} of {kind[0]} bits; "
                f"{width} × {height}, {_PNG_KINDS[wanted[0][1]]} of {bits} bits, belongs here."
            )
        pixels = np.asarray(image)
    return pixels[..., :3] if channels == 3 else pixels


@contextmanager
def _opened(data: bytes, form: str, where: str) -> Iterator[Image.Image]:
    """Pillow's image; what goes wrong with it in the block is said of the file."""
    try:
        with Image.open(io.BytesIO(data), formats=[form]) as image:
            yield image
    except ArchiveError:
        raise
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        zlib.error,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        raise ArchiveError(f"{where}: not a whole {form} ({error}).") from None
