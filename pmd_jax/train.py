"""One row's training loop: batches in, a trained state out; saves, logs and evaluates on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pmd_jax import sharding
from pmd_jax.checkpoint import CheckpointError, Checkpoints
from pmd_jax.config import Config, OptimConfig
from pmd_jax.data.pipeline import Columns, training_batches
from pmd_jax.distributed import barrier, is_primary, require_same, several
from pmd_jax.lessons import Lessons, StoredLessons
from pmd_jax.loop_step import LoopStep, all_finite
from pmd_jax.metric_writer import MetricWriter
from pmd_jax.preemption import Preempted, Stop
from pmd_jax.state import TrainState, Weights, digests
from pmd_jax.steps import Recipe
from pmd_jax.train_log import Log
from pmd_jax.train_time import TrainTime


class Trained(NamedTuple):
    """A trained row, and how fast: all parts of a run that was interrupted count, lost work once."""

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
        The final state, and how fast the steps were made.

    Raises:
        Preempted: asked to stop; a checkpoint is saved.
        Diverged: a loss, or a number of the state, is not finite; the last good checkpoint is kept.
        CheckpointError: no checkpoint could be written, or the one that is there cannot be read or gone on from.
    """
    sharding.check_batch(optim.batch, mesh, "optim.batch")
    loop = LoopStep(recipe, mesh, state, teacher, columns.gather(np.zeros(1, int)))
    data = training_batches(
        columns,
        steps=optim.steps,
        batch=optim.batch,
        seed=config.seed,
        unlabelled_share=config.data.unlabelled_share if recipe.row.unlabelled else 0.0,
        rows=sharding.local_rows(mesh, optim.batch),
        finish=loop.batch.pack,
    )
    barrier(f"the start of {name}")
    checkpoints = Checkpoints(workdir / name / "checkpoints")
    # Where the step will leave it: a state that lies elsewhere at first would have the step compiled twice.
    if several():
        require_same("initial weights", digests(state))
    state = checkpoints.restore(sharding.replicate(mesh, state), data)
    start = int(state.step)
    require_finite(state, checkpoints.folder / str(start))
    spent = TrainTime(workdir / name / "train_time.json", start, active=is_primary())
    writer = MetricWriter(workdir, name, start, tensorboard=config.tensorboard, active=is_primary())
    log = Log(writer, loop.names, name, start, optim, config.log_every, _remedy(recipe))
    seed = sharding.replicate(mesh, jnp.int32(config.seed))
    carry = loop.begin(state)
    resident = None if isinstance(teacher, StoredLessons) else loop.teach(teacher)
    del state  # the first step takes it away
    try:
        with log:
            for done in range(start + 1, optim.steps + 1):
                batch = next(data)
                taught = teacher.of_batch(batch.index, mesh) if isinstance(teacher, StoredLessons) else resident
                carry, metrics = loop.step(carry, taught, sharding.global_array(mesh, batch.rows), seed)
                log.push(done, metrics)
                stopping = stop.reached()
                # Evaluated before it is saved: a run that is killed in between does both again.
                if validation is not None and done % config.eval_every == 0:
                    log.drain()
                    writer.write(done, validation(loop.state(carry).weights))
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
    return Trained(loop.state(carry), seconds, steps * optim.batch / seconds)


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
    stage = "teacher.optim" if recipe.row.modality == "depth" else "optim"
    return (
        "Only checkpoints from before are kept. Look for bad samples, or run the same command again with a lower "
        f"--config.{stage}.learning_rate and with --new_schedule, to go on from the last of them with it."
    )
