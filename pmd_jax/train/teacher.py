"""A finished teacher: its folder, its weights, and the samples whose labels it has seen."""

from __future__ import annotations

from pathlib import Path

import jax

from pmd_jax.config import Config
from pmd_jax.config.methods import METHODS
from pmd_jax.models.network import Weights, build
from pmd_jax.models.saved_model import DESCRIPTION, LABELS_FILE, WEIGHTS, describe, require_readable
from pmd_jax.runtime.errors import CheckpointError
from pmd_jax.runtime.files import given_path
from pmd_jax.runtime.orbax_io import load_tree


def teacher_folder(path: str | Path, row: str, config: Config) -> Path:
    """The export folder of a finished teacher; arguments and errors as `teacher_weights`."""
    given = given_path(path)
    candidates = [given, given / "export", given / row / "export"]
    found = [(folder, describe(folder)) for folder in candidates if (folder / DESCRIPTION).is_file()]
    # A run's own export is its student; its teacher's lies one folder deeper.
    depth = [(folder, described.config) for folder, described in found if described.row == row]
    if not depth:
        raise CheckpointError(
            f"config.teacher.checkpoint = {str(path)!r}: no finished {row} there; give the folder of a run that "
            f"trained one (it holds {row}/export), or leave it empty to train one."
        )
    folder, trained = depth[0]
    if trained.evaluation.joint_0 != config.evaluation.joint_0:
        raise CheckpointError(
            f"config.evaluation.joint_0 = {config.evaluation.joint_0!r}, but the teacher of {path} was trained with "
            f"{trained.evaluation.joint_0!r}, so in other hand scales: use the same, or train a teacher."
        )
    if trained.data.depth_origin != config.data.depth_origin:
        raise CheckpointError(
            f"config.data.depth_origin = {config.data.depth_origin!r}, but the teacher of {path} was trained with "
            f"{trained.data.depth_origin!r}, so on other depths: use the same, or train a teacher."
        )
    return folder


def teacher_labels(path: str | Path, row: str, config: Config) -> frozenset[str] | None:
    """Keys of the samples whose labels a finished teacher was trained on; None where it does not say.

    Arguments and errors as `teacher_weights`.
    """
    listed = teacher_folder(path, row, config) / LABELS_FILE
    return frozenset(listed.read_text(encoding="utf-8", errors="replace").splitlines()) if listed.is_file() else None


def teacher_weights(path: str | Path, row: str, config: Config, sharding: jax.sharding.Sharding) -> Weights:
    """A finished teacher's weights, from its export folder or from the folder of the run that trained it.

    Args:
        path: `config.teacher.checkpoint`.
        row: the teacher's row.
        config: of this run: the teacher's architecture must be the same.
        sharding: where the weights are to live.

    Raises:
        CheckpointError: missing, truncated, not a depth teacher, or of another shape (names every differing path).
    """
    folder = teacher_folder(path, row, config)
    require_readable(folder)
    _, expected = build(config, METHODS[row], seed=0)
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), expected._asdict())
    return Weights(**load_tree(folder / WEIGHTS, abstract))
