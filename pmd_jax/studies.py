"""The paper's tables as studies: which networks stand side by side, and what the paper says of each.

A study is a base configuration and its variants; `pmd_jax.study` trains all variants over several seeds. Light to
import, as `pmd_jax.presets`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pmd_jax.config import (
    AugmentConfig,
    Config,
    ConfigError,
    DataConfig,
    LossConfig,
    OptimConfig,
    TeacherConfig,
    config_hash,
    validate,
)
from pmd_jax.presets import paper
from pmd_jax.rows import ROWS

FIGURE_6 = ("depth_teacher", "rgb_baseline", "pmd_net")  # rows of table 2 whose PCK curves the figure shows


@dataclass
class Variant:
    """One line of a table.

    Attributes:
        row: the network (rows.py).
        title: as the paper names it.
        changes: fields of the configuration that differ from the base, by their command-line name: {"loss.beta": 0.1}.
        published: the paper's figure on each data set ("paper" where it names none), in the study's unit.
    """

    row: str
    title: str
    changes: dict[str, Any] = field(default_factory=dict)
    published: dict[str, float] = field(default_factory=dict)


@dataclass
class Study:
    """A table: its variants on one data set.

    Attributes:
        name: of the launch file and of the JSON file.
        title: of the section in RESULTS.md.
        dataset: one of presets.DATASETS.
        base: what all variants share.
        variants: lines of the table, by name; differences are taken to the first.
        figure: what the table shows: "epe_mm" of trained networks, or "ms_per_image" of untrained ones.
        note: what a reader should know.
    """

    name: str
    title: str
    dataset: str
    base: Config
    variants: dict[str, Variant]
    figure: str = "epe_mm"
    note: str = ""


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
    config = copy.deepcopy(study.base)
    for path, value in variant.changes.items():
        *parents, last = path.split(".")
        branch = config
        for parent in parents:
            branch = getattr(branch, parent, None)
        if not hasattr(branch, last):
            raise ConfigError(f"Variant {name!r} of {study.name} changes {path!r}, which is no field of config.py.")
        setattr(branch, last, value)
    config.rows, config.seed, config.name = (variant.row,), seed, variant.row
    return as_teacher(config, variant.row) if ROWS[variant.row].modality == "depth" else config


def as_teacher(config: Config, row: str) -> Config:
    """The configuration of a depth row, stage II's fields at their defaults: equal ones train the same teacher."""
    config = copy.deepcopy(config)
    flips = {"flip_horizontal": config.augment.flip_horizontal, "flip_vertical": config.augment.flip_vertical}
    config.augment = AugmentConfig(**flips)
    config.loss, config.optim = LossConfig(), OptimConfig(batch=config.teacher.optim.batch)
    config.model.hidden_before_relu = False
    config.data.unlabelled_share = DataConfig().unlabelled_share
    config.rows, config.name = (row,), row
    return config


def teacher_of(config: Config) -> Config | None:
    """What trains the teacher of a configuration of one row; None where none takes part.

    It is the same whatever split its students are read on: nothing is chosen by a teacher's own figures.
    """
    teacher = ROWS[config.rows[0]].teacher
    if teacher is None:
        return None
    config = as_teacher(config, teacher)
    config.data.eval_split = "test"
    return config


def identity(config: Config) -> str:
    """Names what a configuration computes: the same for all seeds, and wherever data and teachers lie.

    Fields that the row does not read count as their defaults.
    """
    config, default, row = copy.deepcopy(config), Config(), ROWS[config.rows[0]]
    config.seed, config.name = default.seed, default.name
    config.data.data_dir, config.data.manual_dir = default.data.data_dir, default.data.manual_dir
    config.tensorboard, config.log_every = default.tensorboard, default.log_every
    config.checkpoint_every = default.checkpoint_every
    config.teacher = TeacherConfig(optim=config.teacher.optim, start=config.teacher.start)
    if not row.distils:
        config.model.hidden_before_relu = default.model.hidden_before_relu
        config.loss = replace(default.loss, alpha=config.loss.alpha, beta=config.loss.beta)
        if row.modality == "rgb":
            config.teacher = TeacherConfig()
    if not row.refine:
        config.loss.beta = default.loss.beta
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


# ---- the paper's tables


def table1(dataset: str) -> Study:
    betas = {0.1: 7.26, 0.3: 7.12, 0.5: 6.92, 1.0: 6.94, 2.0: 7.16}
    variants = {"vanilla": Variant("pmd_net", "PMD-Net", published={"stb": 7.46})}
    for beta, epe_mm in betas.items():
        title = f"with refine module, β = {beta:g}"
        variants[_key(f"β = {beta:g}")] = Variant("pmd_net_refine", title, {"loss.beta": beta}, {"stb": epe_mm})
    note = "The paper does not name the table's data set; two of its figures are those of STB in its Table 2."
    return Study("table1", "Table 1: weight of the first pose", dataset, paper(dataset), variants, note=note)


