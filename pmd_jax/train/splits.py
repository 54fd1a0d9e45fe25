"""The samples of a run: read once, the same on all processes and the same when the run goes on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pmd_jax.config import Config
from pmd_jax.config.backbones import CROP_SIZE_PX
from pmd_jax.config.methods import METHODS, needed_teachers
from pmd_jax.data.dataset import Columns, hold_out, place_joint_0, read_columns
from pmd_jax.data.depth_origin import is_measured
from pmd_jax.data.labels import check_depth, place_depth_origin, subsample_labels, training_subset
from pmd_jax.prepare import preparation
from pmd_jax.runtime import distributed, files
from pmd_jax.runtime.errors import ConfigError, DataError
from pmd_jax.train.teacher import Teachers

SAMPLES_FILE = "samples.json"


class Splits(NamedTuple):
    """The samples to train on, to watch (if any), and to evaluate on at the end."""

    train: Columns
    validation: Columns | None
    test: Columns


def prepare_once(config: Config) -> Path:
    """Prepares the data on one process while the others wait; returns the folder of the prepared splits."""
    data = config.data
    below = ""
    if distributed.is_primary():
        folder = preparation.prepare(
            data.dataset,
            data_dir=data.data_dir,
            manual_dir=data.manual_dir,
            dataset_config=data.dataset_config,
            allow_partial=data.allow_partial,
            allow_bad=data.allow_bad,
            crop_px=CROP_SIZE_PX,
        )
        below = str(folder.resolve().relative_to(files.given_path(data.data_dir).resolve()))
    folder = files.given_path(data.data_dir) / distributed.broadcast(below, "the preparation of the data by process 0")
    if files.wait_for_file(lambda: folder if (folder / "dataset_info.json").is_file() else None) is None:
        raise DataError(f"{folder} is not there: config.data.data_dir must be on a disk that all processes share.")
    return folder


def read_splits(config: Config, folder: Path) -> Splits:
    """The prepared splits with joint 0 where the protocol wants it, in training as in evaluation: it sets the scale."""

    def read(split: str) -> Columns:
        return place_joint_0(read_columns(folder, split), config.evaluation.joint_0)

    def placed(columns: Columns) -> Columns:
        return place_depth_origin(columns, config.data.depth_origin)

    train, validation = hold_out(read("train"), config.data)
    train = placed(subsample_labels(train, config.data.labelled, config.seed))
    validation = None if validation is None else placed(validation)
    test = validation if config.data.eval_split == "validation" else placed(read("test"))
    assert test is not None  # validate() made sure of it
    if not test.has_label.all():
        raise DataError(f"The test split of {folder} has samples without joints, which no figure can be made of.")
    return Splits(train, validation, test)


def check_labels(config: Config, train: Columns, teachers: Teachers) -> None:
    """Before anything is trained: each method has the samples it needs, and no teacher labels that they do without.

    Args:
        teachers: finished ones alone are loaded yet.

    Raises:
        InputError: see `training_subset` and `Teacher.check_labels`.
    """
    for name in config.rows:
        training_subset(METHODS[name], train)
    for teacher in teachers:
        teacher.check_labels(train)


def check_seen(config: Config, splits: Splits) -> None:
    """Before anything is trained: the methods that see depth in their evaluation have some to see.

    Raises:
        DataError: see `check_depth`.
    """
    teachers = () if config.teacher.checkpoint else needed_teachers(config.rows)
    watched = () if splits.validation is None else (("validation", splits.validation),)
    for method in {METHODS[name] for name in (*teachers, *config.rows) if METHODS[name].modality == "depth"}:
        for what, columns in (*watched, ("test", splits.test)):
            check_depth(method, columns, what)


def check_augmentation(config: Config, train: Columns) -> None:
    """Before anything is trained: the samples have what their augmentation rests on.

    Raises:
        DataError: crops are to be rotated and one has no camera matrix, so that it is not known how its pixels turn;
            or backgrounds are to be exchanged and no sample has depth, which alone tells a hand from the rest.
    """
    angle = config.augment.rotation_deg
    focal = train.K[:, [0, 1], [0, 1]]
    unknown = ~(np.isfinite(train.K).all((1, 2)) & (focal > 0).all(1))
    if angle > 0 and unknown.any():
        raise DataError(
            f"config.augment.rotation_deg = {angle:g}, but {unknown.sum()} of {len(train)} training samples have no "
            f"camera matrix K (its focal lengths are zero or not numbers), first {train.key[unknown.argmax()]}: "
            "prepare them with their K, or set config.augment.rotation_deg=0."
        )
    for name in ("background", "depth_background", "depth_sensor"):
        strength = getattr(config.augment, name)
        if strength > 0 and not train.fact("is_measured", is_measured).any():
            raise DataError(
                f"config.augment.{name} = {strength:g}, but none of the {len(train)} training samples has depth, "
                f"which tells the hand from its background: choose data with depth, or set config.augment.{name}=0."
            )


# ---- the same samples


def describe(folder: Path, splits: Splits) -> dict[str, Any]:
    """What tells these samples from others: data set, and each split's counts of samples and labels, and their hash.

    Args:
        folder: of the prepared splits: data set, configuration and version.
    """
    described: dict[str, Any] = {"data set": "/".join(folder.parts[-3:])}
    for name, columns in splits._asdict().items():
        if columns is not None:
            names = hashlib.blake2b("\n".join(columns.key).encode(), digest_size=8)
            # Other labels, or other crops around them. Joint 0 may have been moved, with the rounding of this machine.
            names.update(np.ascontiguousarray(columns.uv[:, 1:]).data)
            described[name] = f"{len(columns)} samples, {columns.has_label.sum()} labels, hash {names.hexdigest()}"
    return described


def check_same(workdir: Path, samples: dict[str, Any]) -> None:
    """Compares with the samples that the run in `workdir` was begun with, if one was.

    Args:
        samples: of `describe`.

    Raises:
        ConfigError: they are others.
    """
    path = workdir / SAMPLES_FILE
    if not path.is_file():
        return
    try:
        before = json.loads(files.read_text(path))
        changed = [f"{name}: {samples[name]} now, {before.get(name)} then" for name in samples]
        changed = [line for line, name in zip(changed, samples, strict=True) if samples[name] != before.get(name)]
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{path} is broken ({error}); delete {workdir} or name another --workdir.") from error
    if changed:
        raise ConfigError(
            f"The run in {workdir} was begun with other samples; name another --workdir, or prepare the data as they "
            "were:\n  " + "\n  ".join(changed)
        )
