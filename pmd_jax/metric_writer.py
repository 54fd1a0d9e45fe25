"""Numbers as they come: one JSON object a line in metrics.jsonl, and event files for TensorBoard."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path


class MetricWriter:
    """Appends a row's metrics to `workdir/metrics.jsonl` (and `workdir/tensorboard/<row>`); on process 0 only.

    Args:
        start: the step that the run goes on from; lines of this row beyond it belong to work that was lost and is done
            again, so they are removed.
    """

    def __init__(self, workdir: Path, row: str, start: int, *, tensorboard: bool, active: bool = True):
        self._row, self._file, self._events = row, None, None
        if not active:
            return
        path = workdir / "metrics.jsonl"
        _drop_lines(path, row, start)
        self._file = path.open("a", buffering=1)  # a line is there as soon as it is written
        if tensorboard:
            from tensorboardX import SummaryWriter

            self._events = SummaryWriter(str(workdir / "tensorboard" / row), purge_step=start)

    def write(self, step: int, metrics: Mapping[str, float | str | None]) -> None:
        if self._file is None:
            return
        self._file.write(json.dumps({"row": self._row, "step": step, **metrics}) + "\n")
        for name, value in metrics.items():
            if self._events is not None and isinstance(value, int | float):
                self._events.add_scalar(name, value, step)

    def flush(self) -> None:
        for sink in (self._file, self._events):
            if sink is not None:
                sink.flush()

    def close(self) -> None:
        for sink in (self._file, self._events):
            if sink is not None:
                sink.close()


def read_metrics(path: Path) -> list[dict]:
    """All whole lines of a metrics.jsonl; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _drop_lines(path: Path, row: str, start: int) -> None:
    if not path.exists():
        return
    kept = [line for line in read_metrics(path) if line["row"] != row or line["step"] <= start]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(line) + "\n" for line in kept))
    os.replace(partial, path)
