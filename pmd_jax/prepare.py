"""Raw archive → prepared split: `python -m pmd_jax.prepare rendered_hands`."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

DATASETS = Path(__file__).resolve().parent.parent / "datasets"


def register_datasets() -> None:
    """Makes `datasets/` importable as `pmd_datasets`.

    A package called `datasets` would hide Hugging Face's, so the folder has no `__init__.py` and is mounted under a name
    of our own. Worker processes call this first (`initializer=`), for they unpickle functions by module name.
    """
    if "pmd_datasets" not in sys.modules:
        package = types.ModuleType("pmd_datasets")
        package.__path__ = [str(DATASETS)]
        sys.modules["pmd_datasets"] = package


def builder_class(name: str):
    """The TFDS builder class of `datasets/<name>`.

    Raises:
        ValueError: there is no such data set.
    """
    register_datasets()
    if not (DATASETS / name / f"{name}_dataset_builder.py").is_file():
        known = ", ".join(sorted(p.parent.name for p in DATASETS.glob("*/*_dataset_builder.py")))
        raise ValueError(f"Unknown data set {name!r}. Known: {known}.")
    return importlib.import_module(f"pmd_datasets.{name}.{name}_dataset_builder").Builder


def prepare(
    name: str,
    *,
    data_dir: str | Path = "data/prepared",
    manual_dir: str | Path = "data/raw",
    dataset_config: str = "default",
) -> Path:
    """Builds the data set unless it is there already; returns the folder TFDS keeps it in."""
    import tensorflow_datasets as tfds  # slow to import: only when something is prepared

    builder = builder_class(name)(data_dir=str(data_dir), config=dataset_config, file_format="array_record")
    builder.download_and_prepare(
        file_format="array_record",
        download_config=tfds.download.DownloadConfig(manual_dir=str(Path(manual_dir) / name)),
    )
    return Path(builder.data_dir)
