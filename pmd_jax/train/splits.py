"""The samples of a run: read once, the same on all processes and the same when the run goes on.

Of a second data set (`config.data.unlabelled`) the pairs are joined to the training samples, their labels gone as soon
as they are read. Its test split keeps its labels, which figures alone are made of.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pmd_jax.config import Config
from pmd_jax.config.backbones import CROP_SIZE_PX
from pmd_jax.config.datasets import info, scenes
from pmd_jax.config.methods import METHODS, needed_teachers
from pmd_jax.data.dataset import Columns, hold_out, place_joint_0, read_columns
from pmd_jax.data.depth_origin import is_measured
from pmd_jax.data.joined import join
from pmd_jax.data.labels import check_depth, place_depth_origin, subsample_labels, training_subset, without_labels
from pmd_jax.data.records import has_split
from pmd_jax.prepare import preparation
from pmd_jax.runtime import distributed, files
from pmd_jax.runtime.errors import ConfigError, DataError
from pmd_jax.train.teacher import Teachers

SAMPLES_FILE = "samples.json"


class Splits(NamedTuple):
    """The samples to train on, to watch (if any), and to evaluate on at the end.

    Attributes:
        unlabelled: the pairs of the second data set, which stand at the end of `train`.
        unlabelled_test: its test split, where it has one that nothing is learnt from.
    """

    train: Columns
    validation: Columns | None
    test: Columns
    unlabelled: Columns | None = None
    unlabelled_test: Columns | None = None


def prepare_once(config: Config) -> Path:
    """Prepares the data on one process while the others wait; returns the folder of the prepared splits."""
    allowed = {"allow_partial": config.data.allow_partial, "allow_bad": config.data.allow_bad}
    return _prepare(config, config.data.dataset, config.data.dataset_config, **allowed)


def prepare_unlabelled(config: Config) -> Path | None:
    """As `prepare_once`, of the second data set; None where there is none."""
    second = config.data.unlabelled
    return _prepare(config, second.dataset, second.dataset_config) if second.dataset else None


def _prepare(config: Config, dataset: str, dataset_config: str, **allowed: Any) -> Path:
    data, below = config.data, ""
    if distributed.is_primary():
        folder = preparation.prepare(
            dataset,
            data_dir=data.data_dir,
            manual_dir=data.manual_dir,
            dataset_config=dataset_config,
            crop_px=CROP_SIZE_PX,
            **allowed,
        )
        below = str(folder.resolve().relative_to(files.given_path(data.data_dir).resolve()))
    folder = files.given_path(data.data_dir) / distributed.broadcast(below, "the preparation of the data by process 0")
    if files.wait_for_file(lambda: folder if (folder / "dataset_info.json").is_file() else None) is None:
        raise DataError(f"{folder} is not there: config.data.data_dir must be on a disk that all processes share.")
    return folder


def read_splits(config: Config, folder: Path, second: Path | None = None) -> Splits:
    """The prepared splits with joint 0 where the protocol wants it, in training as in evaluation: it sets the scale.

    Args:
        folder, second: of `prepare_once` and `prepare_unlabelled`.
    """

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
    splits = Splits(train, validation, test)
    return splits if second is None else _with_unlabelled(config, second, splits)


def _with_unlabelled(config: Config, folder: Path, splits: Splits) -> Splits:
    """With the pairs of the second data set joined to the training samples.

    Raises:
        ConfigError: they are samples that the run is judged by.
    """
    data, test = config.data, None
    pairs = read_columns(folder, data.unlabelled.split)
    for what, held_out in (("validation", splits.validation), ("test", splits.test)):
        if held_out is not None and (data.dataset == data.unlabelled.dataset):
            check_apart(pairs, held_out, f"{'/'.join(folder.parts[-3:])}, split {data.unlabelled.split}", what)
    pairs = place_depth_origin(without_labels(pairs, np.ones(len(pairs), bool)), data.depth_origin)
    # Choices are made before any test split is looked at; what is learnt from is none.
    if data.eval_split == "test" and data.unlabelled.split != "test" and has_split(folder, "test"):
        test = read_columns(folder, "test")
        if info(data.unlabelled.dataset).joint_0_is_palm:
            test = place_joint_0(test, config.evaluation.joint_0)
        test = place_depth_origin(test, data.depth_origin)
    return splits._replace(train=join(splits.train, pairs), unlabelled=pairs, unlabelled_test=test)


def check_apart(pairs: Columns, held_out: Columns, source: str, what: str) -> None:
    """Refuses pairs that are samples of a held-out split: the same key, and the same joints where both have some.

    A key alone does not name a sample where a builder has several configurations. Crops may differ.
    """
    _, ours, theirs = np.intersect1d(pairs.key, held_out.key, return_indices=True)
    joints, others = pairs.xyz[ours, 1:], held_out.xyz[theirs, 1:]  # joint 0 may have been moved
    same = np.isclose(joints, others, atol=1e-5).all((1, 2)) | ~pairs.has_label[ours] | ~held_out.has_label[theirs]
    if same.any():
        raise ConfigError(
            f"config.data.unlabelled: {same.sum()} samples of {source} are of the labelled data set's {what} samples, "
            f"first {pairs.key[ours[same][0]]}: the run would learn from the pictures that it is judged by. Choose "
            "another data set or split."
        )


def check_labels(config: Config, splits: Splits, teachers: Teachers) -> None:
    """Before anything is trained: each method has the samples it needs, and no teacher labels that they do without.

    Args:
        teachers: finished ones alone are loaded yet.

    Raises:
        InputError: see `training_subset`, `Teacher.check_labels` and `Teacher.check_hidden`.
    """
    for name in config.rows:
        training_subset(METHODS[name], splits.train)
    for teacher in teachers:
        if splits.unlabelled is None:
            teacher.check_labels(splits.train)
        else:
            teacher.check_hidden(_hidden(config, splits, teacher.trained_on))


def _hidden(config: Config, splits: Splits, trained_on: str) -> list[str]:
    """Keys of the samples whose labels a run with a second data set does without; of this one, if a teacher knows it.

    Args:
        trained_on: `datasets.scenes` of the teacher's samples. Other configurations may have the same keys.
    """
    assert splits.unlabelled is not None
    second, own = config.data.unlabelled, slice(len(splits.train) - len(splits.unlabelled))
    hidden = splits.train.key[own][~splits.train.has_label[own]].tolist()
    parts = [splits.validation]
    if trained_on == scenes(second.dataset, second.dataset_config):
        parts += [splits.unlabelled, splits.unlabelled_test]
    return hidden + [key for part in parts if part is not None for key in part.key]


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
    if splits.unlabelled_test is not None:
        for method in {METHODS[name] for name in config.rows if METHODS[name].needs_depth}:
            check_depth(method, splits.unlabelled_test, "unlabelled data set's test")


def check_augmentation(config: Config, train: Columns) -> None:
    """Before anything is trained: the samples have what their augmentation rests on.

    Raises:
        DataError: crops are to be rotated, or poses to be in the axes of the crop's ray, and one has no camera matrix,
            so that it is not known how its pixels turn, or where the ray points; or backgrounds are to be exchanged and
            no sample has depth, which alone tells a hand from the rest.
    """
    angle = config.augment.rotation_deg
    focal = train.K[:, [0, 1], [0, 1]]
    unknown = ~(np.isfinite(train.K).all((1, 2)) & (focal > 0).all(1))
    frame = config.model.target_frame
    for wanted, field, value, without in (
        (angle > 0, "augment.rotation_deg", f"{angle:g}", "0"),
        (frame == "ray", "model.target_frame", repr(frame), "camera"),
    ):
        if wanted and unknown.any():
            raise DataError(
                f"config.{field} = {value}, but {unknown.sum()} of {len(train)} training samples have no camera matrix "
                f"K (its focal lengths are zero or not numbers), first {train.key[unknown.argmax()]}: prepare them "
                f"with their K, or set config.{field}={without}."
            )
    for name in ("background", "depth_background", "depth_sensor"):
        strength = getattr(config.augment, name)
        if strength > 0 and not train.fact("is_measured", is_measured).any():
            raise DataError(
                f"config.augment.{name} = {strength:g}, but none of the {len(train)} training samples has depth, "
                f"which tells the hand from its background: choose data with depth, or set config.augment.{name}=0."
            )


# ---- the same samples


def describe(folder: Path, splits: Splits, second: Path | None = None) -> dict[str, Any]:
    """What tells these samples from others: data set, and each split's counts of samples and labels, and their hash.

    Args:
        folder, second: of the prepared splits: data set, configuration and version.
    """
    described: dict[str, Any] = {"data set": "/".join(folder.parts[-3:])}
    if second is not None:
        described["unlabelled data set"] = "/".join(second.parts[-3:])
    for name, columns in splits._asdict().items():
        if columns is not None:
            names = hashlib.blake2b("\n".join(columns.key).encode(), digest_size=8)
            # Other labels, or other crops around them. Joint 0 may have been moved, with the rounding of this machine.
            names.update(np.ascontiguousarray(columns.uv[:, 1:]).data)
            if name == "unlabelled":  # no pixels of joints tell its crops: their cameras and depths do
                names.update(np.ascontiguousarray(columns.K).data)
                names.update(np.ascontiguousarray(columns.depth_origin_m).data)
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
