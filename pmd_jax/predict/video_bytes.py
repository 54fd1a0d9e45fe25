"""Does a film's file reach as far as its own headers say? Read from its outermost structure; nothing is decoded.

A count of pictures or a length cannot tell: edit lists, dropped pictures and longer sound make good films differ from
both.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

_MP4_BOXES = [b"ftyp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"sidx", b"styp", b"uuid"]
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def is_cut(path: Path) -> bool:
    """Whether an MP4, AVI or Matroska file ends before its pictures' part does; False of other kinds, which do not say.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(12)
        file.seek(0)
        if head[4:8] in _MP4_BOXES:
            return _mp4_end(file, length) > length
        if head[:4] == b"RIFF" and head[8:] == b"AVI ":
            return _avi_end(file, length) > length
        return head[:4] == _EBML and _matroska_end(file) > length


def _mp4_end(file: BinaryIO, length: int) -> int:
    """Where the last box that is known ends; what cameras append behind is not looked at."""
    place = 0
    while place < length:
        file.seek(place)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if head[4:8] not in _MP4_BOXES or size == 0:  # 0: to the file's end
            break
        place += max(8, int.from_bytes(head[8:], "big") if size == 1 else size)
    return place


def _avi_end(file: BinaryIO, length: int) -> int:
    """Where the last list of pictures ends: a long film has several RIFF chunks with one each."""
    place, end = 0, 0
    while place + 12 <= length:
        file.seek(place)
        head = file.read(12)
        size = int.from_bytes(head[4:8], "little")
        if head[:4] == b"RIFF":
            place += 12  # the chunks in it come next
            continue
        if head[:4] == b"LIST" and head[8:] == b"movi":
            end = place + 8 + size
            if size in (0, 0xFFFFFFFF):  # its writer did not come to fill it in
                return 0
        place += 8 + size + size % 2
    return end


def _matroska_end(file: BinaryIO) -> int:
    """Where the segment ends; 0 where it does not say."""
    file.seek(len(_EBML))
    header = _ebml_size(file)
    file.seek(header or 0, os.SEEK_CUR)
    if header is None or file.read(len(_SEGMENT)) != _SEGMENT:
        return 0
    size = _ebml_size(file)
    return 0 if size is None else file.tell() + size


def _ebml_size(file: BinaryIO) -> int | None:
    """A length in 1 to 8 bytes: the leading zero bits tell how many. None: not known, which is all ones."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(first + file.read(more), "big")
    unknown = (1 << 7 * (more + 1)) - 1
    return None if value & unknown == unknown else value & unknown
