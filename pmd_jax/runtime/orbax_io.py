"""A tree of arrays as an Orbax folder, and back: what is broken or of another shape is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from pmd_jax.runtime.errors import BrokenCheckpoint, CheckpointError, first_line
from pmd_jax.runtime.paths import plain_path


@contextmanager
def load_errors(where: Path, has_sums: bool) -> Iterator[None]:
    """What Orbax raises while it loads, as ours. Files that are what was saved are not broken, whatever it says."""
    try:
        yield
    except jax.errors.JaxRuntimeError:  # not the disk: another process is lost
        raise
    except Exception as error:
        if not has_sums:
            raise BrokenCheckpoint(where, error) from error
        raise CheckpointError(
            f"{where} could not be loaded ({first_line(error)}), though its files are what was saved: is there memory?"
        ) from error


def saving_context() -> ocp.Context:
    """One process writes each array whole, from one device.

    Orbax would have every device write a slice of it, which for a network of some megabytes saves nothing, and costs a
    program to be compiled for each shape and place. With several processes it does so all the same: where one process
    alone writes and its disk is full, the others wait in another of Orbax's barriers than it does.
    """
    context = ocp.Context()
    context.array.saving.use_replica_parallel = jax.process_count() > 1
    return context


def save_tree(folder: Path, tree: Any) -> None:
    """Writes a tree of arrays to `folder`, replacing what is there.

    Raises:
        CheckpointError: it cannot be written.
    """
    try:
        with plain_path(folder.absolute(), create=True) as path, saving_context():
            ocp.save(path, tree, overwrite=True)
    except jax.errors.JaxRuntimeError:  # not the disk: another process is lost
        raise
    except Exception as error:  # see Checkpoints.wait
        raise CheckpointError(
            f"{folder} could not be written ({first_line(error)}); make room and run again."
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
            return ocp.load(path, abstract(like))
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


def abstract(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(x, "sharding", None)), tree)
