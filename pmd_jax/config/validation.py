"""Which configurations are refused, before anything is written."""

from __future__ import annotations

import math
from typing import Any

from pmd_jax.config.backbones import BACKBONES, CROP_SIZE_PX
from pmd_jax.config.datasets import KNOWN, WRIST_RULES, cropped_around_joints, info
from pmd_jax.config.methods import METHODS
from pmd_jax.config.schema import TARGET_FRAMES, Config, EvaluationConfig, OptimConfig
from pmd_jax.runtime.errors import ConfigError

_AROUND_JOINTS = (
    "its crops are made from the joints, which a sample without labels lacks: choose one that ends in mask_box"
)
_AUGMENT_LIMITS = {
    "box_shift": (0, 0.1),
    "box_scale": (1, 1.25),
    "light": (0, 1),
    "rotation_deg": (0, 180),
    "scale": (1, 1.5),
    "shift": (0, 0.25),
    "background": (0, 1),
    "colour": (0, 1),
    "depth_background": (0, 1),
    "depth_sensor": (0, 1),
}


def validate(config: Config) -> None:
    """Refuses what cannot run, before anything is written.

    Raises:
        ConfigError: the first field that is out of range, with its value, the limit and the remedy.
    """
    block_limit = CROP_SIZE_PX // 2
    optims = (("optim", config.optim), ("teacher.optim", config.teacher.optim))
    _require(len(config.rows) > 0, "rows", config.rows, "name at least one row")
    for row in config.rows:
        _require(row in METHODS, "rows", row, f"choose from {', '.join(METHODS)}")
    _require(len(set(config.rows)) == len(config.rows), "rows", config.rows, "name each row once")
    _require(
        1 <= config.augment.block_size <= block_limit,
        "augment.block_size",
        config.augment.block_size,
        f"a block and its right neighbour must fit in {CROP_SIZE_PX} px: choose 1 to {block_limit}",
    )
    probability = config.augment.block_probability
    _require(0 <= probability <= 1, "augment.block_probability", probability, "choose 0 to 1")
    for name, (low, high) in _AUGMENT_LIMITS.items():
        value = getattr(config.augment, name)
        _require(low <= value <= high, f"augment.{name}", value, f"choose {low} to {high}")
    _require(config.model.reading in BACKBONES, "model.reading", config.model.reading, f"choose from {list(BACKBONES)}")
    _require(config.model.width >= 1, "model.width", config.model.width, "choose 1 or more (the paper: 64)")
    frame = config.model.target_frame
    _require(frame in TARGET_FRAMES, "model.target_frame", frame, f"choose from {TARGET_FRAMES}")
    blocks_ok = len(config.model.blocks) == 4 and min(config.model.blocks) >= 1
    _require(blocks_ok, "model.blocks", config.model.blocks, "give four numbers of blocks, each 1 or more")
    _require(len(config.loss.lambda_hidden) == 3, "loss.lambda_hidden", config.loss.lambda_hidden, "give X, Y and Z")
    for name in ("alpha", "beta", "gamma", "lambda_feature", "lambda_maps", "lambda_pose"):
        value = getattr(config.loss, name)
        _require(_is_weight(value), f"loss.{name}", value, "choose a number ≥ 0")
    weights_ok = all(_is_weight(value) for value in config.loss.lambda_hidden)
    _require(weights_ok, "loss.lambda_hidden", config.loss.lambda_hidden, "choose numbers ≥ 0")
    distances = ("l2", "l1")
    _require(config.loss.distance in distances, "loss.distance", config.loss.distance, f"choose from {distances}")
    for name, choices in (("cache", ("auto", "on", "off")), ("start", ("same", "apart"))):
        value = getattr(config.teacher, name)
        _require(value in choices, f"teacher.{name}", value, f"choose from {', '.join(choices)}")
    _validate_cache(config)
    budget = config.teacher.cache_device_mb
    _require(budget >= 0, "teacher.cache_device_mb", budget, "choose 0 (none on the devices) or more")
    for where, optim in optims:
        _validate_optim(where, optim)
    _validate_evaluation(config.evaluation, config.data.dataset)
    _validate_labels(config)
    _validate_second(config)
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


