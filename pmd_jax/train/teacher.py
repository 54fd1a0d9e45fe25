"""The frozen depth network that a student is distilled from: found and loaded once a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from pmd_jax.config import Config, ModelConfig
from pmd_jax.config.datasets import scenes
from pmd_jax.config.methods import METHODS, Method, needed_teachers
from pmd_jax.data.dataset import Columns
from pmd_jax.models.network import Network, Weights, build
from pmd_jax.models.saved_model import DESCRIPTION, LABELS_FILE, WEIGHTS, describe, require_readable
from pmd_jax.runtime import sharding
from pmd_jax.runtime.errors import CheckpointError, InputError
from pmd_jax.runtime.files import given_path
from pmd_jax.runtime.orbax_io import load_tree
from pmd_jax.runtime.packaged import find
from pmd_jax.runtime.preemption import Stop
from pmd_jax.train import teacher_cache
from pmd_jax.train.teacher_outputs import ComputedOutputs, TeacherOutputs


class Teacher(NamedTuple):
    """A finished teacher.

    Attributes:
        name: of its method.
        source: the folder that was named, for messages.
        folder: its export.
        network, weights: the weights lie whole on each device.
        labels: keys of the samples whose labels it was trained on; None where it does not say.
        model: its architecture; None: that of the run.
        trained_on: what these samples show (`datasets.scenes`).
    """

    name: str
    source: str
    folder: Path
    network: Network
    weights: Weights
    labels: frozenset[str] | None
    model: ModelConfig | None = None
    trained_on: str = ""

    def outputs_of(
        self, student: Method, columns: Columns, config: Config, mesh: Mesh, workdir: Path, stop: Stop
    ) -> TeacherOutputs:
        """What it says of the training samples: looked up in a table where that pays, else computed in each step.

        Args:
            student: whose training it is for.
            workdir: of the run; its table is kept there where it cannot lie beside the teacher.

        Raises:
            CacheError, Preempted: see `teacher_cache.table_of`.
        """
        if not teacher_cache.pays(config, student, len(columns)):
            return ComputedOutputs(self.weights, self.network)
        folder = teacher_cache.home(self.folder, workdir / self.name)
        config = config if self.model is None else replace(config, model=self.model)
        return teacher_cache.table_of(self.network, self.weights, columns, config, folder, mesh, stop)

    def check_labels(self, columns: Columns) -> None:
        """Refuses a teacher that has seen labels which the run leaves out or holds out for its choices.

        Args:
            columns: the run's training samples.

        Raises:
            InputError: it knows more labels than the run, or does not say and the run has samples without.
        """
        has_label = columns.has_label
        if self.labels is None and has_label.all():
            return
        remedy = (
            "train one with this run's data.labelled, train_samples, validation and seed, or leave "
            "config.teacher.checkpoint empty"
        )
        if self.labels is None:
            raise InputError(f"The teacher of {self.source} does not say which labels it was trained on; {remedy}.")
        foreign = sorted(self.labels - set(columns.key[has_label]))
        if foreign:
            raise InputError(
                f"The teacher of {self.source} was trained on {len(foreign)} labels that this run does not use (it has "
                f"{has_label.sum()} of {len(columns)}), first {foreign[0]}; {remedy}."
            )

    def check_hidden(self, hidden: Iterable[str]) -> None:
        """Refuses a teacher from elsewhere that has seen labels which this run does without; others are its own affair.

        Args:
            hidden: keys of the samples that the run holds out, or uses without their labels.

        Raises:
            InputError: it has seen some of them, or does not say which labels it has seen.
        """
        if self.labels is None:
            raise InputError(
                f"The teacher of {self.source} does not say which labels it was trained on: train it again, or leave "
                "config.teacher.checkpoint empty."
            )
        if seen := sorted(self.labels.intersection(hidden)):
            raise InputError(
                f"The teacher of {self.source} was trained on {len(seen)} labels of samples that this run holds out or "
                f"uses without their labels, first {seen[0]}: name another teacher, or leave config.teacher.checkpoint "
                "empty to train one."
            )


def load_teacher(source: str | Path, name: str, config: Config, where: jax.sharding.Sharding) -> Teacher:
    """A finished teacher, from its export folder or from the folder of the run that trained it.

    Args:
        source: `config.teacher.checkpoint`, or the export of a teacher that this run trained.
        name: of the teacher's method.
        config: of this run: the teacher's architecture must be the same, but for width and blocks where its feature is
            not imitated (`config.loss.lambda_feature` = 0).
        where: the weights are to live.

    Raises:
        CheckpointError: missing, truncated, not a depth teacher, or of another shape (names every differing path).
    """
    folder, trained = _find(source, name, config)
    require_readable(folder)
    model = config.model
    if config.loss.lambda_feature == 0:
        model = replace(model, width=trained.model.width, blocks=trained.model.blocks)
    network, expected = build(replace(config, model=model), METHODS[name], seed=0)
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), expected._asdict())
    weights = Weights(**load_tree(folder / WEIGHTS, abstract))
    listed = folder / LABELS_FILE
    keys = listed.read_text(encoding="utf-8", errors="replace").splitlines() if listed.is_file() else None
    labels = None if keys is None else frozenset(keys)
    trained_on = scenes(trained.data.dataset, trained.data.dataset_config)
    return Teacher(name, str(source), folder, network, weights, labels, model, trained_on)


def _find(source: str | Path, name: str, config: Config) -> tuple[Path, Config]:
    """The export folder of a finished teacher, and its configuration; arguments and errors as `load_teacher`."""
    given = find(given_path(source))
    candidates = [given, given / "export", given / name / "export"]
    found = [(folder, describe(folder)) for folder in candidates if (folder / DESCRIPTION).is_file()]
    # A run's own export is its student; its teacher's lies one folder deeper.
    of_method = [(folder, described.config) for folder, described in found if described.method == name]
    if not of_method:
        raise CheckpointError(
            f"config.teacher.checkpoint = {str(source)!r}: no finished {name} there; give the folder of a run that "
            f"trained one (it holds {name}/export), or leave it empty to train one."
        )
    folder, trained = of_method[0]
    if trained.evaluation.joint_0 != config.evaluation.joint_0:
        raise CheckpointError(
            f"config.evaluation.joint_0 = {config.evaluation.joint_0!r}, but the teacher of {source} was trained with "
            f"{trained.evaluation.joint_0!r}, so in other hand scales: use the same, or train a teacher."
        )
    if trained.data.depth_origin != config.data.depth_origin:
        raise CheckpointError(
            f"config.data.depth_origin = {config.data.depth_origin!r}, but the teacher of {source} was trained with "
            f"{trained.data.depth_origin!r}, so on other depths: use the same, or train a teacher."
        )
    if trained.model.target_frame != config.model.target_frame:
        raise CheckpointError(
            f"config.model.target_frame = {config.model.target_frame!r}, but the teacher of {source} was trained with "
            f"{trained.model.target_frame!r}, so on poses in other axes: use the same, or train a teacher."
        )
    return folder, trained


class Teachers:
    """The teachers of a run, each loaded once.

    Those of `config.teacher.checkpoint` are loaded here, before hours of preparation; those that the run trains, when
    their first student asks for them.

    Args:
        workdir: of the run.

    Raises:
        CheckpointError: see `load_teacher`.
    """

    def __init__(self, config: Config, workdir: Path, mesh: Mesh):
        self._config, self._workdir, self._where = config, workdir, sharding.replicated(mesh)
        self._loaded: dict[str, Teacher] = {}
        if config.teacher.checkpoint:
            for name in needed_teachers(config.rows):
                self._load(config.teacher.checkpoint, name)

    def __iter__(self) -> Iterator[Teacher]:
        """Those that are loaded."""
        return iter(self._loaded.values())

    def of(self, student: Method) -> Teacher | None:
        """A method's teacher, which is finished; None where none takes part. Raises as `load_teacher`."""
        if student.teacher is None:
            return None
        if student.teacher not in self._loaded:
            self._load(self._workdir / student.teacher / "export", student.teacher)
        return self._loaded[student.teacher]

    def _load(self, source: str | Path, name: str) -> None:
        self._loaded[name] = load_teacher(source, name, self._config, self._where)
