"""Folders of any name, for libraries that take some characters of a path for more than a name.

Orbax takes `[`, `*`, `?` and `\\` for a pattern (etils' glob) and `gs:/` for a bucket, and cannot take bytes that are
not UTF-8. It may then write a checkpoint that ends well and can never be read again.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PLAIN = re.compile(r"[\w +,.=@~-]*", re.ASCII)
_FIRST_NUMBER = 500  # more files than we have open, fewer than a process may have (1,024)


@contextmanager
def plain_path(folder: Path, create: bool = False) -> Iterator[str]:
    """A path of plain characters to `folder`, good in this process and in this block; mostly its own.

    Args:
        folder: absolute.
        create: make the last folder of another kind of name, and those above, if they are not there.

    Raises:
        OSError: that folder is not there or cannot be made.
    """
    others = [place for place in (folder, *folder.parents) if not _PLAIN.fullmatch(place.name)]
    if not others:
        yield str(folder)
        return
    last = others[0]
    if create:
        last.mkdir(parents=True, exist_ok=True)
    opened = os.open(last, os.O_PATH | os.O_DIRECTORY)
    try:
        # Orbax wants the same path on all processes, whose open files otherwise differ in number.
        number = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, _FIRST_NUMBER)
    finally:
        os.close(opened)
    try:
        yield str(Path(f"/proc/self/fd/{number}") / folder.relative_to(last))
    finally:
        os.close(number)
