"""One row's training loop: batches in, a trained state out; saves, logs and evaluates on the way."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from pmd_jax import sharding
from pmd_jax.checkpoint import Checkpoints
from pmd_jax.config import Config, OptimConfig
from pmd_jax.data.augment import Batch
from pmd_jax.data.pipeline import Columns, training_batches
from pmd_jax.distributed import is_primary
from pmd_jax.lessons import Lessons, StoredLessons
from pmd_jax.metric_writer import MetricWriter
from pmd_jax.preemption import Preempted, Stop
from pmd_jax.state import TrainState, Weights
from pmd_jax.steps import Recipe, Teacher, train_step


class Diverged(RuntimeError):
    """The loss is no longer a number."""


class Trained(NamedTuple):
    """A trained row. A run that was interrupted counts its last part only."""

    state: TrainState
    seconds: float
    images_per_s: float


def train_row(
    recipe: Recipe,
    state: TrainState,
    teacher: Weights | Lessons | StoredLessons | None,
    columns: Columns,
    validation: Callable[[Weights], Mapping[str, float | str]] | None,
    *,
    name: str,
    config: Config,
    optim: OptimConfig,
    mesh: Mesh,
    workdir: Path,
    stop: Stop,
) -> Trained:
    """Trains a row to its last step, going on from its latest checkpoint where there is one.

    Args:
        recipe, state, teacher: see `steps.train_step`; the teacher on the mesh.
        columns: the training samples.
        validation: the curve's metrics of some weights, every `config.eval_every` steps.
        name: of the row; names its folder and its lines of metrics.
        optim: the schedule of this stage.
        stop: tells when the run is asked to stop.

    Returns:
        The final state, and how fast this call made its steps.

    Raises:
        Preempted: asked to stop; a checkpoint is saved.
        Diverged: the loss of a step is not finite; the last good checkpoint is kept.
        CheckpointError: no checkpoint could be written, or the one that is there cannot be read.
    """
    sharding.check_batch(optim.batch, mesh, "optim.batch")
    data = training_batches(
        columns,
        steps=optim.steps,
        batch=optim.batch,
        seed=config.seed,
        unlabelled_share=config.data.unlabelled_share if recipe.row.unlabelled else 0.0,
        rows=sharding.local_rows(mesh, optim.batch),
    )
    checkpoints = Checkpoints(workdir / name / "checkpoints")
    # Where the step will leave it: a state that lies elsewhere at first would have the step compiled twice.
    state = checkpoints.restore(jax.device_put(state, sharding.replicated(mesh)), data)
    start = int(state.step)
    writer = MetricWriter(workdir, name, start, tensorboard=config.tensorboard, active=is_primary())
    step_function, metric_names = compile_step(recipe, mesh)
    log = _Log(writer, metric_names, name, start, optim, config.log_every)
    seed = jax.device_put(jnp.int32(config.seed), sharding.replicated(mesh))
    began = time.perf_counter()
    try:
        with log:
            for step in range(start, optim.steps):
                batch = next(data)
                taught = teacher.of_batch(batch.index, mesh) if isinstance(teacher, StoredLessons) else teacher
                state, metrics = step_function(state, taught, sharding.global_array(mesh, batch), seed)
                log.push(step + 1, metrics)
                done = step + 1
                stopping = stop.reached()
                if stopping or done % config.checkpoint_every == 0 or done == optim.steps:
                    log.drain()  # a state whose loss was not finite is never saved
                    # Saved before the iterator moves, so that state and data agree.
                    checkpoints.save(done, state, data)
                if validation is not None and done % config.eval_every == 0:
                    log.drain()
                    writer.write(done, validation(state.weights))
                if stopping:
                    raise Preempted(f"{name} stopped at step {done} of {optim.steps}")
    finally:
        writer.close()
        checkpoints.close()
    seconds = time.perf_counter() - began
    return Trained(state, seconds, (optim.steps - start) * optim.batch / seconds)


def compile_step(recipe: Recipe, mesh: Mesh):
    """`train_step` jitted for the mesh, its metrics packed into one vector so that one fetch brings them all.

    Returns:
        (state, teacher, batch, seed) → (state, vector), and the vector's names.
    """
    names: list[str] = []

    def packed(state: TrainState, teacher: Teacher | None, batch: Batch, seed: jax.Array):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # see models/conv.py
            state, metrics = train_step(recipe, state, teacher, batch, seed)
        names[:] = metrics  # filled when the function is traced
        return state, jnp.stack([metrics[name] for name in names])

    whole, parts = sharding.replicated(mesh), sharding.split(mesh)
    jitted = jax.jit(
        packed,
        in_shardings=(whole, None, parts, whole),  # the teacher: where it is, whole or split as the batch
        out_shardings=(whole, whole),
        donate_argnames="state",
    )
    return jitted, names


class _Log:
    """Metrics one step late, so that reading them never stalls the device; and the progress bar."""

    def __init__(self, writer: MetricWriter, names: list[str], row: str, start: int, optim: OptimConfig, every: int):
        self._writer, self._names, self._row, self._every = writer, names, row, every
        self._pending: tuple[int, jax.Array] | None = None
        self._batch = optim.batch
        tty = sys.stderr.isatty()
        self._bar = tqdm(
            total=optim.steps,
            initial=start,
            desc=row,
            unit="step",
            dynamic_ncols=True,
            mininterval=0.5 if tty else 20,
            disable=not is_primary(),
        )
        self._clock = time.perf_counter()
        self._clock_step = start

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if error[0] is None:
            self.drain()
        self._bar.close()

    def push(self, step: int, metrics: jax.Array) -> None:
        """Hands over a step's metrics, which may not be there yet; reads those of the step before."""
        self.drain()
        self._pending = (step, metrics)

    def drain(self) -> None:
        if self._pending is None:
            return
        (step, vector), self._pending = self._pending, None
        values = dict(zip(self._names, np.asarray(vector).tolist(), strict=True))
        if not math.isfinite(values["loss"]):
            self._writer.write(step, {"loss": None})
            self._writer.flush()
            raise Diverged(
                f"{self._row}: the loss of step {step} is {values['loss']}. The last good checkpoint is kept; lower "
                "config.optim.learning_rate or look for bad samples, then run again to go on from it."
            )
        self._bar.update()
        if step % self._every == 0:
            now = time.perf_counter()
            speed = (step - self._clock_step) * self._batch / (now - self._clock)
            self._clock, self._clock_step = now, step
            self._bar.set_postfix_str(f"{speed:.0f} images/s, loss {values['loss']:.3g}")
            said = {name: value for name, value in values.items() if math.isfinite(value)}  # see losses._mean_of
            self._writer.write(step, {**said, "images_per_s": round(speed, 1)})
