"""Numbers as they come: one JSON object a line in metrics.jsonl, and event files for TensorBoard.

Nothing here stops training: what cannot be written is said once on stderr and is missing in the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pmd_jax.evaluate.curves import read_metrics
from pmd_jax.runtime import files


class MetricWriter:
    """Appends a method's metrics to `workdir/metrics.jsonl` (and `workdir/tensorboard/<method>`); on process 0 only.

    Args:
        start: the step that the run goes on from; lines of this method beyond it belong to work that was lost and is
            done again, so they are removed.
    """

    def __init__(self, workdir: Path, method: str, start: int, *, tensorboard: bool, active: bool = True):
        self._method = method
        self._lines: _Appended | None = None
        self._events: _Appended | None = None
        if not active:
            return
        path = workdir / "metrics.jsonl"
        _drop_lines(path, method, start)
        self._lines = _Appended(path, after=b"\n")
        if tensorboard:
            name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
            self._events = _Appended(workdir / "tensorboard" / method / name)
            self._events.append(_first_events(start))

    def write(self, step: int, metrics: Mapping[str, float | str | None]) -> None:
        """Appends a line; it is there as soon as this returns."""
        if self._lines is not None:
            self._lines.append((json.dumps({"row": self._method, "step": step, **metrics}) + "\n").encode())
        numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
        if self._events is not None and numbers:
            self._events.append(_scalars_event(step, numbers))

    def flush(self) -> None:
        """Until what was written is on the disk."""
        self._each(_Appended.flush)

    def close(self) -> None:
        self._each(_Appended.close)

    def _each(self, act: Callable[[_Appended], None]) -> None:
        for sink in (self._lines, self._events):
            if sink is not None:
                act(sink)


def say(sentence: str) -> None:
    """Prints to stderr; where even that fails (a log on a full disk), nothing happens."""
    with contextlib.suppress(OSError):
        print(sentence, file=sys.stderr, flush=True)


class _Appended:
    """A file that grows by whole records. One that could not be written whole is taken back before the next.

    Written by this thread, without a buffer: a writer's thread that has died of an error would leave us waiting.

    Args:
        after: what ends each record of the file that may be there; what a killed process left behind the last such end
            is removed.
    """

    def __init__(self, path: Path, after: bytes = b""):
        self._path, self._after = path, after
        self._file, self._whole, self._torn, self._said = -1, 0, False, False

    def append(self, record: bytes) -> None:
        try:
            if self._file < 0:
                self._open()
            if self._torn:
                os.ftruncate(self._file, self._whole)
            self._torn = True  # until all of it is there
            if (written := os.write(self._file, record)) < len(record):
                written += os.write(self._file, record[written:])  # says why, if nothing more can be written
            self._torn = written < len(record)
            self._whole += 0 if self._torn else written
        except OSError as error:
            self._complain(error)

    def flush(self) -> None:
        try:
            if self._file >= 0:
                os.fsync(self._file)
        except OSError as error:
            self._complain(error)

    def close(self) -> None:
        try:
            if self._file >= 0:
                if self._torn:
                    os.ftruncate(self._file, self._whole)
                os.close(self._file)
        except OSError as error:
            self._complain(error)
        self._file = -1

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        content = self._path.read_bytes() if self._after and self._path.is_file() else b""
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self._whole = content.rfind(self._after) + 1 if content else os.fstat(self._file).st_size
        self._torn = self._whole < len(content)

    def _complain(self, error: OSError) -> None:
        if not self._said:
            say(f"Warning: {self._path} cannot be written ({error}). Training goes on; its numbers are missing there.")
        self._said = True


def _drop_lines(path: Path, method: str, start: int) -> None:
    """Leaves out what is done again and what cannot be read."""
    try:
        lines, unread = read_metrics(path)
        kept = [line for line in lines if line["row"] != method or int(line["step"]) <= start]
        if unread or len(kept) < len(lines):
            files.write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        if unread:
            say(f"Warning: {unread} lines of {path} could not be read and are left out.")
    except OSError as error:
        say(f"Warning: {path} cannot be written ({error}). It keeps lines of steps that are now done again.")


# ---- events


def _first_events(start: int) -> bytes:
    """What opens an event file: its format, and that points beyond `start` in earlier files are void.

    TensorBoard hides the points at the step named here too, so it is the one after `start`.
    """
    from tensorboardX.proto import event_pb2

    messages: Any = event_pb2  # its classes are made at run time
    now = time.time()
    started = messages.SessionLog(status=messages.SessionLog.START)
    void = messages.Event(wall_time=now, step=start + 1, session_log=started)
    return _record(messages.Event(wall_time=now, file_version="brain.Event:2")) + _record(void)


def _scalars_event(step: int, numbers: Mapping[str, float]) -> bytes:
    from tensorboardX.proto import event_pb2, summary_pb2

    events: Any = event_pb2
    summaries: Any = summary_pb2
    values = [summaries.Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
    return _record(events.Event(wall_time=time.time(), step=step, summary=summaries.Summary(value=values)))


def _record(event) -> bytes:
    """TFRecord: length, its checksum, content, its checksum."""
    from tensorboardX.record_writer import masked_crc32c

    content = event.SerializeToString()
    length = len(content).to_bytes(8, "little")
    sums = (masked_crc32c(part).to_bytes(4, "little") for part in (length, content))
    return length + next(sums) + content + next(sums)
