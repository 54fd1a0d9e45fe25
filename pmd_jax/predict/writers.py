"""Found hands on the disk: lines of numbers, overlays, turntables. A file is there when it is whole."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from pmd_jax.data.hand import JOINT_NAMES
from pmd_jax.predict.images import read_picture
from pmd_jax.predict.pipeline import FramePrediction
from pmd_jax.predict.video import Video, mp4_writer
from pmd_jax.runtime.errors import InputError
from pmd_jax.runtime.files import replacing

FORMATS = ("jsonl", "csv")


class _Turn(NamedTuple):
    """A hand of the video that is being read, for its turntable."""

    joints: Float[np.ndarray, "21 3"]
    time_s: float


class HandWriter:
    """Where found hands go; a context. Whatever ends it, the lines of the hands that came stay.

    Args:
        folder: takes joints.jsonl or joints.csv, overlays/ and turntables/; None: lines on the standard output.
        line_format: one of `FORMATS`.
        overlay, turntable: what to draw.

    Attributes:
        count, unboxed: how many hands came, and how many of them from a central square.
        without_hand: how many pictures came that show none; they give no line.
        problems: a sentence for what could not be drawn.

    Raises:
        InputError: the folder cannot be written to; entering the context tells.
    """

    def __init__(self, folder: Path | None, line_format: str, overlay: bool, turntable: bool):
        self.folder, self.format, self.overlay, self.turntable = folder, line_format, overlay, turntable
        self.count = self.unboxed = self.without_hand = 0
        self.problems: list[str] = []
        self._lines: _Lines | None = None
        self._names: set[str] = set()
        self._drawn = ("", "")  # the last picture's file, and its overlay's name
        self._film: list[_Turn] | None = None
        self._write_overlay = None

    def __enter__(self) -> HandWriter:
        if self.folder is not None:
            _require_writable(self.folder)
        return self

    def __exit__(self, *_) -> None:
        if self._lines is not None:
            self._lines.close()

    def add(self, found: FramePrediction) -> None:
        """The next hand, or picture without one. Nothing is written before the first.

        Raises:
            OSError: its line cannot be written; those before are kept.
        """
        if found.hand is None:
            self.without_hand += 1
            if self._write_overlay is not None and found.rgb is not None:  # the film keeps its length
                with self._drawing(found.file):
                    self._write_overlay(found.rgb, found.time_s or 0.0)
            return
        if self._lines is None:
            self._lines = _Lines(self.folder and self.folder / f"joints.{self.format}")
            if self.format == "csv":
                self._lines.write(_csv_line(columns()))
        is_csv = self.format == "csv"
        line = _csv_line(as_row(found).values()) if is_csv else json.dumps(as_record(found), ensure_ascii=False) + "\n"
        self._lines.write(line)
        self.count += 1
        self.unboxed += found.box_from == "central"
        if self._film is not None and self.turntable:
            self._film.append(_Turn(found.hand.joints, found.time_s or 0.0))
        if self.overlay or self.turntable:
            with self._drawing(found.file):
                self._draw(found)

    @contextmanager
    def _drawing(self, what: str) -> Iterator[None]:
        """The numbers are worth more than the drawings: where these do not fit on the disk, those go on."""
        try:
            yield
        except OSError as error:
            self.overlay = self.turntable = False
            self.problems.append(
                f"{what} could not be drawn ({error}), nor was what came after it; its joints are kept. Make room, or "
                "name another --out."
            )
        except InputError as error:  # the picture is gone since it was looked at
            self.problems.append(f"{error} Its joints are kept.")

    def _draw(self, found: FramePrediction) -> None:
        from pmd_jax.predict.overlays import TURNS, overlay, turntable  # loads Matplotlib: only when something is drawn

        assert found.hand is not None
        if self._film is not None:
            if self._write_overlay is not None and found.rgb is not None:
                self._write_overlay(np.asarray(overlay(found.rgb, found.hand)), found.time_s or 0.0)
            return
        is_another_hand = found.box_from == "detected" and self._drawn[0] == found.file
        name = self._free_name(Path(found.file).stem)
        if self.overlay:
            first_name = self._drawn[1] if is_another_hand else name
            file = self._path("overlays", first_name + ".png")
            picture = read_picture(file if is_another_hand else found.file)
            with replacing(file) as path:
                overlay(picture, found.hand).save(path, "PNG")
            self._drawn = (found.file, first_name)
        if self.turntable:
            first, *others = turntable(np.repeat(found.hand.joints[None], TURNS, 0))
            with replacing(self._path("turntables", name + ".gif")) as path:
                first.save(path, "GIF", save_all=True, append_images=others, duration=60, loop=0)

    @contextmanager
    def of_video(self, video: Video) -> Iterator[None]:
        """Hands that are added inside belong to this video: their drawings become films."""
        name, film = self._free_name(Path(video.name.replace(" ", "_")).stem), ExitStack()
        self._film = []
        try:
            if self.overlay:
                self._write_overlay = film.enter_context(mp4_writer(self._path("overlays", name + ".mp4"), video.rate))
            yield
        finally:
            turns, self._film, self._write_overlay = self._film, None, None
            with self._drawing(video.name):
                film.close()
            if self.turntable and turns:
                from pmd_jax.predict.overlays import turntable

                images = turntable(np.stack([turn.joints for turn in turns]))
                with (
                    self._drawing(video.name),
                    mp4_writer(self._path("turntables", name + ".mp4"), video.rate) as write,
                ):
                    for image, turn in zip(images, turns, strict=True):
                        write(np.asarray(image), turn.time_s)

    def _path(self, kind: str, name: str) -> Path:
        assert self.folder is not None
        return self.folder / kind / name

    def _free_name(self, stem: str) -> str:
        """Two folders may hold a picture of one name."""
        name, number = stem, 1
        while name in self._names:
            number += 1
            name = f"{stem}_{number}"
        self._names.add(name)
        return name


class _Lines:
    """Lines of text, to a file that takes its place when it is closed, or to the standard output (no path).

    Always UTF-8. What is no text in a file's name is written as \\udcXX, which JSON reads as what Python has for it.
    """

    def __init__(self, path: Path | None):
        self._path, self._file, self._place = path, None, ExitStack()
        self._end = 0  # of the last whole line
        if path is not None:
            self._file = self._place.enter_context(replacing(path)).open("wb", buffering=0)

    def write(self, line: str) -> None:
        content = line.encode("utf-8", "backslashreplace")
        if self._file is None:
            binary = getattr(sys.stdout, "buffer", None)  # a notebook's has none
            sys.stdout.write(content.decode()) if binary is None else binary.write(content)
            sys.stdout.flush()  # a program at the other end of the pipe may be waiting
            return
        try:
            written = self._file.write(content)
            if written < len(content):  # the disk had room for a part; the next write says why
                self._file.write(content[written:])
            self._end += len(content)
        except OSError as error:
            self._file.truncate(self._end)
            raise OSError(error.errno, f"{error.strerror}; what was found before is kept", str(self._path)) from None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._place.close()


def _require_writable(folder: Path) -> None:
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(place))
    if not there.is_dir():
        raise InputError(f"--out={folder}: {there} is no folder; name another.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"--out={folder}: you may not write to {there}; name another folder.")


def _csv_line(values: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue()


def as_record(found: FramePrediction) -> dict[str, Any]:
    """A line of joints.jsonl. Frames and units: `HandPose`."""
    assert found.hand is not None
    moment = {} if found.frame is None else {"frame": found.frame, "time_s": round(found.time_s or 0.0, 4)}
    score = {} if found.score is None else {"score": round(found.score, 3)}
    return {"file": found.file, **moment, "box_from": found.box_from, **score, **found.hand.as_dict()}


def columns() -> list[str]:
    """The head of joints.csv."""
    place = ["file", "frame", "time_s", "box_x0", "box_y0", "box_side", "box_from", "side"]
    return place + [f"{joint}_{what}" for joint in JOINT_NAMES for what in ("x", "y", "z", "u_px", "v_px")]


def as_row(found: FramePrediction) -> dict[str, Any]:
    """A line of joints.csv: joints in hand scales and pixels; metres are x, y, z times the hand's scale."""
    record = as_record(found)
    joints = np.concatenate([record["joints"], record["uv_px"]], axis=1).ravel().tolist()
    place = [record["file"], record.get("frame"), record.get("time_s"), *record["box"], found.box_from, record["side"]]
    return dict(zip(columns(), [*place, *joints], strict=True))
