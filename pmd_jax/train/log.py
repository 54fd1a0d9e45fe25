"""What the loop reads from its steps, late and seldom, so that the device never waits: metrics, health, progress."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections import deque
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from pmd_jax.config import OptimConfig
from pmd_jax.runtime.distributed import is_primary
from pmd_jax.runtime.errors import Diverged
from pmd_jax.train.metric_writer import MetricWriter

UNDER_WAY = 2  # steps that the device may still have before it when the next one is handed over


class Log:
    """Takes each step's metrics, which may not be there yet; writes every `every`-th, and shows the progress.

    Health is that of all steps so far (`compiled_step.Health`), so it is read with the metrics that are written, and by
    `drain`: a state may be saved, evaluated or returned after that only.

    Args:
        names: of the metrics; the vectors end with the health.
        start: the step that this part of the run goes on from.
        remedy: what to do about a divergence.
    """

    def __init__(
        self,
        writer: MetricWriter,
        names: list[str],
        method: str,
        start: int,
        optim: OptimConfig,
        every: int,
        remedy: str,
    ):
        self._writer, self._names, self._method, self._every, self._remedy = writer, names, method, every, remedy
        self._pending: deque[tuple[int, jax.Array]] = deque()
        self._batch = optim.batch
        tty = sys.stderr.isatty()
        self._bar = tqdm(
            total=optim.steps,
            initial=start,
            desc=method,
            unit="step",
            dynamic_ncols=True,
            mininterval=0.5 if tty else 20,
            disable=not is_primary(),
            file=_Stderr(),
        )
        self._clock = time.perf_counter()
        self._clock_step = start

    def __enter__(self):
        return self

    def __exit__(self, *error):
        try:
            if error[0] is None:
                self.drain()
        finally:
            self._bar.close()

    def push(self, step: int, metrics: jax.Array) -> None:
        """Hands over a step's metrics; waits until no more than UNDER_WAY steps are.

        Raises:
            Diverged: a step that was read now, or one before it.
        """
        self._pending.append((step, metrics))
        while len(self._pending) > UNDER_WAY:
            self._finish(*self._pending.popleft(), read=False)

    def drain(self) -> None:
        """Waits for all steps.

        Raises:
            Diverged: one of them.
        """
        while self._pending:
            step, metrics = self._pending.popleft()
            self._finish(step, metrics, read=not self._pending)

    def _finish(self, step: int, metrics: jax.Array, read: bool) -> None:
        written = step % self._every == 0
        if read or written:
            *values, bad_step, its_loss = np.asarray(metrics).tolist()
            if bad_step:
                self._pending.clear()
                self._give_up(int(bad_step), its_loss)
            if written:
                self._write(step, dict(zip(self._names, values, strict=True)))
        else:
            metrics.block_until_ready()
        self._bar.update()

    def _write(self, step: int, values: dict[str, float]) -> None:
        now = time.perf_counter()
        speed = (step - self._clock_step) * self._batch / (now - self._clock)
        self._clock, self._clock_step = now, step
        self._bar.set_postfix_str(f"{speed:.0f} images/s, loss {values['loss']:.3g}")
        said = {name: value for name, value in values.items() if math.isfinite(value)}  # see losses._mean_of
        self._writer.write(step, {**said, "images_per_s": round(speed, 1)})

    def _give_up(self, step: int, loss: float) -> None:
        finite = math.isfinite(loss)
        self._writer.write(step, {"loss": loss if finite else None})
        self._writer.flush()
        what = f"the loss of step {step} is {loss:.6g}"
        if finite:
            what += ", but its gradient is not finite, or too large for the optimiser's moments"
        raise Diverged(f"{self._method}: {what}. {self._remedy}")


class _Stderr:
    """stderr for a progress bar, which must not end the run where stderr cannot be written (a log on a full disk)."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)
