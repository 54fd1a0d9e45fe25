"""Saving and going on: Orbax checkpoints of a training run, and of a network's weights alone."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import grain
import jax
from orbax.checkpoint import v1 as ocp

from pmd_jax.errors import InputError
from pmd_jax.state import TrainState


class CheckpointError(InputError):
    """A checkpoint that is missing, broken or of another network; the message names the folder and the remedy."""


class Checkpoints:
    """The last two checkpoints of one row's training: the state and the position in the data, saved together.

    Orbax finalises a checkpoint only when all of it is on disk, so a run that is killed inside a save goes on from the
    one before. Saving returns as soon as the arrays are copied; the next save waits for it.
    """

    def __init__(self, folder: Path):
        self.folder = folder.absolute()
        self._checkpointer = ocp.training.Checkpointer(
            str(self.folder),
            # Orbax annotates its own policies with a protocol that they do not meet to the letter.
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),  # pyright: ignore[reportArgumentType]
            preservation_policy=ocp.training.preservation_policies.LatestN(2),  # pyright: ignore[reportArgumentType]
            cleanup_tmp_directories=True,
        )
        self._saving = None
        self._failed = False

    def save(self, step: int, state: TrainState, data: grain.DatasetIterator) -> None:
        """Saves in the background. Call it before `data` moves on.

        Raises:
            CheckpointError: this save or the one before it could not be written (a full disk, say).
        """
        self.wait()
        if self._checkpointer.latest is not None and self._checkpointer.latest.step >= step:
            return
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
        except Exception as error:  # TensorStore reports a full disk as a ValueError
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._failed = True
        raise CheckpointError(
            f"No checkpoint could be written to {self.folder} ({_first_line(error)}). The last good one is kept: "
            "make room (or name another --workdir) and run the same command again to go on from it."
        ) from error

    def restore(self, state: TrainState, data: grain.DatasetIterator) -> TrainState:
        """The latest checkpoint, with `state`'s shapes and shardings, and `data` moved to it; else `state` itself.

        Raises:
            CheckpointError: it is broken, or holds another network (every differing path is named).
        """
        latest = self._checkpointer.latest
        if latest is None:
            return state
        where = self.folder / str(latest.step)
        try:
            saved = self._checkpointer.checkpointables_metadata(latest).metadata["state"]
        except Exception as error:
            raise _broken(where, error) from error
        require_same_tree(saved, state, where)
        try:
            items = {"state": _abstract(state), "data": data.get_state()}
            loaded = self._checkpointer.load_checkpointables(latest, items)
        except Exception as error:
            raise _broken(where, error) from error
        data.set_state(jax.tree.map(int, loaded["data"]))
        return loaded["state"]

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
            except Exception as error:  # Orbax tells of a failed save again
                if not self._failed:
                    self._give_up(error)
            if self._failed and jax.process_index() == 0:
                self._remove_half_written()

    def _remove_half_written(self, seconds: float = 5.0) -> None:
        """Removes what a failed save left, again and again for a while: Orbax's threads may still be writing."""
        deadline = time.monotonic() + seconds
        while (left := list(self.folder.glob("*orbax-checkpoint-tmp*"))) and time.monotonic() < deadline:
            for folder in left:
                shutil.rmtree(folder, ignore_errors=True)
            time.sleep(0.1)


def save_tree(folder: Path, tree: Any) -> None:
    """Writes a tree of arrays to `folder`, replacing what is there.

    Raises:
        CheckpointError: it cannot be written.
    """
    try:
        ocp.save(str(folder.absolute()), tree, overwrite=True)
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
    try:
        saved = ocp.metadata(str(folder)).metadata
    except Exception as error:
        raise _broken(folder, error) from error
    require_same_tree(saved, like, folder)
    try:
        return ocp.load(str(folder), _abstract(like))
    except Exception as error:
        raise _broken(folder, error) from error


def require_same_tree(saved: Any, expected: Any, where: Path) -> None:
    """Compares paths, shapes and dtypes before anything is loaded.

    Raises:
        CheckpointError: they differ; every differing path is named.
    """
    theirs, ours = _leaves(saved), _leaves(expected)
    if not theirs:  # Orbax gives no metadata for arrays that it cannot read
        raise _broken(where, ValueError("it holds no arrays that can be read"))
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


def _broken(where: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"The checkpoint {where} is broken or truncated ({_first_line(error)}); delete it and run again."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
