"""A study: a base configuration and its variants; what each variant runs, and what names a run."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pmd_jax.config import (
    AugmentConfig,
    Config,
    DataConfig,
    LossConfig,
    OptimConfig,
    TeacherConfig,
    config_hash,
    validate,
)
from pmd_jax.config.methods import METHODS
from pmd_jax.config.presets import with_fields
from pmd_jax.config.schema import SEEN_BY_TEACHERS
from pmd_jax.runtime.errors import ConfigError


@dataclass
class Variant:
    """One line of a table.

    Attributes:
        row: the network, one of `config.methods`.
        title: as the paper names it.
        changes: fields of the configuration that differ from the base, by their command-line name: {"loss.beta": 0.1}.
        published: the paper's figure on each data set ("paper" where it names none), in the study's unit.
    """

    row: str
    title: str
    changes: dict[str, Any] = field(default_factory=dict)
    published: dict[str, float] = field(default_factory=dict)


class Probe(NamedTuple):
    """The variants whose layers are compared: what of the teacher's the student has, and what it could have without."""

    teacher: str
    student: str
    baseline: str  # saw no teacher


@dataclass
class Study:
    """A table: its variants on one data set.

    Attributes:
        name: of the launch file and of the JSON file.
        title: of the section in RESULTS.md.
        short_title: of its parts, where it differs.
        dataset: one of presets.DATASETS.
        base: what all variants share.
        variants: lines of the table, by name; differences are taken to the first.
        figure: what the table shows: "epe_mm" of trained networks, or "ms_per_image" of untrained ones.
        note: what a reader should know.
        heading_level: of the section in RESULTS.md.
        error_bars: RESULTS.md shows the error along each axis and of each joint.
        differences: RESULTS.md draws each variant's difference to the first.
        pck_curves: the variants whose PCK curves it shows (Figure 6).
        poses: the variants whose poses of a few test hands are recorded and shown (Figure 7).
        probe: the variants whose layers are compared (`layer_probe`), if any are.
    """

    name: str
    title: str
    dataset: str
    base: Config
    variants: dict[str, Variant]
    figure: str = "epe_mm"
    note: str = ""
    short_title: str = ""
    heading_level: int = 2
    error_bars: bool = False
    differences: bool = False
    pck_curves: tuple[str, ...] = ()
    poses: tuple[str, ...] = ()
    probe: Probe | None = None

    @property
    def command(self) -> str:
        """What measures it, but for the number of seeds."""
        return f"python -m pmd_jax.study --config=launch/paper/{self.name}.py:{self.dataset}"


# ---- what is to be run


def resolve(study: Study, name: str, seed: int) -> Config:
    """The configuration that trains one variant with one seed, without a teacher's place.

    Raises:
        ConfigError: a change names a field that there is not, or the base brings a teacher along.
    """
    if study.base.teacher.checkpoint:
        raise ConfigError(
            f"config.base.teacher.checkpoint = {study.base.teacher.checkpoint!r}: a study trains a teacher for each "
            "seed; leave it empty."
        )
    variant = study.variants[name]
    try:
        config = with_fields(study.base, variant.changes)
    except ConfigError as error:
        raise ConfigError(f"Variant {name!r} of {study.name}: {error}") from error
    config.rows, config.seed, config.name = (variant.row,), seed, variant.row
    return as_teacher(config, variant.row) if METHODS[variant.row].modality == "depth" else config


def as_teacher(config: Config, row: str) -> Config:
    """The configuration of a depth row, stage II's fields at their defaults: equal ones train the same teacher."""
    config = copy.deepcopy(config)
    config.augment = AugmentConfig(**{name: getattr(config.augment, name) for name in SEEN_BY_TEACHERS})
    config.loss, config.optim = LossConfig(distance=config.loss.distance), OptimConfig(batch=config.teacher.optim.batch)
    config.model.hidden_before_relu = False
    config.data.unlabelled_share = DataConfig().unlabelled_share
    config.rows, config.name = (row,), row
    return config


def teacher_of(config: Config) -> Config | None:
    """What trains the teacher of a configuration of one row; None where none takes part.

    It is the same whatever split its students are read on: nothing is chosen by a teacher's own figures.
    """
    teacher = METHODS[config.rows[0]].teacher
    if teacher is None:
        return None
    config = as_teacher(config, teacher)
    config.data.eval_split = "test"
    return config


def identity(config: Config) -> str:
    """Names what a configuration computes: the same for all seeds, and wherever data and teachers lie.

    Fields that the row does not read count as their defaults.
    """
    config, default, row = copy.deepcopy(config), Config(), METHODS[config.rows[0]]
    config.seed, config.name = default.seed, default.name
    config.data.data_dir, config.data.manual_dir = default.data.data_dir, default.data.manual_dir
    config.tensorboard, config.log_every = default.tensorboard, default.log_every
    config.checkpoint_every = default.checkpoint_every
    config.teacher = TeacherConfig(optim=config.teacher.optim, start=config.teacher.start)
    if not row.distils:
        config.model.hidden_before_relu = default.model.hidden_before_relu
        read = {name: getattr(config.loss, name) for name in ("alpha", "beta", "distance")}
        config.loss = replace(default.loss, **read)
        if row.modality == "rgb":
            config.teacher = TeacherConfig()
    if not row.refine:
        config.loss.beta = default.loss.beta
    if not row.imitates_maps:
        config.loss.lambda_maps = default.loss.lambda_maps
    if not row.unlabelled:
        config.loss.gamma = default.loss.gamma
        config.data.unlabelled_share = default.data.unlabelled_share
    if not row.replaces:
        config.augment.block_size = default.augment.block_size
        config.augment.block_probability = default.augment.block_probability
    return config_hash(config)


class Run(NamedTuple):
    """One network to train or to time."""

    variant: str
    config: Config
    teacher: Config | None


def plan(study: Study, seeds: int, only: list[str]) -> list[list[Run]]:
    """The runs in groups that different tasks may take: the rows that one teacher teaches are one group.

    Raises:
        ConfigError: an unknown row is named, or a configuration cannot run.
    """
    unknown = sorted(set(only) - study.variants.keys())
    if unknown:
        raise ConfigError(f"--rows={','.join(unknown)}: {study.name} has {', '.join(study.variants)}.")
    groups: dict[tuple[int, str], list[Run]] = {}
    for seed in range(seeds):
        for name in only or study.variants:
            config = resolve(study, name, seed)
            validate(config)
            teacher = teacher_of(config) if study.figure == "epe_mm" else None
            together = "" if study.figure == "ms_per_image" else identity(teacher or config)
            groups.setdefault((seed, together), []).append(Run(name, config, teacher))
    return list(groups.values())
