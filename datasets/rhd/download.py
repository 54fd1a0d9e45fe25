"""Fetches RHD's archive, only when the user asks for it; a broken download goes on where it stopped."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from pmd_jax.runtime.errors import ArchiveError

ARCHIVE_NAME = "RHD_v1-1.zip"
URL = f"https://lmb.informatik.uni-freiburg.de/data/RenderedHandpose/{ARCHIVE_NAME}"
ARCHIVE_BYTES = 7_080_690_299  # there is no published checksum; each file in the zip has its own
_CHUNK_BYTES = 1 << 20


def download(folder: Path, url: str = URL, size_bytes: int = ARCHIVE_BYTES) -> Path:
    """The archive in `folder`, fetched unless it is there; `.part` until it is whole.

    Raises:
        ArchiveError: the server cannot be reached or breaks off (the same command goes on later), or the file it has is
            not the one we know.
    """
    target, part = folder / ARCHIVE_NAME, folder / f"{ARCHIVE_NAME}.part"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.exists() else 0
    if have == size_bytes:  # whole, and killed before it had its name; the server has nothing to go on with
        return part.rename(target)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            have = have if response.status == 206 else 0  # 200: the server begins anew
            total = have + int(response.headers.get("Content-Length", size_bytes - have))
            if total != size_bytes:
                raise ArchiveError(
                    f"{url} has {total:,} bytes in place of {size_bytes:,}: it is another file than ours."
                )
            with part.open("ab" if have else "wb") as file, _bar(size_bytes, have) as progress:
                while chunk := response.read(_CHUNK_BYTES):
                    file.write(chunk)
                    progress.update(len(chunk))
    except (urllib.error.URLError, OSError) as error:
        raise ArchiveError(
            f"The download of {url} to {part} broke off ({error}). The same command goes on where it stopped."
        ) from None
    if part.stat().st_size != size_bytes:
        raise ArchiveError(
            f"The download of {url} ended after {part.stat().st_size:,} of {size_bytes:,} bytes. "
            "The same command goes on where it stopped."
        )
    return part.rename(target)


def _bar(total: int, initial: int) -> tqdm:
    return tqdm(total=total, initial=initial, desc=ARCHIVE_NAME, unit="B", unit_scale=True, dynamic_ncols=True)
