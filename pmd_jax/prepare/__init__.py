"""From a raw archive, or from nothing, to a prepared split: `python -m pmd_jax.prepare`.

Public: `prepare`, `register_datasets` (after which `pmd_datasets` can be imported), `builder_class`.

* `registry`, `preparation`, `cli`: which builders there are, and building one. `workers`: all cores at it.
* `raw_builder`, `archive`, `finding`: what the builders of published archives share; none of their bytes is trusted.
"""

from pmd_jax.prepare.preparation import prepare
from pmd_jax.prepare.registry import DATASETS, builder_class, register_datasets

__all__ = ["DATASETS", "builder_class", "prepare", "register_datasets"]
