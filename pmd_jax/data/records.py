"""A prepared split's records, decoded one by one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pmd_jax.runtime.errors import DataError
from pmd_jax.runtime.files import read_text

PREPARED_KEYS = ("rgb", "depth", "xyz", "uv", "visible", "K", "is_left", "key")  # of every data set
REMEDY = "delete the folder and prepare it again with `python -m pmd_jax.prepare`"


class Records(NamedTuple):
    """How many examples a split has, and the examples themselves."""

    count: int
    examples: Iterator[Mapping[str, Any]]


def read_records(folder: Path, split: str) -> Records:
    """The examples of a prepared split, in its order; text as `str`.

    Raises:
        DataError: nothing is prepared there, or it is truncated or empty; also while the examples are read.
    """
    import tensorflow_datasets as tfds  # one second to import: not for those who only predict

    if not hasattr(tfds, "builder_from_directory"):  # it keeps the errors of its own import to itself
        raise ImportError("TensorFlow Datasets could not be imported; python -c 'import tensorflow_datasets' says why.")
    try:
        source = tfds.builder_from_directory(folder).as_data_source(split)  # pyright: ignore[reportCallIssue] (a decorator hides its parameters)
        count = len(source)
    except Exception as error:
        raise _said(folder, split, error) from error
    if not count:
        raise DataError(f"The prepared split {split!r} in {folder} is empty; {REMEDY}.")

    def examples() -> Iterator[Mapping[str, Any]]:
        try:
            for example in source:
                yield {name: value.decode() if isinstance(value, bytes) else value for name, value in example.items()}
        except Exception as error:
            raise _said(folder, split, error) from error

    return Records(count, examples())


def has_split(folder: Path, split: str) -> bool:
    """Whether a prepared data set has a split of this name, and samples in it; by its description alone."""
    described = json.loads(read_text(folder / "dataset_info.json"))
    return any(
        one["name"] == split and any(map(int, one.get("shardLengths", ()))) for one in described.get("splits", ())
    )


def empty_columns(records: Records, example: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Room in memory for all records, a column a field."""
    types = {name: object if isinstance(value, str) else np.asarray(value).dtype for name, value in example.items()}
    return {name: np.empty((records.count, *np.shape(example[name])), kind) for name, kind in types.items()}


def _said(folder: Path, split: str, error: Exception) -> DataError:
    """TFDS, array_record and zlib each have their own errors; all mean the same to the user."""
    if isinstance(error, MemoryError):
        return DataError(f"The prepared split {split!r} in {folder} does not fit into memory ({error}).")
    if (closed := _without_permission(folder)) is not None:
        return DataError(f"{closed} may not be read by you: change its permissions.")
    return DataError(f"The prepared split {split!r} in {folder} cannot be read ({error}); {REMEDY}.")


def _without_permission(folder: Path) -> Path | None:
    """What of a prepared folder this user may not read; libraries say so in words of their own, or not at all."""
    for parent in reversed(folder.absolute().parents):  # from the top: nothing can be asked about what lies below one
        if parent.is_dir() and not os.access(parent, os.X_OK):
            return parent
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        return folder
    return next((path for path in folder.glob("*") if not os.access(path, os.R_OK)), None)
