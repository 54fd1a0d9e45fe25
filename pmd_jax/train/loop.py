"""One method's training loop: batches in, a trained state out; saves, logs and evaluates on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pmd_jax.config import Config, OptimConfig
from pmd_jax.data.dataset import Columns
from pmd_jax.data.loader import training_batches
from pmd_jax.models.network import Weights
from pmd_jax.runtime import sharding
from pmd_jax.runtime.distributed import barrier, is_primary, require_same, several
from pmd_jax.runtime.errors import CheckpointError, Preempted
from pmd_jax.runtime.preemption import Stop
from pmd_jax.train.checkpoint import Checkpoints
from pmd_jax.train.clock import TrainTime
from pmd_jax.train.compiled_step import CompiledStep, all_finite
from pmd_jax.train.log import Log
from pmd_jax.train.metric_writer import MetricWriter
from pmd_jax.train.state import TrainState, digests
from pmd_jax.train.step import Recipe
from pmd_jax.train.teacher_outputs import TeacherOutputs


@dataclass(frozen=True)
class TrainingTask:
    """What is trained.

    Attributes:
        name: of the method; names its folder and its lines of metrics.
        recipe, state: see `step.train_step`; the state before the first step.
        teacher: what it says of the samples, on the mesh or in a file; None where none takes part.
        columns: the training samples.
        optim: the schedule of this stage.
        validation: the curve's metrics of some weights, every `config.eval_every` steps; None where there is no curve.
    """

    name: str
    recipe: Recipe
    state: TrainState
    teacher: TeacherOutputs | None
    columns: Columns
    optim: OptimConfig
    validation: Callable[[Weights], Mapping[str, float | str]] | None = None


class TrainResult(NamedTuple):
    """A trained method, and how fast: all parts of a run that was interrupted count, lost work once."""

    state: TrainState
    seconds: float
    images_per_s: float


def train_method(task: TrainingTask, config: Config, mesh: Mesh, workdir: Path, stop: Stop) -> TrainResult:
    """Trains a method to its last step, going on from its latest checkpoint where there is one.

    Args:
        stop: tells when the run is asked to stop.

    Returns:
        The final state, and how fast the steps were made.

    Raises:
        Preempted: asked to stop; a checkpoint is saved.
        Diverged: a loss, or a number of the state, is not finite; the last good checkpoint is kept.
        CheckpointError: no checkpoint could be written, or the one that is there cannot be read or gone on from.
    """
    name, optim = task.name, task.optim
    sharding.check_batch(optim.batch, mesh, "optim.batch")
    loop = CompiledStep(task.recipe, mesh, task.state, task.columns.gather(np.zeros(1, int)))
    data = _batches(task, config, mesh, loop)
    barrier(f"the start of {name}")
    checkpoints = Checkpoints(workdir / name / "checkpoints")
    # Where the step will leave it: a state that lies elsewhere at first would have the step compiled twice.
    if several():
        require_same("initial weights", digests(task.state))
    state = checkpoints.restore(sharding.replicate(mesh, task.state), data)
    start = int(state.step)
    require_finite(state, checkpoints.folder / str(start))
    spent = TrainTime(workdir / name / "train_time.json", start, active=is_primary())
    writer = MetricWriter(workdir, name, start, tensorboard=config.tensorboard, active=is_primary())
    log = Log(writer, loop.names, name, start, optim, config.log_every, _remedy(task.recipe))
    carry, seed = loop.begin(state), sharding.replicate(mesh, jnp.int32(config.seed))
    teacher = loop.teach(task.teacher)
    del state  # the first step takes it away
    try:
        with log:
            for done in range(start + 1, optim.steps + 1):
                batch = next(data)
                taught = None if teacher is None else teacher.of_batch(batch.index, mesh)
                carry, metrics = loop.step(carry, taught, sharding.global_array(mesh, batch.rows), seed)
                log.push(done, metrics)
                stopping = stop.reached()
                # Evaluated before it is saved: a run that is killed in between does both again.
                if task.validation is not None and done % config.eval_every == 0:
                    log.drain()
                    writer.write(done, task.validation(loop.state(carry).best_weights))
                if stopping or done % config.checkpoint_every == 0 or done == optim.steps:
                    log.drain()  # a state that is not finite is never saved
                    writer.flush()
                    spent.save(done)
                    # Saved before the iterator moves, so that state and data agree.
                    checkpoints.save(done, loop.state(carry), data)
                if stopping:
                    raise Preempted(f"{name} stopped at step {done} of {optim.steps}")
    finally:
        writer.close()
        checkpoints.close()
    seconds, steps = spent.now(optim.steps)
    return TrainResult(loop.state(carry), seconds, steps * optim.batch / seconds)


def _batches(task: TrainingTask, config: Config, mesh: Mesh, loop: CompiledStep) -> grain.DatasetIterator:
    """This process's part of the batches, packed."""
    return training_batches(
        task.columns,
        steps=task.optim.steps,
        batch=task.optim.batch,
        seed=config.seed,
        unlabelled_share=config.data.unlabelled_share if task.recipe.method.unlabelled else 0.0,
        rows=sharding.local_rows(mesh, task.optim.batch),
        finish=loop.batch.pack,
    )


def require_finite(state: TrainState, where: Path) -> None:
    """Refuses a checkpoint that can only diverge: earlier versions saved some after an infinite gradient.

    Raises:
        CheckpointError: a number of the state is not finite; names the folder `where` it comes from.
    """
    if not jax.jit(all_finite)(state):
        raise CheckpointError(
            f"The checkpoint {where} holds numbers that are not finite: training had diverged when it was saved. "
            "Delete that folder and run again to go on from the one before it, or from the start."
        )


def _remedy(recipe: Recipe) -> str:
    stage = "teacher.optim" if recipe.method.modality == "depth" else "optim"
    return (
        "Only checkpoints from before are kept. Look for bad samples, or run the same command again with a lower "
        f"--config.{stage}.learning_rate and with --new_schedule, to go on from the last of them with it."
    )
