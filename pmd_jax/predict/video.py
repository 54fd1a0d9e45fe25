"""Videos and cameras in, MP4 out. PyAV, an extra, is loaded here alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from pmd_jax.predict.images import turn
from pmd_jax.predict.video_bytes import is_cut
from pmd_jax.runtime.cli import require
from pmd_jax.runtime.errors import InputError
from pmd_jax.runtime.files import replacing

SUFFIXES = (  # what is looked for in folders
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".avi", ".mkv", ".webm", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg"),
    *(".mpe", ".vob", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".mxf", ".dv", ".y4m", ".mjpeg"),
)
SLACK_S = 0.5  # a file's own length is this exact
TICK = Fraction(1, 90_000)  # s, of the films that we write
_CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "video={}")}


class VideoError(InputError):
    """A video or camera that cannot be read, or not to its end; what was read before stays good."""


class Frame(NamedTuple):
    """One picture of a video, upright."""

    rgb: UInt8[np.ndarray, "h w 3"]
    time_s: float  # from the film's beginning, as players show it


def _pyav() -> Any:
    require("video", ["av"])
    import av

    return av


class Video:
    """An open video file, or a camera by its number.

    Attributes:
        name: of the file as it was given, or "camera 0".
        rate: pictures a second, on average.
        frames: how many the file says it has, 0 where it does not say. With an edit list fewer are shown.

    Raises:
        VideoError: missing, no video, damaged at its beginning, or no such camera.
        InputError: PyAV is not installed.
    """

    def __init__(self, source: Path | int):
        av = _pyav()
        self._path = None if isinstance(source, int) else source
        self.name = f"camera {source}" if isinstance(source, int) else str(source)
        try:
            self._container = _open_camera(av, source) if isinstance(source, int) else _open_file(av, source)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._refuse_cut()
            remedy = "plug it in or give another number" if isinstance(source, int) else "give an MP4"
            raise VideoError(f"{self.name}: cannot be opened ({_reason(error)}); {remedy}.") from None
        covers = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
        moving = [stream for stream in self._container.streams.video if not stream.disposition & covers]
        if not moving:
            self._refuse_cut()
            raise VideoError(f"{self.name}: has no moving pictures in it; give a video.")
        best = self._container.streams.best("video")
        self._stream = best if best in moving else moving[0]
        self._stream.thread_type = "AUTO"
        self.rate = float(self._stream.average_rate or 30)
        self.frames = 0 if isinstance(source, int) else self._stream.frames
        self._start_s, self._length_s = (
            (us or 0) / 1e6 for us in (self._container.start_time, self._container.duration)
        )
        self._end_s = 0.0
        # AVI has no times of showing: those that FFmpeg makes up are out of order where pictures refer to later ones.
        self._is_avi = self._container.format.name == "avi"

    def _refuse_cut(self) -> None:
        if self._path is not None and self._path.is_file() and is_cut(self._path):
            raise VideoError(f"{self.name}: breaks off before its first picture; get the whole file.")

    def __iter__(self) -> Iterator[Frame]:
        """The pictures in order.

        Raises:
            VideoError: the file breaks off or is damaged; all pictures before have been given.
        """
        count = 0
        try:
            for picture in self._decoded():
                yield Frame(_upright(picture), self._time_s(picture, count))
                count += 1
        except (_pyav().error.FFmpegError, OSError) as error:
            raise VideoError(f"{self.name}: breaks after {count} pictures ({_reason(error)}).") from None
        finally:
            self._container.close()
        if count == 0:
            raise VideoError(f"{self.name}: has no picture that can be read; give another video.")
        self._require_whole(count)

    def _time_s(self, picture: Any, count: int) -> float:
        tick = picture.dts if self._is_avi else picture.pts
        if tick is None:
            return count / self.rate
        if self._is_avi and not count:
            self._start_s = float(tick * picture.time_base)
        return float(tick * picture.time_base) - self._start_s

    def _decoded(self) -> Iterator[Any]:
        """PyAV's pictures. Where the longest of all streams ends is noted on the way, for sound may outlast them."""
        for packet in self._container.demux():
            if packet.pts is not None and packet.time_base:
                self._end_s = max(self._end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            is_dropped = packet.size == 0 and packet.pts is not None  # AVI keeps a place for it; no size ends decoding
            if packet.stream is self._stream and not is_dropped:
                yield from packet.decode()

    def _require_whole(self, count: int) -> None:
        ended_s = self._end_s - self._start_s + 1 / self.rate
        breaks = self.frames == 0 and ended_s < self._length_s - SLACK_S
        if self._path is not None and count < (self.frames or count + 1):
            breaks |= is_cut(self._path)
        if breaks:
            promised = f"{self.frames} pictures" if self.frames else f"{self._length_s:.1f} s"
            raise VideoError(f"{self.name}: breaks off after {count} pictures; it should have {promised}.")


def _upright(picture: Any) -> UInt8[np.ndarray, "h w 3"]:
    """As players show it: turned and mirrored as its display matrix says, to right angles.

    The matrix takes (u, v, 1), a row, from the stored picture to the shown one; its first two entries of each row are
    16.16 fixed point.
    """
    rgb = picture.to_ndarray(format="rgb24")
    side_data = picture.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return rgb
    (uu, uv, _), (vu, vv, _), _ = np.frombuffer(side_data, "=i4", 9).reshape(3, 3).tolist()
    if abs(uu) + abs(vv) < abs(uv) + abs(vu):
        return turn(rgb, swap=True, flip_rows=uv < 0, flip_columns=vu < 0)
    return turn(rgb, swap=False, flip_rows=vv < 0, flip_columns=uu < 0)


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
def mp4_writer(path: Path, rate: float) -> Iterator[Callable[[UInt8[np.ndarray, "h w 3"], float], None]]:
    """Gives a function that adds an RGB picture and its time (s) to an MP4 (H.264), which is there when the block ends.

    What was written before an error inside the block is kept; nothing is, if that was no picture or if the error is
    the film's own.

    Args:
        rate: pictures a second, about; each is shown at its own time.

    Raises:
        OSError: it cannot be written.
    """
    film: _Film | None = None

    def write(rgb: UInt8[np.ndarray, "h w 3"], time_s: float) -> None:
        nonlocal film
        film = film or _Film(path, rate)
        film.add(rgb, time_s)

    try:
        yield write
    finally:
        if film is not None:
            film.close()


class _Film:
    """An MP4 that is being written, from its first picture on; after an error of its own all of it is gone."""

    def __init__(self, path: Path, rate: float):
        self._path, self._rate = path, rate
        self._last: int | None = None  # tick of the last picture
        self._first_s = 0.0
        self._place = replacing(path)
        self._unfinished = self._place.__enter__()
        self._is_gone = False
        with self._or_gone():
            self._container = _pyav().open(str(self._unfinished), "w", format="mp4")
            self._stream = self._container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
            self._stream.pix_fmt = "yuv420p"  # what browsers play
            self._stream.codec_context.time_base = TICK

    def add(self, rgb: UInt8[np.ndarray, "h w 3"], time_s: float) -> None:
        """The next picture; one that is no later than the last is shown right after it."""
        even = np.pad(rgb, [(0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)], mode="edge")  # H.264 wants it
        if self._last is None:
            self._stream.height, self._stream.width = even.shape[:2]
            self._first_s, tick = time_s, 0
        else:
            tick = max(self._last + 1, round((time_s - self._first_s) / TICK))
        with self._or_gone():
            picture = _pyav().VideoFrame.from_ndarray(even, format="rgb24")
            picture.pts, picture.time_base = tick, TICK
            self._container.mux(self._stream.encode(picture))
        self._last = tick

    def close(self) -> None:
        """The film is whole and takes its place."""
        if self._is_gone:
            return
        with self._or_gone():
            self._container.mux(self._stream.encode())
            self._container.close()
        self._place.__exit__(None, None, None)

    @contextmanager
    def _or_gone(self) -> Iterator[None]:
        try:
            yield
        except (_pyav().error.FFmpegError, OSError) as error:
            self._is_gone = True
            self._place.__exit__(type(error), error, None)
            raise OSError(getattr(error, "errno", None) or 0, _reason(error), str(self._path)) from None
