"""The paper's hyper-parameters for each data set, and what stands in for them on rendered hands.

Section 4.2 gives RHD's and STB's; docs/paper.md says what it leaves open. Light to import: configs under `launch/` and
the page of results read it without JAX.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from pmd_jax.config.schema import AugmentConfig, Config, DataConfig, LossConfig, ModelConfig, OptimConfig, TeacherConfig
from pmd_jax.runtime.errors import ConfigError

DATASETS = {
    "rhd": "RHD",
    "stb": "STB",
    "rendered": "rendered hands, two CPU cores",
    "rendered_six_minutes": "rendered hands, ResNet-34 in brief",
    "rendered_full": "rendered hands, ResNet-34",
}


def paper(dataset: str, *rows: str, name: str = "") -> Config:
    """A configuration that trains `rows` (see rows.py) on a data set, one of `DATASETS`.

    Args:
        name: of the run; "" = after the data set and the last row.

    Raises:
        ConfigError: there is no such data set.
    """
    makers = {
        "rhd": _rhd,
        "stb": _stb,
        "rendered": _rendered_cpu,
        "rendered_six_minutes": _rendered_six_minutes,
        "rendered_full": _rendered_full,
    }
    if dataset not in makers:
        raise ConfigError(f"Unknown data set {dataset!r} after the config's colon: choose from {', '.join(DATASETS)}.")
    config = makers[dataset]()
    config.name = name or "_".join([dataset, *rows[-1:]])
    config.rows = rows or config.rows
    return config


def _rhd() -> Config:
    """Adam at 1e-4, ten times lower after 60K iterations; both flips; blocks of 5 pixels."""
    return Config(
        data=DataConfig(dataset="rhd"),
        augment=AugmentConfig(flip_horizontal=True, flip_vertical=True, block_size=5),
        teacher=TeacherConfig(start="apart"),
    )


def _stb() -> Config:
    """Adam at 7e-5, ten times lower after 10K iterations; no flips; blocks of 14 pixels."""
    optim = OptimConfig(steps=15_000, learning_rate=7e-5, decay_steps=(10_000,))
    return Config(
        data=DataConfig(dataset="stb"),
        augment=AugmentConfig(block_size=14),
        optim=optim,
        teacher=TeacherConfig(optim=replace(optim), start="apart"),
    )


def _rendered_full() -> Config:
    """RHD's hyper-parameters on 40,000 rendered hands: 5.8 million images a row."""
    config = _rhd()
    config.data = DataConfig(dataset_config="large", validation=2000)
    return config


def _rendered_six_minutes() -> Config:
    """A ninth of the full schedule: 640,000 images a row, six minutes from 1,800 images a second on."""
    config = _rendered_full()
    config.optim = OptimConfig(steps=10_000, learning_rate=1e-4, decay_steps=(6_667,))
    config.teacher.optim = replace(config.optim)
    return config


def _rendered_cpu() -> Config:
    """A small network and three epochs of 16,000 hands, the demo's too: a row takes a minute or two on two cores."""
    optim = OptimConfig(steps=1500, batch=32, learning_rate=2e-3, schedule="cosine", warmup_steps=100)
    # Stage I's loss is α = 100 times smaller than stage II's, and Adam's L2 acts relative to it.
    teacher = replace(optim, weight_decay=optim.weight_decay / 100)
    return Config(
        data=DataConfig(dataset_config="large", train_samples=16_000, validation=1000),
        augment=AugmentConfig(flip_horizontal=True),
        # Before its ReLU, and ten times the paper's weights: better on validation samples (docs/findings.md).
        model=ModelConfig(width=16, blocks=(1, 1, 1, 1), reading="32/16/8/8", hidden_before_relu=True),
        loss=LossConfig(lambda_feature=10 / 16, lambda_hidden=(50 / 16,) * 3),
        optim=optim,
        teacher=TeacherConfig(optim=teacher),  # starts as its student does: the committed tables were measured so
        checkpoint_every=500,
    )


class Part(NamedTuple):
    """A part of PMD-Net plus that the configuration holds, or one that was tried for it.

    Attributes:
        title: in tables, after "with" and "without".
        changes: its fields, by their command-line name.
        chosen: it belongs to PMD-Net plus. The others made validation samples worse (results/trials_plus.json): over a
            schedule as short as that of the two cores, hands are not seen often enough for more variety to pay.
    """

    title: str
    changes: dict[str, Any]
    chosen: bool = True


def plus_parts(config: Config) -> dict[str, Part]:
    """What PMD-Net plus has beyond PMD-Net and its method's heads, and what was tried and left out.

    Args:
        config: the schedule that they are for.
    """
    # The memory of the average is a fiftieth of the schedule: long against a step's noise, short against its progress.
    decays = {
        f"{where}.ema": round(1 - min(1.0, 50 / optim.steps), 6)
        for where, optim in (("optim", config.optim), ("teacher.optim", config.teacher.optim))
    }
    return {
        "average": Part("averaged weights", decays),
        "loss": Part("the sum of the joints' errors as loss", {"loss.distance": "l1"}),
        "goals": Part("the teacher's maps and pose as goals", {"loss.lambda_maps": 10.0, "loss.lambda_pose": 30.0}),
        "ray": Part("poses in the axes of the crop's ray", {"model.target_frame": "ray"}),
        "geometry": Part(
            "rotated, scaled and shifted crops",
            {"augment.rotation_deg": 45.0, "augment.scale": 1.15, "augment.shift": 0.08},
            chosen=False,
        ),
        "background": Part("hands before other backgrounds", {"augment.background": 0.5}, chosen=False),
        "colour": Part("other colours, blur and noise", {"augment.colour": 0.3}, chosen=False),
    }


def plus_changes(config: Config) -> dict[str, Any]:
    """The fields of all parts that were chosen, by their command-line name."""
    return {
        field: value for part in plus_parts(config).values() if part.chosen for field, value in part.changes.items()
    }


def plus(dataset: str, *rows: str, name: str = "") -> Config:
    """As `paper`, with all parts of PMD-Net plus."""
    config = paper(dataset, *rows, name=name)
    return with_fields(config, plus_changes(config))


def with_fields(config: Config, changes: Mapping[str, Any]) -> Config:
    """A copy of a configuration with other values of some fields, given by their command-line name ("loss.beta").

    Raises:
        ConfigError: there is no such field.
    """
    config = copy.deepcopy(config)
    for path, value in changes.items():
        *parents, last = path.split(".")
        branch = config
        for parent in parents:
            branch = getattr(branch, parent, None)
        if not hasattr(branch, last):
            raise ConfigError(f"{path!r} is no field of a configuration; docs/configuration.md lists them.")
        setattr(branch, last, value)
    return config


def label_free_inputs(config: Config) -> Config:
    """The configuration with crops and depth inputs that need no joints, as for samples that have none."""
    crops = {"default": "mask_box", "large": "large_mask_box"}
    config.data.dataset_config, config.data.depth_origin = crops[config.data.dataset_config], "map"
    return config


def scale_schedule(config: Config, times: int) -> Config:
    """A configuration with schedules, the teacher's too, that are `times` as long; a warm-up stays as it is."""

    def last(optim: OptimConfig) -> OptimConfig:
        return replace(optim, steps=times * optim.steps, decay_steps=tuple(times * step for step in optim.decay_steps))

    return replace(config, optim=last(config.optim), teacher=replace(config.teacher, optim=last(config.teacher.optim)))
