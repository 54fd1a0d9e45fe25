"""What a picture's file says beside its pixels: which way is up; and the file without all of it.

Metadata never costs a picture: Pillow refuses files for a note that is too long or a checksum of a comment.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

_PNG = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 0x0112
_XMP = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])")


class Bare(NamedTuple):
    """A picture's file without what is not needed for its pixels."""

    content: bytes
    orientation: int  # 1 to 8, as EXIF has it; 1 is upright


def without_metadata(content: bytes) -> Bare | None:
    """A PNG or JPEG with nothing but its pixels; None of other kinds. What is broken otherwise stays so."""
    if content.startswith(_PNG):
        return _bare_png(content)
    if content.startswith(b"\xff\xd8"):
        return _bare_jpeg(content)
    return None


def orientation(exif: bytes, xmp: bytes = b"") -> int | None:
    """Which way is up, by EXIF or else by XMP; None where neither says it. Whatever else is in there is not looked at.

    Args:
        exif: a TIFF header and its first directory, with or without "Exif" before it.
    """
    tiff = exif
    while tiff.startswith(b"Exif\0\0"):
        tiff = tiff[6:]
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is not None and len(tiff) >= 8:
        (place,) = struct.unpack_from(order + "I", tiff, 4)
        count = struct.unpack_from(order + "H", tiff, place)[0] if place + 2 <= len(tiff) else 0
        for start in range(place + 2, min(place + 2 + 12 * count, len(tiff) - 11), 12):
            tag, kind = struct.unpack_from(order + "HH", tiff, start)
            value = _small_number(tiff[start + 8 : start + 12], kind, order)
            if tag == _ORIENTATION and value in range(1, 9):
                return value
    found = _XMP.search(xmp)
    return int(found[1]) if found else None


def _small_number(field: bytes, kind: int, order: str) -> int | None:
    """A directory entry's value: a short as it should be, or what programs have written in its place."""
    form = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}.get(kind)
    if form is not None:
        return struct.unpack_from(order + form, field)[0]
    return int(field[:1]) if kind == 2 and field[:1].isdigit() else None


def _bare_png(content: bytes) -> Bare:
    """Chunks are a length, a name, the data and a checksum; those that must be understood begin with a capital."""
    kept, exif, xmp, place = [_PNG], b"", b"", len(_PNG)
    while place + 12 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        chunk = content[place : place + 12 + length]
        if name[:1].isupper() or name == b"tRNS":
            kept.append(chunk)
        elif name == b"eXIf":
            exif = chunk[8:-4]
        elif name == b"iTXt" and chunk[8:].startswith(b"XML:com.adobe.xmp\0"):
            xmp = chunk[8:-4]
        place += len(chunk)
    return Bare(b"".join(kept), orientation(exif, xmp) or 1)


def _bare_jpeg(content: bytes) -> Bare:
    """Segments are a marker, a length and the data, up to the first scan."""
    kept, exif, xmp, place = [content[:2]], b"", b"", 2
    while place + 4 <= len(content) and content[place] == 0xFF and content[place + 1] != 0xDA:
        marker, length = struct.unpack_from(">xBH", content, place)
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        segment = content[place : place + 2 + length]
        data = segment[4:]
        # Of the applications' segments two say how colours are stored: JFIF's and Adobe's.
        says_colours = (marker == 0xE0 and len(data) >= 14) or (marker == 0xEE and len(data) >= 12)
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE) or says_colours:
            kept.append(segment)
        elif data.startswith(b"Exif\0\0"):
            exif = exif or data
        elif data.startswith(b"http://ns.adobe.com/xap/"):
            xmp = xmp or data
        place += len(segment)
    return Bare(b"".join(kept) + content[place:], orientation(exif, xmp) or 1)
