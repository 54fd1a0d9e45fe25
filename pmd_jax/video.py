"""Videos and cameras in, MP4 out. PyAV, an extra, is loaded here alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from pmd_jax.commands import require
from pmd_jax.errors import InputError

SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm")
SLACK_S = 0.5  # a file's own length is this exact
_CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "video={}")}


class VideoError(InputError):
    """A video or camera that cannot be read, or not to its end; what was read before stays good."""


class Frame(NamedTuple):
    """One picture of a video, upright."""

    rgb: UInt8[np.ndarray, "h w 3"]
    time_s: float


def _pyav() -> Any:
    require("video", ["av"])
    import av

    return av


class Video:
    """An open video file, or a camera by its number.

    Attributes:
        rate: pictures a second.
        frames: how many the file says it has, 0 where it does not say.

    Raises:
        VideoError: missing, no video, damaged at its beginning, or no such camera.
        InputError: PyAV is not installed.
    """

    def __init__(self, source: Path | int):
        av = _pyav()
        self.name = f"camera {source}" if isinstance(source, int) else str(source)
        try:
            self._container = _open_camera(av, source) if isinstance(source, int) else _open_file(av, source)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            remedy = "plug it in or give another number" if isinstance(source, int) else "give an MP4"
            raise VideoError(f"{self.name}: cannot be opened ({_reason(error)}); {remedy}.") from None
        if not self._container.streams.video:
            raise VideoError(f"{self.name}: has no pictures in it; give a video.")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.rate = float(self._stream.average_rate or 30)
        self.frames = 0 if isinstance(source, int) else self._stream.frames

    def __iter__(self) -> Iterator[Frame]:
        """The pictures in order.

        Raises:
            VideoError: the file breaks off or is damaged; all pictures before have been given.
        """
        count, time_s, length_s = 0, 0.0, (self._container.duration or 0) / 1e6
        try:
            for picture in self._container.decode(self._stream):
                rgb = np.rot90(picture.to_ndarray(format="rgb24"), picture.rotation // 90)
                time_s = count / self.rate if picture.time is None else float(picture.time)
                yield Frame(np.ascontiguousarray(rgb), time_s)
                count += 1
        except (_pyav().error.FFmpegError, OSError) as error:
            raise VideoError(f"{self.name}: breaks after {count} pictures ({_reason(error)}).") from None
        finally:
            self._container.close()
        if count == 0:
            raise VideoError(f"{self.name}: has no picture that can be read; give another video.")
        if count < self.frames or (self.frames == 0 and time_s + 1 / self.rate < length_s - SLACK_S):
            promised = f"{self.frames} pictures" if self.frames else f"{length_s:.1f} s"
            raise VideoError(f"{self.name}: breaks off after {count} pictures; it should have {promised}.")


def _open_file(av: Any, path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(2, "there is no such file")
    # Some formats name other files or addresses to read: only this one is meant.
    return av.open(str(path), container_options={"protocol_whitelist": "file"})


def _open_camera(av: Any, number: int) -> Any:
    system, place = _CAMERAS[sys.platform]
    return av.open(place.format(number), format=system)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


@contextmanager
def mp4_writer(path: Path, rate: float) -> Iterator[Any]:
    """Gives a function that adds an RGB picture to an MP4 (H.264); the file is there when the block has ended.

    What was written before an error inside the block is kept; nothing is, if that was no picture.
    """
    av = _pyav()
    unfinished = path.with_name(path.name + ".unfinished")
    container = av.open(str(unfinished), "w", format="mp4")
    stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
    stream.pix_fmt = "yuv420p"  # what browsers play
    count = 0

    def write(rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        nonlocal count
        even = np.pad(rgb, [(0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)], mode="edge")  # H.264 wants it
        if not count:
            stream.height, stream.width = even.shape[:2]
        container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        count += 1

    try:
        yield write
    finally:
        if count:
            container.mux(stream.encode())
            container.close()
            os.replace(unfinished, path)
        else:
            unfinished.unlink(missing_ok=True)
