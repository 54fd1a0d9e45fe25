"""Saving and going on: Orbax checkpoints of a training run, and of a network's weights alone."""

from __future__ import annotations

import errno
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grain
import jax
from orbax.checkpoint import v1 as ocp

from pmd_jax import digest
from pmd_jax.distributed import barrier, broadcast
from pmd_jax.errors import InputError
from pmd_jax.files import free_name
from pmd_jax.plain_paths import plain_path
from pmd_jax.state import TrainState

T = TypeVar("T")
ITEMS = ("state", "data")  # of a training checkpoint


class CheckpointError(InputError):
    """A checkpoint that is missing, broken or of another network; the message names the folder and the remedy."""


class BrokenCheckpoint(CheckpointError):
    """Its bytes are not those that were saved, or nothing can be made of them."""

    def __init__(self, where: Path, error: Exception):
        self.fault = f"{where} is broken or truncated ({_first_line(error)})"
        super().__init__(f"The checkpoint {self.fault}; copy it again, or delete it and run again.")


class Checkpoints:
    """The last two checkpoints of one row's training: the state and the position in the data, saved together.

    Orbax finalises a checkpoint only when all of it is on disk, so a run that is killed inside a save goes on from the
    one before. Each carries the checksums of its files (`digest`), written before it is finalised. Saving returns as
    soon as the arrays are copied; the next save waits for it.
    """

    def __init__(self, folder: Path):
        self.folder = folder.absolute()
        self._open = ExitStack()  # as long as Orbax may write
        self._path = self._open.enter_context(plain_path(self.folder, create=True))
        context = _context()
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
            f"No checkpoint could be written to {self.folder} ({_first_line(error)}). The last good one is kept: "
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
            with _load_errors(where, has_sums):
                saved = ocp.checkpointables_metadata(path).metadata["state"]
            require_same_tree(saved, state, where)
            return has_sums

        def load() -> dict[str, Any]:
            with _load_errors(where, has_sums):
                return ocp.load_checkpointables(path, {"state": _abstract(state), "data": data.get_state()})

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


def _context() -> ocp.Context:
    """Each array is written whole, from one device.

    Orbax would have every device write a slice of it, which for a network of some megabytes saves nothing, and costs a
    program to be compiled for each shape and place.
    """
    context = ocp.Context()
    context.array.saving.use_replica_parallel = False
    return context


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


@contextmanager
def _load_errors(where: Path, has_sums: bool) -> Iterator[None]:
    """What Orbax raises while it loads, as ours. Files that are what was saved are not broken, whatever it says."""
    try:
        yield
    except jax.errors.JaxRuntimeError:  # not the disk: another process is lost
        raise
    except Exception as error:
        if not has_sums:
            raise BrokenCheckpoint(where, error) from error
        raise CheckpointError(
            f"{where} could not be loaded ({_first_line(error)}), though its files are what was saved: is there memory?"
        ) from error


def require_whole(folder: Path) -> bool:
    """Compares a folder's files with the checksums that were written with them; whether there are any.

    Raises:
        BrokenCheckpoint: they differ.
        CheckpointError: a file cannot be read.
    """
    try:
        return digest.check(folder)
    except digest.Damaged as error:
        raise BrokenCheckpoint(folder, error) from error
    except OSError as error:
        if error.errno == errno.EIO:  # the disk itself says that it has lost the bytes
            raise BrokenCheckpoint(folder, error) from error
        raise CheckpointError(f"{folder} cannot be read ({error}); ask its owner for the right to read it.") from error


def save_tree(folder: Path, tree: Any) -> None:
    """Writes a tree of arrays to `folder`, replacing what is there.

    Raises:
        CheckpointError: it cannot be written.
    """
    try:
        with plain_path(folder.absolute(), create=True) as path, _context():
            ocp.save(path, tree, overwrite=True)
    except jax.errors.JaxRuntimeError:  # not the disk: another process is lost
        raise
    except Exception as error:  # see Checkpoints.wait
        raise CheckpointError(
            f"{folder} could not be written ({_first_line(error)}); make room and run again."
        ) from error


def load_tree(folder: Path, like: Any) -> Any:
    """Reads what `save_tree` wrote, with the shapes and shardings of `like` (arrays or `jax.ShapeDtypeStruct`).

    Raises:
        CheckpointError: it is missing or broken, or its tree is another one (every differing path is named).
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise CheckpointError(f"There is no checkpoint in {folder}; name the folder of a finished run or export.")
    with plain_path(folder) as path:
        try:
            saved = ocp.metadata(path).metadata
        except jax.errors.JaxRuntimeError:  # not the disk: another process is lost
            raise
        except Exception as error:
            raise BrokenCheckpoint(folder, error) from error
        require_same_tree(saved, like, folder)
        try:
            return ocp.load(path, _abstract(like))
        except jax.errors.JaxRuntimeError:  # not the disk: another process is lost
            raise
        except Exception as error:
            raise BrokenCheckpoint(folder, error) from error


def require_same_tree(saved: Any, expected: Any, where: Path) -> None:
    """Compares paths, shapes and dtypes before anything is loaded.

    Raises:
        CheckpointError: they differ; every differing path is named.
    """
    theirs, ours = _leaves(saved), _leaves(expected)
    if not theirs:  # Orbax gives no metadata for arrays that it cannot read
        raise BrokenCheckpoint(where, ValueError("it holds no arrays that can be read"))
    lines = [
        f"  {path}: {theirs.get(path, 'absent')} in the checkpoint, {ours.get(path, 'absent')} in this network"
        for path in sorted(set(theirs) | set(ours))
        if theirs.get(path) != ours.get(path)
    ]
    if lines:
        raise CheckpointError(
            f"The checkpoint {where} holds another network ({len(lines)} of {len(ours)} arrays differ); "
            "use the configuration it was trained with:\n" + "\n".join(lines)
        )


def _leaves(tree: Any) -> dict[str, str]:
    """ "path" → "shape dtype"; dictionary keys, positions and field names all count as plain names, as Orbax has it."""
    leaves = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        names = [str(getattr(entry, "key", getattr(entry, "idx", getattr(entry, "name", "")))) for entry in path]
        leaves["/".join(names)] = f"{tuple(leaf.shape)} {jax.numpy.dtype(leaf.dtype).name}"
    return leaves


def _abstract(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(x, "sharding", None)), tree)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
