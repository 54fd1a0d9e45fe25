"""Small films for tests, and the parts of their files that PyAV does not write."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

TICK = Fraction(1, 1000)


def write_film(
    path: Path,
    times: Sequence[float],
    rgb: np.ndarray | None = None,
    codec: str = "libx264",
    sound_s: float = 0.0,
    **options,
) -> Path:
    """A film whose pictures are shown at `times` (s), all `rgb` or, one by one, a little lighter."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = (48, 64) if rgb is None else rgb.shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if codec == "libx264":
            stream.codec_context.time_base, stream.options = TICK, {"g": "1"}
        sound = container.add_stream("aac", rate=8000, layout="mono") if sound_s else None
        tick = stream.codec_context.time_base or Fraction(1, 10)
        for number, time_s in enumerate(times):
            shown = np.full((48, 64, 3), 20 + 8 * number, np.uint8) if rgb is None else rgb
            picture = av.VideoFrame.from_ndarray(shown, format="rgb24")
            picture.pts, picture.time_base = round(time_s / tick), tick
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, int(8000 * sound_s)), np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts = 8000, 0
            container.mux(sound.encode(silence))
            container.mux(sound.encode())
    return path


def set_display_matrix(path: Path, matrix: Sequence[int]) -> None:
    """Gives an MP4's first track another 2 × 2 matrix: where (1, 0) and (0, 1) of the stored picture go."""
    content = bytearray(path.read_bytes())
    uu, uv, vu, vv = (value << 16 for value in matrix)
    place = content.index(b"tkhd") + 44
    content[place : place + 36] = struct.pack(">9i", uu, uv, 0, vu, vv, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def set_edit_list(path: Path, start_s: float, length_s: float) -> None:
    """Of an MP4's pictures only these are shown: its length in the film's ticks, its beginning in the track's."""
    content = bytearray(path.read_bytes())
    media, movie = content.index(b"mdhd"), content.index(b"mvhd")
    track_ticks = struct.unpack_from(">I", content, media + 16)[0]
    film_ticks = struct.unpack_from(">I", content, movie + 16)[0]
    place = content.index(b"elst") + 12
    struct.pack_into(">II", content, place, round(length_s * film_ticks), round(start_s * track_ticks))
    path.write_bytes(content)


def put_cover_first(path: Path, cover: Path) -> None:
    """Puts a cover picture before the tracks of an MP4 whose index lies at its end."""

    def box(name: bytes, *parts: bytes) -> bytes:
        content = b"".join(parts)
        return struct.pack(">I", 8 + len(content)) + name + content

    Image.fromarray(np.full((32, 32, 3), 200, np.uint8)).save(cover)
    data = box(b"data", struct.pack(">II", 13, 0), cover.read_bytes())  # 13: JPEG
    handler = box(b"hdlr", bytes(8), b"mdirappl", bytes(9))
    udta = box(b"udta", box(b"meta", bytes(4), handler, box(b"ilst", box(b"covr", data))))
    content = path.read_bytes()
    index, tracks = content.index(b"moov") - 4, content.index(b"trak") - 4
    (size,) = struct.unpack_from(">I", content, index)
    longer = struct.pack(">I", size + len(udta))
    path.write_bytes(content[:index] + longer + content[index + 4 : tracks] + udta + content[tracks:])
