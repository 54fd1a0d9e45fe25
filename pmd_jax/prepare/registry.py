"""Where the data set builders lie, and which there are."""

from __future__ import annotations

import importlib
import sys
import types

from pmd_jax.runtime.errors import InputError
from pmd_jax.runtime.packaged import packaged

DATASETS = packaged("datasets")


def register_datasets() -> None:
    """Makes `datasets/` importable as `pmd_datasets`, wherever it lies.

    A package called `datasets` would hide Hugging Face's, so the folder has no `__init__.py` and is mounted under a
    name of our own. Worker processes call this first (`initializer=`), for they unpickle functions by module name.
    """
    if "pmd_datasets" not in sys.modules:
        package = types.ModuleType("pmd_datasets")
        package.__path__ = [str(DATASETS)]
        package.__file__ = str(DATASETS / "__init__.py")  # TFDS looks for a builder's folder by it
        sys.modules["pmd_datasets"] = package


def builder_class(name: str):
    """The TFDS builder class of `datasets/<name>`.

    Raises:
        InputError: there is no such data set.
    """
    register_datasets()
    if not (DATASETS / name / f"{name}_dataset_builder.py").is_file():
        known = ", ".join(sorted(p.parent.name for p in DATASETS.glob("*/*_dataset_builder.py")))
        raise InputError(f"Unknown data set {name!r}. Known: {known}.")
    return importlib.import_module(f"pmd_datasets.{name}.{name}_dataset_builder").Builder
