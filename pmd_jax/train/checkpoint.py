"""Saving and going on: Orbax checkpoints of a training run, and of a network's weights alone."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import grain
import jax
from orbax.checkpoint import v1 as ocp

from pmd_jax.runtime import digest
from pmd_jax.runtime.digest import require_whole
from pmd_jax.runtime.distributed import barrier, broadcast
from pmd_jax.runtime.errors import BrokenCheckpoint, CheckpointError, first_line
from pmd_jax.runtime.files import free_name
from pmd_jax.runtime.orbax_io import abstract, load_errors, require_same_tree, saving_context
from pmd_jax.runtime.paths import plain_path
from pmd_jax.train.state import TrainState

T = TypeVar("T")
ITEMS = ("state", "data")  # of a training checkpoint


class Checkpoints:
    """The last two checkpoints of one method's training: the state and the position in the data, saved together.

    Orbax finalises a checkpoint only when all of it is on disk, so a run that is killed inside a save goes on from the
    one before. Each carries the checksums of its files (`digest`), written before it is finalised. Saving returns as
    soon as the arrays are copied; the next save waits for it.
    """

    def __init__(self, folder: Path):
        self.folder = folder.absolute()
        self._open = ExitStack()  # as long as Orbax may write
        self._path = self._open.enter_context(plain_path(self.folder, create=True))
        context = saving_context()
        # A function and no method: Orbax copies the context with all that hangs on it.
        context.asynchronous.post_finalization_callback = lambda: _write_digest(self.folder)
        self._checkpointer = ocp.training.Checkpointer(
            self._path,
            # Orbax annotates its own policies with a protocol that they do not meet to the letter.
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),  # pyright: ignore[reportArgumentType]
            preservation_policy=ocp.training.preservation_policies.LatestN(2),  # pyright: ignore[reportArgumentType]
            cleanup_tmp_directories=True,
            context=context,
        )
        self._saving = None
        self._failed = False
        self._last = -1  # the step of the checkpoint that was restored or saved last, the same on all processes

    def save(self, step: int, state: TrainState, data: grain.DatasetIterator) -> None:
        """Saves in the background. Call it before `data` moves on.

        Raises:
            CheckpointError: this save or the one before it could not be written (a full disk, say).
        """
        self.wait()
        if step <= self._last:
            return
        barrier(f"the checkpoint of step {step}")  # before Orbax's own, which wait on the devices
        self._last = step
        try:
            # The position is the same on every process: as plain numbers it can be read by any number of them.
            items = {"state": state, "data": data.get_state()}
            self._saving = self._checkpointer.save_checkpointables_async(step, items)
        except OSError as error:
            self._give_up(error)

    def wait(self) -> None:
        """Until the last save is on disk.

        Raises:
            CheckpointError: it could not be written.
        """
        saving, self._saving = self._saving, None
        try:
            if saving is not None:
                saving.result()
        except jax.errors.JaxRuntimeError:  # not the disk: another process is lost
            raise
        except Exception as error:  # TensorStore reports a full disk as a ValueError
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._failed = True
        raise CheckpointError(
            f"No checkpoint could be written to {self.folder} ({first_line(error)}). The last good one is kept: "
            "make room (or name another --workdir) and run the same command again to go on from it."
        ) from error

    def restore(self, state: TrainState, data: grain.DatasetIterator) -> TrainState:
        """The latest good checkpoint, with `state`'s shapes and shardings, and `data` moved to it; else `state` itself.

        Broken ones that are later than it are moved aside, which is said on stderr.

        Raises:
            CheckpointError: all are broken, or one cannot be read, or holds another network (every differing path is
                named). Nothing is moved then.
        """
        faults: dict[int, BrokenCheckpoint] = {}
        steps = sorted((checkpoint.step for checkpoint in self._checkpointer.checkpoints), reverse=True)
        while (step := broadcast(next((n for n in steps if n not in faults), -1), "the latest checkpoint")) >= 0:
            try:
                loaded = self._load(self.folder / str(step), state, data)
            except BrokenCheckpoint as error:
                faults[step] = error
                continue
            if faults:
                self._last = step
            self._set_aside(faults, step)
            data.set_state(jax.tree.map(int, loaded["data"]))
            return loaded["state"]
        if faults:
            raise CheckpointError("\n".join(str(fault) for fault in faults.values()))
        return state

    def _load(self, where: Path, state: TrainState, data: grain.DatasetIterator) -> dict[str, Any]:
        """The items of one checkpoint; fails as broken on all processes or on none."""
        path = f"{self._path}/{where.name}"

        def look() -> bool:
            has_sums = require_whole(where)
            with load_errors(where, has_sums):
                saved = ocp.checkpointables_metadata(path).metadata["state"]
            require_same_tree(saved, state, where)
            return has_sums

        def load() -> dict[str, Any]:
            with load_errors(where, has_sums):
                return ocp.load_checkpointables(path, {"state": abstract(state), "data": data.get_state()})

        # What one process can find alone comes first, on all: loading takes all of them.
        has_sums = _agreed(where, look)
        return _agreed(where, load)

    def _set_aside(self, faults: Mapping[int, BrokenCheckpoint], step: int) -> None:
        """Gives the broken checkpoints another name, so that their steps can be saved again."""
        if jax.process_index() == 0:
            for broken, error in faults.items():
                aside = free_name(self.folder / f"broken-{broken}")
                (self.folder / str(broken)).rename(aside)
                print(f"{error.fault}; moved to {aside.name}, to be deleted.", file=sys.stderr)
            print(f"Training goes on from step {step}.", file=sys.stderr, flush=True)
        barrier("broken checkpoints being moved aside")
        self._checkpointer.reload()

    def close(self) -> None:
        """Waits for the last save and lets go of the folder.

        Raises:
            CheckpointError: the last save could not be written, and no earlier call has said so.
        """
        try:
            self.wait()
        finally:
            try:
                self._checkpointer.close()
            except jax.errors.JaxRuntimeError:  # not the disk: another process is lost
                raise
            except Exception as error:  # Orbax tells of a failed save again
                if not self._failed:
                    self._give_up(error)
            if not self._failed:
                self._open.close()
            elif jax.process_index() == 0:
                self._remove_half_written()

    def _remove_half_written(self, seconds: float = 5.0) -> None:
        """Removes what a failed save left, again and again for a while: Orbax's threads may still be writing."""
        deadline = time.monotonic() + seconds
        while (left := list(self.folder.glob("*orbax-checkpoint-tmp*"))) and time.monotonic() < deadline:
            for folder in left:
                shutil.rmtree(folder, ignore_errors=True)
            time.sleep(0.1)


def _write_digest(folder: Path) -> None:
    """Orbax calls this on process 0, when all have written their files and before a checkpoint gets its own name."""
    [unfinished] = folder.glob("*orbax-checkpoint-tmp*")
    # What Orbax still writes beside these holds no numbers, and no load depends on it.
    digest.write(unfinished, ITEMS)


def _agreed(where: Path, work: Callable[[], T]) -> T:
    """What each process makes of the checkpoint `where`. Process 0 says whether it is broken.

    Raises:
        BrokenCheckpoint: on all processes, if it is broken for process 0.
        CheckpointError: for this process alone something is wrong with it; then no other checkpoint would help.
    """
    result, fault = None, None
    try:
        result = work()
    except BrokenCheckpoint as error:
        fault = error
    if broadcast(fault is not None, f"the check of {where}"):
        raise fault or BrokenCheckpoint(where, ValueError("process 0 says so"))
    if fault is not None:
        raise CheckpointError(f"{fault.fault}, but not for process 0: put the run on a disk shared by all.") from fault
    return result  # pyright: ignore[reportReturnType]