def _validate_cache(config: Config) -> None:
    """A table of a teacher's outputs has an entry for each flip; of other changes there are too many."""
    changes = [f"config.augment.{name} = {value:g}" for name, value in config.augment.beyond_flips().items()]
    remedy = (
        f"with {' and '.join(changes)} the teacher never sees a sample twice alike, so its outputs cannot be looked "
        "up: choose auto or off, or leave these at their defaults"
    )
    _require(config.teacher.cache != "on" or not changes, "teacher.cache", config.teacher.cache, remedy)
    imitates_maps = config.loss.lambda_maps > 0 and any(METHODS[row].imitates_maps for row in config.rows)
    remedy = "the teacher's maps (loss.lambda_maps) are not kept in the cache: choose auto or off"
    _require(config.teacher.cache != "on" or not imitates_maps, "teacher.cache", config.teacher.cache, remedy)


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
    ema_ok = 0 <= optim.ema < 1
    _require(ema_ok, f"{where}.ema", optim.ema, "choose 0 (no average) to below 1 (0.999: about the last 1,000 steps)")
    _require(_is_weight(optim.weight_decay), f"{where}.weight_decay", optim.weight_decay, "choose a number ≥ 0")


def _validate_labels(config: Config) -> None:
    data = config.data
    labelled_ok = 0 <= data.labelled < 1 or (math.isfinite(data.labelled) and data.labelled == int(data.labelled) > 1)
    _require(
        labelled_ok, "data.labelled", data.labelled, "choose 2 samples or more, a share below 1, or 0 for all (not 1)"
    )
    share_ok = 0 <= data.unlabelled_share < 1
    _require(share_ok, "data.unlabelled_share", data.unlabelled_share, "choose 0 (as they come) to below 1")
    origins = ("root", "map", "front")
    _require(data.depth_origin in origins, "data.depth_origin", data.depth_origin, f"choose from {', '.join(origins)}")
    needs_map = any(METHODS[row].unlabelled for row in config.rows)
    remedy = "a sample without labels has no root: choose map or front, or leave pmd_net_unlabelled out"
    _require(data.depth_origin != "root" or not needs_map, "data.depth_origin", data.depth_origin, remedy)
    around_joints = cropped_around_joints(data.dataset, data.dataset_config)
    _require(not (needs_map and around_joints), "data.dataset_config", data.dataset_config, _AROUND_JOINTS)


def _validate_second(config: Config) -> None:
    """Nothing of the second data set may rest on joints; and who starts from a finished network sees RGB."""
    data, second = config.data, config.data.unlabelled
    _require(second.split in ("train", "test"), "data.unlabelled.split", second.split, "choose train or test")
    is_there = second.dataset != ""
    remedy = f"the pairs of {second.dataset} are used without their labels and have no root: choose map or front"
    _require(data.depth_origin != "root" or not is_there, "data.depth_origin", data.depth_origin, remedy)
    around_joints = cropped_around_joints(second.dataset, second.dataset_config)
    _require(not around_joints, "data.unlabelled.dataset_config", second.dataset_config, _AROUND_JOINTS)
    same = (second.dataset, second.dataset_config, second.split) == (data.dataset, data.dataset_config, "train")
    remedy = "these samples are the labelled ones: name another data set; config.data.labelled leaves labels out"
    _require(not same, "data.unlabelled.dataset", second.dataset, remedy)
    has_student = any(METHODS[row].modality == "rgb" for row in config.rows)
    remedy = "students begin with it, and config.rows has none: add one, or leave it empty"
    _require(has_student or config.start_from == "", "start_from", config.start_from, remedy)


def _validate_evaluation(protocol: EvaluationConfig, dataset: str) -> None:
    choices = ("as_labelled", *WRIST_RULES)
    _require(protocol.joint_0 in choices, "evaluation.joint_0", protocol.joint_0, f"choose from {', '.join(choices)}")
    with_palm = ", ".join(name for name, known in KNOWN.items() if known.joint_0_is_palm)
    _require(
        protocol.joint_0 == "as_labelled" or info(dataset).joint_0_is_palm,
        "evaluation.joint_0",
        protocol.joint_0,
        f"joint 0 of {dataset} is a wrist, and only the palm centre of {with_palm} can be made one: choose as_labelled",
    )
    low, high = protocol.auc_from_mm, protocol.auc_to_mm
    _require(0 <= low < math.inf, "evaluation.auc_from_mm", low, "choose a number ≥ 0")
    _require(low < high < math.inf, "evaluation.auc_to_mm", high, f"choose a number above auc_from_mm = {low:g}")
    _require(protocol.auc_points >= 2, "evaluation.auc_points", protocol.auc_points, "choose 2 (both ends) or more")


def _require(condition: bool, name: str, value: Any, remedy: str) -> None:
    if not condition:
        raise ConfigError(f"config.{name} = {value!r}: {remedy}.")
