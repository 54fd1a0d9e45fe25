"""The typed configuration tree: every field with its unit and meaning, and what combinations are refused.

A config file under `launch/` returns a `Config`; any field can be set on the command line
(`--config.optim.learning_rate=2e-4`). Defaults are the paper's, read as docs/paper.md says.
"""

# No `from __future__ import annotations` here: the command line needs the fields' types, not their names.
import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

from pmd_jax.data.hand import PALM_DATASETS, WRIST_RULES
from pmd_jax.errors import InputError
from pmd_jax.models.readings import READINGS
from pmd_jax.rows import ROWS

WITH_MASK_BOX = ("rendered_hands", "rhd", "stb")  # data sets with configurations whose crops need no joints


class ConfigError(InputError):
    """A configuration that cannot run; the message names the field, the value, the limit and the remedy."""


@dataclass
class DataConfig:
    dataset: str = "rendered_hands"  # a folder of datasets/
    dataset_config: str = "default"  # one of that builder's configurations
    data_dir: str = "data/prepared"  # where prepared splits live, in TFDS layout
    manual_dir: str = "data/raw"  # raw archives, <manual_dir>/<dataset>/
    allow_partial: bool = False  # accept an archive with fewer frames than the published one
    allow_bad: int = 0  # leave out up to this many frames of an archive that cannot be used
    train_samples: int = 0  # use this many training samples only; 0 = all
    validation: int = 0  # samples cut from the training split for choices and curves; 0 = none
    labelled: float = 0.0  # training samples that keep their labels: a number, a share below 1, or 0 = all
    unlabelled_share: float = 0.0  # of each batch, for rows that use samples without labels; 0 = as they come
    depth_origin: str = "root"  # where the depth input counts from: the true "root", or what the "map" itself shows
    eval_split: str = "test"  # what the final table reads: "test" or "validation"


@dataclass
class AugmentConfig:
    flip_horizontal: bool = False  # each crop mirrored with probability ½ (paper: both on RHD, none on STB)
    flip_vertical: bool = False
    block_size: int = 5  # K of the random block replacement, pixels (paper: RHD 5, STB 14)
    block_probability: float = 0.5
    box_shift: float = 0.0  # the student's crop moves by up to this share of its side each way (not in the paper)
    box_scale: float = 1.0  # … and shows up to this many times as much, or as little
    light: float = 0.0  # its colours are scaled by up to exp(± this) each and shifted by up to half of it


@dataclass
class ModelConfig:
    width: int = 64  # channels of the first stage; the feature has 8 · width values
    blocks: tuple[int, ...] = (3, 4, 6, 3)  # basic blocks a stage; ResNet-34
    reading: str = "64/32/16/8"  # feature-map sizes: which ResNet-34 gives 8×8×512 from 64×64
    hidden_before_relu: bool = False  # f₋₂ of Eq. 3 before its ReLU instead of after it


@dataclass
class LossConfig:
    alpha: float = 100.0  # Eq. 5, weight of the regression loss
    beta: float = 0.5  # Eq. 6, weight of the first pose where there is a refine branch
    gamma: float = 100.0  # as α, where the teacher's pose stands in for a label that is not there (beyond the paper)
    lambda_feature: float = 1 / 16  # Eq. 3, λ1
    lambda_hidden: tuple[float, ...] = (5 / 16, 5 / 16, 5 / 16)  # Eq. 3, λ2–λ4 (X, Y, Z); a joint head takes their sum


@dataclass
class OptimConfig:
    steps: int = 90_000
    batch: int = 64  # global, over all devices
    learning_rate: float = 1e-4
    schedule: str = "step"  # "step": × decay_factor at each of decay_steps; "cosine": to zero after the last step
    decay_steps: tuple[int, ...] = (60_000,)
    decay_factor: float = 0.1
    warmup_steps: int = 0  # linear from zero
    weight_decay: float = 5e-4
    decoupled: bool = False  # False: L2 added to the gradient (PyTorch's Adam); True: AdamW


