"""Where an archive lies in a folder: zipped or unpacked, in the shapes that downloads and unzips leave."""

from __future__ import annotations

import fnmatch
import functools
import os
import posixpath
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pmd_jax.prepare.archive import Archive, open_zip
from pmd_jax.runtime.errors import ArchiveError


def find_archive(folder: Path, marker: str) -> Archive | None:
    """The place in or under `folder` that holds a file like `marker`, unpacked or in a zip; None if there is none.

    An archive may lie there as downloaded, or unpacked with or without its top folder, which may lie in another. Of
    several the fullest counts, so that an unzip that broke off does not hide its zip.

    Args:
        marker: a path such as "training/labels.pickle"; may have wildcards.

    Raises:
        ArchiveError: there is none, but a zip that cannot be opened.
    """
    found = [Archive(place) for place in places(folder) if any(place.glob(marker))]
    return fullest([*found, *find_in_zips(zips(folder), marker)], "*")


def places(folder: Path) -> list[Path]:
    """A folder, those in it, and those in these.

    Raises:
        ArchiveError: a folder may not be read.
    """
    below = _entries(folder).folders
    return [folder, *below, *(inner for outer in below for inner in _entries(outer).folders)]


def zips(folder: Path) -> list[Path]:
    """The zips in the `places` of a folder, but for what macOS writes beside each (`._name.zip`)."""
    return [path for place in places(folder) for path in _entries(place).zips]


class _Entries(NamedTuple):
    folders: list[Path]
    zips: list[Path]


def _entries(folder: Path) -> _Entries:
    try:
        return _listed(folder, folder.stat().st_mtime_ns)
    except (FileNotFoundError, NotADirectoryError):
        return _Entries([], [])
    except PermissionError:
        raise ArchiveError(f"{folder}: may not be read by you: change its permissions.") from None


@functools.lru_cache(maxsize=256)
def _listed(folder: Path, changed: int) -> _Entries:
    """A sequence's folder has 6,000 pictures, and is asked about for each of twelve sequences."""
    del changed  # tells one state of the folder from another
    with os.scandir(folder) as entries:
        seen = sorted((entry.name, entry.is_dir()) for entry in entries if entry.name[0] != ".")
    return _Entries(
        [folder / name for name, is_dir in seen if is_dir and name != "__MACOSX"],
        [folder / name for name, is_dir in seen if not is_dir and name.lower().endswith(".zip")],
    )


def find_in_zips(paths: Iterable[Path], marker: str, *, strict: bool = True) -> list[Archive]:
    """The place in each zip that holds a file like `marker`.

    Raises:
        ArchiveError: no zip has such a file, and some cannot be opened (`strict`; else these do not count).
    """
    found, faults = [], []
    for path in paths:
        try:
            found.append(find_in_zip(path, marker))
        except ArchiveError as error:
            faults.append(str(error))
    found = [archive for archive in found if archive is not None]
    if faults and not found and strict:
        raise ArchiveError("\n".join(faults))
    return found


def broken_zips(folder: Path) -> list[str]:
    """A sentence for each zip in the `places` of a folder that cannot be opened."""
    faults = []
    for path in zips(folder):
        try:
            open_zip(path)
        except ArchiveError as error:
            faults.append(str(error))
    return faults


def find_in_zip(path: Path, marker: str) -> Archive | None:
    """The folder inside a zip that holds a file like `marker`, the nearest to the top; None if there is none."""
    *above, name = PurePosixPath(marker).parts
    tops = []
    for folder, names in _folders(path).items():
        parts = PurePosixPath(folder).parts
        inner = parts[len(parts) - len(above) :]
        fits = len(inner) == len(above) and all(map(fnmatch.fnmatchcase, inner, above))
        if fits and any(fnmatch.fnmatchcase(one, name) for one in names):
            tops.append(parts[: len(parts) - len(above)])
    if not tops:
        return None
    return Archive(path, "".join(f"{part}/" for part in min(tops, key=lambda top: (len(top), top))))


@functools.lru_cache(maxsize=32)
def _folders(path: Path) -> dict[str, list[str]]:
    """A zip's files by the folder that they lie in."""
    folders: dict[str, list[str]] = {}
    for member in open_zip(path)[1]:
        folder, name = posixpath.split(member)
        folders.setdefault(folder, []).append(name)
    return folders


def fullest(archives: Sequence[Archive], pattern: str) -> Archive | None:
    """The archive with the most files of a name like `pattern`, then the most bytes in them; of equals the first."""
    if len(archives) < 2:
        return archives[0] if archives else None

    def weight(archive: Archive) -> tuple[int, int]:
        sizes = [
            size for name, size in archive.sizes().items() if fnmatch.fnmatchcase(posixpath.basename(name), pattern)
        ]
        return len(sizes), sum(sizes)

    return max(archives, key=weight)
