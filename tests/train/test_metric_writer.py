"""Logging: nothing torn stays in a file, and nothing that fails there reaches the training."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from pmd_jax.config import OptimConfig
from pmd_jax.evaluate.curves import read_metrics
from pmd_jax.train import metric_writer
from pmd_jax.train.log import Log
from pmd_jax.train.metric_writer import MetricWriter


class Disk:
    """`os.write` of a disk that can be full: then it takes a few bytes more and refuses the rest."""

    def __init__(self, monkeypatch, room: int = 10):
        self.full, self._room, self._write = False, room, os.write
        monkeypatch.setattr(metric_writer.os, "write", self)

    def __call__(self, file: int, content: bytes) -> int:
        if not self.full:
            return self._write(file, content)
        if self._room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part, self._room = content[: self._room], 0
        return self._write(file, part)


def events(workdir: Path, row: str = "pmd_net") -> list[Event]:
    """All events of a row, read as TensorBoard reads them: file by file, record by record."""
    found = []
    for path in sorted((workdir / "tensorboard" / row).iterdir()):
        content = path.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            found.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


def scalars(workdir: Path) -> dict[int, dict[str, float]]:
    said = (event for event in events(workdir) if event.summary.value)
    return {event.step: {value.tag: value.simple_value for value in event.summary.value} for event in said}


@pytest.mark.parametrize("room", [0, 10])
def test_a_disk_that_is_full_for_a_while(tmp_path, monkeypatch, capsys, room):
    """What could not be written is missing; nothing is torn, and what comes later is there. It is said once a file."""
    writer = MetricWriter(tmp_path, "pmd_net", 0, tensorboard=True)
    writer.write(1, {"loss": 1.0})
    disk = Disk(monkeypatch, room)
    disk.full = True
    for step in (2, 3):
        writer.write(step, {"loss": float(step)})
    disk.full = False
    writer.write(4, {"loss": 4.0})
    writer.close()
    lines, unread = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 4]
    assert unread == 0
    assert scalars(tmp_path) == {1: {"loss": 1.0}, 4: {"loss": 4.0}}
    said = capsys.readouterr().err
    assert said.count("cannot be written") == 2
    assert "No space left" in said
    assert "metrics.jsonl" in said


def test_a_disk_that_stays_full_keeps_whole_lines(tmp_path, monkeypatch):
    writer = MetricWriter(tmp_path, "pmd_net", 0, tensorboard=False)
    writer.write(1, {"loss": 1.0})
    Disk(monkeypatch).full = True
    writer.write(2, {"loss": 2.0})
    writer.close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"row": "pmd_net", "step": 1, "loss": 1.0}\n'


def test_a_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "tensorboard").write_text("a file")
    (tmp_path / "metrics.jsonl").mkdir()
    writer = MetricWriter(tmp_path, "pmd_net", 0, tensorboard=True)
    writer.write(1, {"loss": 1.0})
    writer.flush()
    writer.close()
    assert capsys.readouterr().err.count("cannot be written") == 2


def test_torn_lines_are_left_out_when_a_run_goes_on(tmp_path, capsys):
    whole = [{"row": "pmd_net", "step": step, "loss": 1.0} for step in (1, 2, 3)]
    first, second, third = (json.dumps(line) for line in whole)
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{first}\n{second[:20]}{second}\n[]\n{{"row": "pmd_net"}}\n{third}\n{first[:12]}')
    assert read_metrics(path) == ([whole[0], whole[2]], 4)
    MetricWriter(tmp_path, "pmd_net", 3, tensorboard=False).close()
    assert read_metrics(path) == ([whole[0], whole[2]], 0)
    assert "4 lines" in capsys.readouterr().err


def test_a_torn_end_is_cut_off_where_the_file_cannot_be_written_anew(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "metrics.jsonl"
    path.write_text('{"row": "pmd_net", "step": 1, "loss": 1.0}\n{"row": "pm')
    monkeypatch.setattr(metric_writer.files, "write_text", refuse)
    writer = MetricWriter(tmp_path, "pmd_net", 1, tensorboard=False)
    writer.write(2, {"loss": 2.0})
    writer.close()
    lines, unread = read_metrics(path)
    assert ([line["step"] for line in lines], unread) == ([1, 2], 0)
    assert "cannot be written" in capsys.readouterr().err


def test_lines_of_lost_work_go_and_those_of_other_rows_stay(tmp_path):
    for row, steps in (("depth_teacher", (1, 2, 3)), ("pmd_net", (1, 2, 3))):
        writer = MetricWriter(tmp_path, row, 0, tensorboard=False)
        for step in steps:
            writer.write(step, {"loss": 1.0})
        writer.close()
    MetricWriter(tmp_path, "pmd_net", 2, tensorboard=False).close()
    kept = [(line["row"], line["step"]) for line in read_metrics(tmp_path / "metrics.jsonl")[0]]
    assert kept == [*(("depth_teacher", step) for step in (1, 2, 3)), ("pmd_net", 1), ("pmd_net", 2)]


def test_tensorboard_keeps_the_point_that_the_run_goes_on_from(tmp_path):
    """It hides all earlier points at the step of a session's start and beyond."""
    writer = MetricWriter(tmp_path, "pmd_net", 4, tensorboard=True)
    writer.write(5, {"loss": 0.5, "protocol": "in words", "eval/epe_mm": 20})
    writer.close()
    version, start, point = events(tmp_path)
    assert version.file_version == "brain.Event:2"
    assert start.session_log.status == start.session_log.START
    assert start.step == 5
    assert {value.tag: value.simple_value for value in point.summary.value} == {"loss": 0.5, "eval/epe_mm": 20.0}


def test_event_files_are_those_of_tensorboardX(tmp_path):
    """Byte by byte, checksums too, but for the times."""
    from tensorboardX.event_file_writer import EventsWriter

    MetricWriter(tmp_path, "pmd_net", 0, tensorboard=True).close()
    theirs = EventsWriter(str(tmp_path / "events"))
    for event in events(tmp_path)[1:]:
        theirs.write_event(event)
    theirs.close()
    (our_path,) = (tmp_path / "tensorboard" / "pmd_net").iterdir()
    (their_path,) = tmp_path.glob("events.out*")
    ours, same = our_path.read_bytes(), their_path.read_bytes()
    first = 16 + int.from_bytes(ours[:8], "little")
    assert len(ours) == len(same)
    assert ours[first:] == same[first:]


def test_a_progress_bar_on_a_full_disk(tmp_path, monkeypatch):
    class Full(io.StringIO):
        def write(self, *_):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    writer = MetricWriter(tmp_path, "pmd_net", 0, tensorboard=False)
    with Log(writer, [], "pmd_net", 0, OptimConfig(steps=2), 1, ""):
        metric_writer.say("Nobody hears this.")