@dataclass
class TeacherConfig:
    checkpoint: str = ""  # a finished depth teacher (its run folder or export); "" = train one in this run
    optim: OptimConfig = field(default_factory=OptimConfig)  # stage I
    start: str = "same"  # its initial weights: the "same" numbers as its student's, or drawn "apart"
    # What it says of each sample and flip is computed once: "on", "off", or "auto": where that takes it fewer passes.
    cache: str = "auto"
    cache_device_mb: int = 2048  # up to this size a copy lies on each device; a larger table is read from its file


@dataclass
class EvaluationConfig:
    """The protocol: what a reported figure means. `metrics.protocol_name` says it in words beside every figure."""

    joint_0: str = "as_labelled"  # or STB's palm made a wrist, in training too: "wrist_from_ring", "wrist_from_middle"
    count_root: bool = True  # all 21 joints count (the root's error is that of the network's own root), or 20
    auc_from_mm: float = 20.0
    auc_to_mm: float = 50.0
    auc_points: int = 31  # equally spaced thresholds, ends included; 31 is one a millimetre


@dataclass
class Config:
    name: str = "default"  # the run's folder under runs/ unless --workdir says otherwise
    rows: tuple[str, ...] = ("depth_teacher", "rgb_baseline", "pmd_net")  # what to train, in order (rows.py)
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)  # stage II
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    # Of the convolutions: "float32", "bfloat16", or "auto": bfloat16 on accelerators, float32 on the CPU. Products of
    # float32 are float32 everywhere, not TF32 or bfloat16, unless JAX_DEFAULT_MATMUL_PRECISION chooses otherwise.
    compute_dtype: str = "auto"
    eval_batch: int = 256
    eval_every: int = 0  # steps between evaluations on the validation samples; 0 = never
    checkpoint_every: int = 1000  # steps
    log_every: int = 50  # steps between lines of metrics.jsonl
    tensorboard: bool = True


def validate(config: Config) -> None:
    """Refuses what cannot run, before anything is written.

    Raises:
        ConfigError: the first field that is out of range, with its value, the limit and the remedy.
    """
    size = 64
    block_limit = size // 2
    optims = (("optim", config.optim), ("teacher.optim", config.teacher.optim))
    _require(len(config.rows) > 0, "rows", config.rows, "name at least one row")
    for row in config.rows:
        _require(row in ROWS, "rows", row, f"choose from {', '.join(ROWS)}")
    _require(len(set(config.rows)) == len(config.rows), "rows", config.rows, "name each row once")
    _require(
        1 <= config.augment.block_size <= block_limit,
        "augment.block_size",
        config.augment.block_size,
        f"a block and its right neighbour must fit in {size} px: choose 1 to {block_limit}",
    )
    probability = config.augment.block_probability
    _require(0 <= probability <= 1, "augment.block_probability", probability, "choose 0 to 1")
    for name, low, high in (("box_shift", 0, 0.1), ("box_scale", 1, 1.25), ("light", 0, 1)):
        value = getattr(config.augment, name)
        _require(low <= value <= high, f"augment.{name}", value, f"choose {low} to {high}")
    _require(config.model.reading in READINGS, "model.reading", config.model.reading, f"choose from {list(READINGS)}")
    _require(config.model.width >= 1, "model.width", config.model.width, "choose 1 or more (the paper: 64)")
    blocks_ok = len(config.model.blocks) == 4 and min(config.model.blocks) >= 1
    _require(blocks_ok, "model.blocks", config.model.blocks, "give four numbers of blocks, each 1 or more")
    _require(len(config.loss.lambda_hidden) == 3, "loss.lambda_hidden", config.loss.lambda_hidden, "give X, Y and Z")
    for name in ("alpha", "beta", "gamma", "lambda_feature"):
        value = getattr(config.loss, name)
        _require(_is_weight(value), f"loss.{name}", value, "choose a number ≥ 0")
    weights_ok = all(_is_weight(value) for value in config.loss.lambda_hidden)
    _require(weights_ok, "loss.lambda_hidden", config.loss.lambda_hidden, "choose numbers ≥ 0")
    for name, choices in (("cache", ("auto", "on", "off")), ("start", ("same", "apart"))):
        value = getattr(config.teacher, name)
        _require(value in choices, f"teacher.{name}", value, f"choose from {', '.join(choices)}")
    budget = config.teacher.cache_device_mb
    _require(budget >= 0, "teacher.cache_device_mb", budget, "choose 0 (none on the devices) or more")
    for where, optim in optims:
        _validate_optim(where, optim)
    _validate_evaluation(config.evaluation, config.data.dataset)
    _validate_labels(config)
    split = config.data.eval_split
    _require(split in ("test", "validation"), "data.eval_split", split, "choose test or validation")
    _require(config.data.train_samples >= 0, "data.train_samples", config.data.train_samples, "choose 0 (all) or more")
    _require(config.eval_every >= 0, "eval_every", config.eval_every, "choose 0 (never) or more")
    _require(0 <= config.seed < 2**31, "seed", config.seed, "choose 0 to 2³¹−1")
    _require(config.name.isidentifier(), "name", config.name, "it names a folder: letters, digits and underscores")
    _require(config.data.allow_bad >= 0, "data.allow_bad", config.data.allow_bad, "choose 0 (strict) or more")
    held_out = config.data.validation
    _require(held_out >= 0, "data.validation", held_out, "choose 0 or more")
    needs_held_out = split == "validation" or config.eval_every > 0
    _require(held_out > 0 or not needs_held_out, "data.validation", held_out, "eval_every and eval_split need samples")
    dtypes = ("auto", "float32", "bfloat16")
    _require(config.compute_dtype in dtypes, "compute_dtype", config.compute_dtype, f"choose from {dtypes}")
    for name in ("eval_batch", "checkpoint_every", "log_every"):
        _require(getattr(config, name) >= 1, name, getattr(config, name), "choose 1 or more")


