"""A prepared split in memory, and what of it is held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from pmd_jax.config import DataConfig
from pmd_jax.config.backbones import CROP_SHAPE
from pmd_jax.config.datasets import info
from pmd_jax.data import column_files, cropping, hand
from pmd_jax.data.column_files import Column
from pmd_jax.data.depth_origin import in_chunks
from pmd_jax.data.inputs import Batch
from pmd_jax.data.recordings import Recordings, drawing_order
from pmd_jax.data.records import PREPARED_KEYS, REMEDY, empty_columns, read_records
from pmd_jax.runtime.errors import ConfigError, DataError

NOT_NUMBERS = "joints, pixels or intrinsics that are not numbers"


@dataclass(frozen=True, eq=False)
class Columns:
    """A split decoded once: one array a field of `Batch` (but `index`), and the samples' names.

    A sample without labels has NaN for joints and none of them visible (`pmd_jax.data.labels`).
    """

    rgb: np.ndarray | Column
    depth: np.ndarray | Column
    xyz: np.ndarray
    uv: np.ndarray
    visible: np.ndarray
    K: np.ndarray
    is_left: np.ndarray
    depth_origin_m: np.ndarray
    key: np.ndarray
    facts: Mapping[str, np.ndarray] = field(default_factory=dict)  # of the depth maps, where they are known already

    def __len__(self) -> int:
        return len(self.key)

    @classmethod
    def names(cls) -> list[str]:
        """The columns, in order."""
        return [column.name for column in fields(cls) if column.name != "facts"]

    @property
    def has_label(self) -> Bool[np.ndarray, " n"]:
        """Which samples have joints."""
        return np.asarray(np.isfinite(self.xyz).any((1, 2)))

    def gather(self, index: Int64[np.ndarray, " b"]) -> Batch:
        """The samples at `index` as one batch."""
        return Batch(*(getattr(self, name)[index] for name in Batch._fields[:-1]), index=index.astype(np.int32))

    def take(self, index: Int64[np.ndarray, " n"]) -> Columns:
        """A part of the split; its pixels are not copied."""
        parts = {name: getattr(self, name)[index] for name in self.names() if name not in column_files.PIXELS}
        facts = {name: fact[index] for name, fact in self.facts.items()}
        return Columns(_column(self.rgb).take(index), _column(self.depth).take(index), **parts, facts=facts)

    def fact(self, name: str, function: Callable[[Any], np.ndarray]) -> np.ndarray:
        """What is known of each depth map, or is found out by looking at them now."""
        return self.facts[name] if name in self.facts else in_chunks(function, self.depth)


def _size(columns: Columns) -> tuple[int, int]:
    """Width and height of the crops, pixels."""
    _, height, width, _ = columns.rgb.shape
    return width, height


def _column(column: np.ndarray | Column) -> Column:
    return column if isinstance(column, Column) else Column(column)


def read_columns(folder: Path, split: str) -> Columns:
    """A prepared split: mapped where it has column files (`column_files`), else decoded into memory (21 kB a sample).

    Raises:
        DataError: nothing is prepared there, it is of another version or truncated, or a label is not a number.
    """
    arrays = column_files.open_columns(folder, split) or _decoded(folder, split)
    missing = sorted({*PREPARED_KEYS} - set(arrays))
    if missing:
        raise DataError(f"The prepared split in {folder} lacks {missing}; {REMEDY}.")
    arrays["depth_origin_m"] = arrays["xyz"][:, hand.ROOT, 2]
    facts = {name: arrays[name] for name in column_files.FACTS if name in arrays}
    loaded = Columns(*(arrays[name] for name in Batch._fields[:-1]), key=arrays["key"], facts=facts)
    _check(loaded, folder, REMEDY)
    return loaded


def _decoded(folder: Path, split: str) -> dict[str, Any]:
    records = read_records(folder, split)
    try:
        columns: dict[str, Any] = {}
        for row, example in enumerate(records.examples):
            columns = columns or empty_columns(records, example)
            for name, column in columns.items():
                column[row] = example[name]
        return columns
    except MemoryError as error:
        raise DataError(f"The prepared split {split!r} in {folder} does not fit into memory ({error}).") from error


def _check(columns: Columns, folder: Path, remedy: str) -> None:
    """One pass over the labels, so that a bad one is named here and not met as a NaN in the loss."""
    if columns.rgb.shape[1:] != CROP_SHAPE:
        raise DataError(f"The crops in {folder} are {columns.rgb.shape[1:]}, the network takes {CROP_SHAPE}; {remedy}.")
    unlabelled = ~columns.has_label & ~columns.visible.any(1)
    with np.errstate(invalid="ignore"):
        scale = np.linalg.norm(columns.xyz[:, hand.WRIST] - columns.xyz[:, hand.ROOT], axis=-1)
        not_numbers = ~np.isfinite(columns.xyz).all((1, 2)) | ~np.isfinite(columns.uv).all((1, 2))
        faults = {
            NOT_NUMBERS: (not_numbers & ~unlabelled) | ~np.isfinite(columns.K).all((1, 2)),
            "wrist and middle MCP at one place, so no hand scale": scale == 0,
            f"a hand scale above {hand.SCALE_LIMIT_M:g} m, so joints that are not in metres": scale
            > hand.SCALE_LIMIT_M,
            "a root that is not in front of the camera": columns.xyz[:, hand.ROOT, 2] <= 0,
            "most of their visible joints outside the crop": _hand_missed(columns),
        }
    for fault, where in faults.items():
        if where.any():
            first = columns.key[np.flatnonzero(where)[0]]
            rule = "; a pair without labels has NaN for all joints and none visible" if fault == NOT_NUMBERS else ""
            raise DataError(f"{where.sum()} samples of {folder} have {fault}, first {first}{rule}; {remedy}.")


def _hand_missed(columns: Columns) -> Bool[np.ndarray, " n"]:
    """Which crops show something else than the hand, by its visible joints."""
    seen = columns.visible.sum(1)
    in_crop = (columns.visible & cropping.inside(columns.uv, _size(columns))).sum(1)
    return in_crop < cropping.MIN_IN_CROP_SHARE * seen


def place_joint_0(columns: Columns, rule: str) -> Columns:
    """The split as `config.evaluation.joint_0` wants it: as labelled, or with the palm centre made a wrist.

    Its pixel moves with it (K·xyz/z = uv stays true); the crop does not, so that the wrist may lie outside. Like STB's
    other joints it counts as visible where it lies inside the picture.
    """
    if rule == "as_labelled":
        return columns
    xyz = hand.wrist_from_palm(columns.xyz, rule)
    uv, visible = columns.uv.copy(), columns.visible.copy()
    uv[:, hand.WRIST] = hand.project(xyz[:, [hand.WRIST]], columns.K)[:, 0]
    visible[:, hand.WRIST] &= cropping.inside(uv[:, hand.WRIST], _size(columns))
    return replace(columns, xyz=xyz, uv=uv, visible=visible)


def hold_out(columns: Columns, config: DataConfig, seed: int = 0) -> tuple[Columns, Columns | None]:
    """Cuts the validation samples, all with labels, from a training split; the draw does not depend on the run's seed.

    Whole recordings are held out, or blocks of them (`pmd_jax.data.recordings`), and what remains of these is not
    trained on either.

    Raises:
        ConfigError: more samples are asked for than there are.
    """
    if config.validation == 0 and config.train_samples == 0:
        return columns, None
    order = _order(columns, config, seed)
    asked = f"config.data.validation = {config.validation} and config.data.train_samples = {config.train_samples}"
    if config.validation + max(config.train_samples, 1) > len(columns):
        raise ConfigError(f"{asked}: the training split has {len(columns)} samples; ask for fewer.")
    recordings = Recordings(columns.key.tolist())
    candidates = recordings.together(order)
    validation = candidates[columns.has_label[candidates]][: config.validation]
    if len(validation) < config.validation:
        raise ConfigError(
            f"config.data.validation = {config.validation}: the training split has {len(validation)} samples with "
            "joints; ask for fewer."
        )
    train = order[~recordings.near(validation)[order]]
    if len(train) < max(config.train_samples, 1):
        raise ConfigError(
            f"{asked}: the training split has {len(columns)} samples, and {len(train)} of them are of other recordings "
            "than those held out; ask for fewer."
        )
    if config.train_samples:
        train = train[: config.train_samples]
    return columns.take(np.sort(train)), columns.take(np.sort(validation)) if config.validation else None


def _order(columns: Columns, config: DataConfig, seed: int) -> Int64[np.ndarray, " n"]:
    """`drawing_order` of the split; where it is a part of another one (`DatasetInfo.parts`), as that one has it."""
    whole = info(config.dataset).parts.get(config.dataset_config)
    if whole is None:
        return drawing_order(len(columns), seed)
    rank = np.empty(whole, np.int64)
    rank[drawing_order(whole, seed)] = np.arange(whole)
    return np.argsort(rank[[int(key.rpartition("/")[2]) for key in columns.key]])
