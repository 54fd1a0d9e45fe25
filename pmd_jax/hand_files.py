"""Found hands on the disk: lines of numbers, overlays, turntables. A file is there when it is whole."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pmd_jax.data.hand import JOINT_NAMES
from pmd_jax.find_hands import Found
from pmd_jax.pictures import read_picture
from pmd_jax.video import Video, mp4_writer

FORMATS = ("jsonl", "csv")


class HandFiles:
    """Where found hands go; a context.

    Args:
        folder: takes joints.jsonl or joints.csv, overlays/ and turntables/; None: lines on the standard output.
        line_format: one of `FORMATS`.
        overlay, turntable: what to draw.

    Attributes:
        count, unboxed: how many hands came, and how many of them from a central square.
    """

    def __init__(self, folder: Path | None, line_format: str, overlay: bool, turntable: bool):
        self.folder, self.format, self.overlay, self.turntable = folder, line_format, overlay, turntable
        self.count = self.unboxed = 0
        self._lines: TextIO | None = None
        self._names: set[str] = set()
        self._film: list[Any] | None = None  # the joints of the video that is being read
        self._write_overlay = None

    def __enter__(self) -> HandFiles:
        return self

    def __exit__(self, kind, *_) -> None:
        if self._lines is None or self.folder is None:
            return
        self._lines.close()
        if kind is None:
            os.replace(self._unfinished, self.folder / f"joints.{self.format}")
        else:
            self._unfinished.unlink()

    @property
    def _unfinished(self) -> Path:
        assert self.folder is not None
        return self.folder / f"joints.{self.format}.unfinished"

    def add(self, found: Found) -> None:
        """The next hand. Nothing is written before the first."""
        self.count += 1
        self.unboxed += found.box_from == "central"
        if self._lines is None:
            self._lines = self._open()
        if self.format == "csv":
            csv.writer(self._lines).writerow(as_row(found).values())
        else:
            self._lines.write(json.dumps(as_record(found), ensure_ascii=False) + "\n")
        if self.folder is None:
            self._lines.flush()  # a program at the other end of the pipe may be waiting
        if self._film is not None:
            self._film.append(found.hand.joints)
        if self.overlay or self.turntable:
            self._draw(found)

    def _open(self) -> TextIO:
        if self.folder is None:
            lines = sys.stdout
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            lines = self._unfinished.open("w", newline="")
        if self.format == "csv":
            csv.writer(lines).writerow(columns())
        return lines

    def _draw(self, found: Found) -> None:
        from pmd_jax.overlays import TURNS, overlay, turntable  # loads Matplotlib: only when something is drawn

        if self._film is not None:
            if self._write_overlay is not None and found.rgb is not None:
                self._write_overlay(np.asarray(overlay(found.rgb, found.hand)))
            return
        name = self._free_name(Path(found.file).stem)
        if self.overlay:
            overlay(read_picture(found.file), found.hand).save(self._place("overlays", name + ".png"))
        if self.turntable:
            first, *others = turntable(np.repeat(found.hand.joints[None], TURNS, 0))
            path = self._place("turntables", name + ".gif")
            first.save(path, save_all=True, append_images=others, duration=60, loop=0)

    @contextmanager
    def of_video(self, video: Video) -> Iterator[None]:
        """Hands that are added inside belong to this video: their drawings become films."""
        name = self._free_name(Path(video.name.replace(" ", "_")).stem)
        self._film = []
        try:
            with ExitStack() as stack:
                if self.overlay:
                    writer = mp4_writer(self._place("overlays", name + ".mp4"), video.rate)
                    self._write_overlay = stack.enter_context(writer)
                yield
        finally:
            joints, self._film, self._write_overlay = self._film, None, None
            if self.turntable and joints:
                from pmd_jax.overlays import turntable

                with mp4_writer(self._place("turntables", name + ".mp4"), video.rate) as write:
                    for image in turntable(np.stack(joints)):
                        write(np.asarray(image))

    def _place(self, kind: str, name: str) -> Path:
        assert self.folder is not None
        (self.folder / kind).mkdir(parents=True, exist_ok=True)
        return self.folder / kind / name

    def _free_name(self, stem: str) -> str:
        """Two folders may hold a picture of one name."""
        name, number = stem, 1
        while name in self._names:
            number += 1
            name = f"{stem}_{number}"
        self._names.add(name)
        return name


def as_record(found: Found) -> dict[str, Any]:
    """A line of joints.jsonl. Frames and units: `HandPose`."""
    moment = {} if found.frame is None else {"frame": found.frame, "time_s": round(found.time_s or 0.0, 4)}
    return {"file": found.file, **moment, "box_from": found.box_from, **found.hand.as_dict()}


def columns() -> list[str]:
    """The head of joints.csv."""
    place = ["file", "frame", "time_s", "box_x0", "box_y0", "box_side", "box_from", "side"]
    return place + [f"{joint}_{what}" for joint in JOINT_NAMES for what in ("x", "y", "z", "u_px", "v_px")]


def as_row(found: Found) -> dict[str, Any]:
    """A line of joints.csv: joints in hand scales and pixels; metres are x, y, z times the hand's scale."""
    record = as_record(found)
    joints = np.concatenate([record["joints"], record["uv_px"]], axis=1).ravel().tolist()
    place = [record["file"], record.get("frame"), record.get("time_s"), *record["box"], found.box_from, found.hand.side]
    return dict(zip(columns(), [*place, *joints], strict=True))