def _is_weight(value: float) -> bool:
    return math.isfinite(value) and value >= 0


def _validate_optim(where: str, optim: OptimConfig) -> None:
    _require(optim.steps >= 1, f"{where}.steps", optim.steps, "choose 1 or more")
    _require(optim.batch >= 2, f"{where}.batch", optim.batch, "batch norm needs at least 2 samples")
    rate_ok = math.isfinite(optim.learning_rate) and optim.learning_rate > 0
    _require(rate_ok, f"{where}.learning_rate", optim.learning_rate, "choose a number > 0")
    _require(optim.schedule in ("step", "cosine"), f"{where}.schedule", optim.schedule, "choose step or cosine")
    warmup_ok = 0 <= optim.warmup_steps < optim.steps
    _require(warmup_ok, f"{where}.warmup_steps", optim.warmup_steps, f"choose 0 to {optim.steps - 1}")
    drops = optim.decay_steps
    drops_ok = list(drops) == sorted(set(drops)) and all(step > optim.warmup_steps for step in drops)
    _require(drops_ok, f"{where}.decay_steps", drops, f"give rising steps after the warm-up's {optim.warmup_steps}")
    _require(_is_weight(optim.decay_factor), f"{where}.decay_factor", optim.decay_factor, "choose a number ≥ 0")
    _require(_is_weight(optim.weight_decay), f"{where}.weight_decay", optim.weight_decay, "choose a number ≥ 0")


def cropped_without_joints(dataset_config: str) -> bool:
    """Whether a data set's configuration of this name has crops that need no joints: its ending says so."""
    return dataset_config.endswith("mask_box")


def _validate_labels(config: Config) -> None:
    data = config.data
    labelled_ok = 0 <= data.labelled < 1 or (math.isfinite(data.labelled) and data.labelled == int(data.labelled) > 1)
    _require(
        labelled_ok, "data.labelled", data.labelled, "choose 2 samples or more, a share below 1, or 0 for all (not 1)"
    )
    share_ok = 0 <= data.unlabelled_share < 1
    _require(share_ok, "data.unlabelled_share", data.unlabelled_share, "choose 0 (as they come) to below 1")
    origins = ("root", "map")
    _require(data.depth_origin in origins, "data.depth_origin", data.depth_origin, f"choose from {', '.join(origins)}")
    needs_map = any(ROWS[row].unlabelled for row in config.rows)
    remedy = "a sample without labels has no root: choose map, or leave pmd_net_unlabelled out"
    _require(data.depth_origin == "map" or not needs_map, "data.depth_origin", data.depth_origin, remedy)
    around_joints = data.dataset in WITH_MASK_BOX and not cropped_without_joints(data.dataset_config)
    remedy = "its crops are made from the joints, which a sample without labels lacks: choose one that ends in mask_box"
    _require(not (needs_map and around_joints), "data.dataset_config", data.dataset_config, remedy)