def table2(dataset: str) -> Study:
    rows = ("rgb_baseline", "pmd_net_joint", "pmd_net", "pmd_net_refine", "pmd_net_refine_replace")
    variants = {row: Variant(row, ROWS[row].title, published=dict(ROWS[row].paper_epe_mm)) for row in rows}
    variants["depth_teacher"] = Variant("depth_teacher", "Depth baseline (sees depth; Figure 6)")
    return Study("table2", "Table 2: the parts of PMD-Net", dataset, paper(dataset), variants)


def table3(dataset: str) -> Study:
    published = {"pmd_net_joint": 5.90, "pmd_net": 6.01, "pmd_net_refine": 6.09}
    variants = {row: Variant(row, ROWS[row].title, published={"paper": ms}) for row, ms in published.items()}
    note = (
        "One picture at a time, from the crop in memory to the joints in memory; the time depends on the structure "
        "alone, so the networks are not trained. The paper measured on a TITAN Xp with PyTorch."
    )
    title = "Table 3: test time"
    base = paper(dataset)
    base.teacher.start = TeacherConfig().start  # nobody is taught: how a teacher starts renames no measured time
    return Study("table3", title, dataset, base, variants, figure="ms_per_image", note=note)


# ---- what the paper mentions without figures


def sweep_block_size(dataset: str) -> Study:
    values = {f"K = {size}": {"augment.block_size": size} for size in (2, 5, 8, 11, 14, 20)}
    return _sweep("sweep_block_size", "Block length K", dataset, "pmd_net_refine_replace", values)


def sweep_block_probability(dataset: str) -> Study:
    values = {f"p = {p:g}": {"augment.block_probability": p} for p in (0.0, 0.25, 0.5, 0.75, 1.0)}
    return _sweep("sweep_block_probability", "Probability of a block", dataset, "pmd_net_refine_replace", values)


def sweep_lambda(dataset: str) -> Study:
    """How strongly, and where: all four λ scaled together, f₋₂ after and before its ReLU, and each layer alone."""
    feature, hidden = 1 / 16, 5 / 16
    ways = {"λ × 0": (0.0, 0.0, False)}
    for scale in (1.0, 10.0):
        for before in (False, True):
            title = f"λ × {scale:g}, {'before' if before else 'after'} the ReLU"
            ways[title] = (scale * feature, scale * hidden, before)
    ways |= {"feature only, λ × 10": (10 * feature, 0.0, True), "hidden layers only, λ × 10": (0.0, 10 * hidden, True)}
    values = {
        title: {
            "loss.lambda_feature": feature,
            "loss.lambda_hidden": (hidden,) * 3,
            "model.hidden_before_relu": before,
        }
        for title, (feature, hidden, before) in ways.items()
    }
    return _sweep("sweep_lambda", "Weights λ of the distillation, and its place", dataset, "pmd_net", values)


def sweep_baseline(dataset: str) -> Study:
    """The paper does not say what the baseline is trained with, and L2 decay acts relative to the scale of the loss."""
    values = {
        "α · L_reg, α = 100": {"loss.alpha": 100.0},
        "plain L_reg, decayed 100 times as hard": {"loss.alpha": 1.0},
        "no weight decay": {"optim.weight_decay": 0.0},
    }
    return _sweep("sweep_baseline", "Loss scale and decay of the RGB baseline", dataset, "rgb_baseline", values)


def sweep_alpha(dataset: str) -> Study:
    values = {f"α = {alpha:g}": {"loss.alpha": alpha} for alpha in (10.0, 30.0, 100.0, 300.0, 1000.0)}
    return _sweep("sweep_alpha", "Weight α of the regression", dataset, "pmd_net", values)


TABLES: tuple[Callable[[str], Study], ...] = (table1, table2, table3)
SWEEPS: tuple[Callable[[str], Study], ...] = (
    sweep_lambda,
    sweep_alpha,
    sweep_block_size,
    sweep_block_probability,
    sweep_baseline,
)


def _sweep(name: str, title: str, dataset: str, row: str, values: Mapping[str, dict[str, Any]]) -> Study:
    """Read on validation samples: a sweep is there to choose by, and the test split is not."""
    base = paper(dataset)
    base.data.eval_split = "validation"
    base.data.validation = base.data.validation or 2000
    variants = {_key(title): Variant(row, title, changes) for title, changes in values.items()}
    return Study(name, title, dataset, base, variants, note="Read on validation samples cut from training.")


def _key(title: str) -> str:
    """A name for files and commands: "β = 0.5" → "beta_0_5"."""
    for letter, name in {"α": "alpha", "β": "beta", "λ": "lambda", "×": "times"}.items():
        title = title.replace(letter, name)
    return "_".join(re.findall(r"[a-z0-9]+", title.lower()))
