"""From a camera to files until time, file, camera or somebody ends it. The only clock here is the camera's."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event

from pmd_jax.record.camera import Camera, Frame
from pmd_jax.record.writer import RecordingWriter

CLOCK_S = 0.002  # cameras round their time


@dataclass
class View:
    """What the page shows: the latest frame, and how far the recording is. One thread writes it, others read it."""

    frame: Frame | None = None
    count: int = 0
    seconds: float = 0.0  # since the first frame that was written; below 0: until then
    stop: Event = field(default_factory=Event)


def run(
    camera: Camera, writer: RecordingWriter, view: View, *, wait_s: float, seconds: float | None, per_s: float
) -> None:
    """Records from `wait_s` seconds after the first frame on, for `seconds` or until `view.stop` is set.

    Args:
        seconds: by the camera's clock; None: no limit.
        per_s: frames to keep a second; a hand hardly moves between two of a camera's.

    Raises:
        CameraError: see `Camera.read`; what was written stays.
    """
    begin, next_s = None, 0.0
    while not view.stop.is_set() and (frame := camera.read()) is not None:
        begin = frame.time_s + wait_s if begin is None else begin
        view.frame, view.seconds = frame, frame.time_s - begin
        if seconds is not None and view.seconds >= seconds:
            break
        if view.seconds >= next_s - CLOCK_S:
            writer.write(frame)
            view.count = writer.count
            next_s = max(next_s + 1 / per_s, view.seconds)  # what was late is not made up for