def _validate_evaluation(protocol: EvaluationConfig, dataset: str) -> None:
    choices = ("as_labelled", *WRIST_RULES)
    _require(protocol.joint_0 in choices, "evaluation.joint_0", protocol.joint_0, f"choose from {', '.join(choices)}")
    _require(
        protocol.joint_0 == "as_labelled" or dataset in PALM_DATASETS,
        "evaluation.joint_0",
        protocol.joint_0,
        f"joint 0 of {dataset} is a wrist, and only the palm centre of {', '.join(PALM_DATASETS)} can be made one: "
        "choose as_labelled",
    )
    low, high = protocol.auc_from_mm, protocol.auc_to_mm
    _require(0 <= low < math.inf, "evaluation.auc_from_mm", low, "choose a number ≥ 0")
    _require(low < high < math.inf, "evaluation.auc_to_mm", high, f"choose a number above auc_from_mm = {low:g}")
    _require(protocol.auc_points >= 2, "evaluation.auc_points", protocol.auc_points, "choose 2 (both ends) or more")


def _require(condition: bool, name: str, value: Any, remedy: str) -> None:
    if not condition:
        raise ConfigError(f"config.{name} = {value!r}: {remedy}.")


def to_dict(config: Config) -> dict[str, Any]:
    """The resolved configuration as JSON types."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def config_hash(config: Config) -> str:
    """Twelve hexadecimal digits that name this configuration in tables.

    Only what differs from the defaults counts, so that a field that is added later does not rename what was computed
    before. A default must therefore never be given another value: two computations would have one name.
    """
    changed = _changed(to_dict(config), to_dict(type(config)()))
    return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:12]


def _changed(tree: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    """The part of a `to_dict` tree that is not as in `default`."""
    return {
        name: _changed(value, default[name]) if isinstance(value, dict) else value
        for name, value in tree.items()
        if value != default[name]
    }


def from_dict(tree: dict[str, Any]) -> Config:
    """The inverse of `to_dict`; unknown fields are errors.

    Raises:
        ConfigError: a field that this version does not know.
    """
    return _build(Config, tree, "config")


def _build(cls, tree: dict[str, Any], where: str):
    if not isinstance(tree, dict):
        raise ConfigError(f"{where} = {tree!r}: a group of fields is expected.")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(tree) - set(fields))
    if unknown:
        raise ConfigError(f"{where} has unknown fields {unknown}; this version knows {sorted(fields)}.")
    default = cls()
    values = {}
    for name, value in tree.items():
        current = getattr(default, name)
        if dataclasses.is_dataclass(current):
            value = _build(type(current), value, f"{where}.{name}")
        elif isinstance(current, tuple) and isinstance(value, list | tuple):
            value = tuple(value)
        elif not isinstance(value, type(current)) and not (isinstance(current, float) and isinstance(value, int)):
            raise ConfigError(f"{where}.{name} = {value!r}: a {type(current).__name__} is expected.")
        values[name] = value
    return cls(**values)


def differences(ours: dict[str, Any], theirs: dict[str, Any], where: str = "config") -> list[str]:
    """The fields in which two `to_dict` trees differ, one line each."""
    lines = []
    for key in sorted(set(ours) | set(theirs)):
        a, b = ours.get(key, "(absent)"), theirs.get(key, "(absent)")
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differences(a, b, f"{where}.{key}")
        elif a != b:
            lines.append(f"{where}.{key}: {a!r} here, {b!r} there")
    return lines
