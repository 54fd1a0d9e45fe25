"""How long a method was trained, over all parts of a run that was stopped and went on."""

from __future__ import annotations

import json
import time
from pathlib import Path

from pmd_jax.runtime import files
from pmd_jax.train.metric_writer import say

KEPT = 8  # saved steps to remember: the last two checkpoints, one being written, and some to go back to


class TrainTime:
    """Seconds and steps up to each checkpoint, kept in a small file beside the method's checkpoints.

    What was done after the checkpoint that a run goes on from was lost and is done again: it counts once. A checkpoint
    of which the file says nothing (an earlier version's) counts from there on: `steps` are those that `seconds` are of.

    Args:
        path: the file. Process 0 alone reads and writes it; the others count their own part.
        start: the step that this part goes on from.
    """

    def __init__(self, path: Path, start: int, *, active: bool = True):
        self._path, self._start, self._active, self._said = path, start, active, False
        known = _read(path) if active else {}
        self._saved = {step: spent for step, spent in known.items() if step <= start}
        self._seconds, self._steps = self._saved.get(start, (0.0, 0))
        self._began = time.perf_counter()

    def now(self, step: int) -> tuple[float, int]:
        """Seconds until now, and how many steps they are of, when `step` is done."""
        return self._seconds + time.perf_counter() - self._began, self._steps + step - self._start

    def save(self, step: int) -> None:
        """Before the checkpoint of `step` is saved. A file that cannot be written stops nothing."""
        if not self._active:
            return
        self._saved[step] = self.now(step)
        kept = sorted(self._saved)[-KEPT:]
        tree = {str(at): dict(zip(("seconds", "steps"), self._saved[at], strict=True)) for at in kept}
        try:
            files.write_json(self._path, tree)
        except OSError as error:
            if not self._said:
                say(f"Warning: {self._path} cannot be written ({error}). If this run goes on later, its time is wrong.")
            self._said = True


def _read(path: Path) -> dict[int, tuple[float, int]]:
    if not path.exists():
        return {}
    try:
        tree = json.loads(files.read_text(path))
        return {int(step): (float(spent["seconds"]), int(spent["steps"])) for step, spent in tree.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        say(f"Warning: {path} cannot be read ({error}). The training time counts from here.")
        return {}
