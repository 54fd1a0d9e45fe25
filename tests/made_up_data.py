"""Writes a made-up prepared data set to disk, so that the real commands run without drawing hands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from pmd_jax.data.prepared import prepared_features, split_batch
from reference.made_up_columns import make_columns


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Takes the place of `rendered_hands` in a data folder: the same name, configurations and version."""

    name = "rendered_hands"
    pkg_dir_path = Path(__file__).parent  # TFDS would look for a package of this module's name
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012 - TFDS's own convention
        tfds.core.BuilderConfig(name=name) for name in ("smoke", "mask_box", "large_mask_box", "demo_mask_box")
    ]

    def __init__(self, labelled: frozenset[str] | None = None, seed: int = 0, **places):
        self.labelled, self.seed = labelled, seed
        super().__init__(**places)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, features=prepared_features(64))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(72, "train"), "test": self._generate_examples(20, "test")}

    def _generate_examples(self, count: int, split: str):
        columns = make_columns(count, self.seed + (split == "test"))
        if split == "train" and self.labelled is not None:
            nobodys = ~np.isin(columns.key, list(self.labelled))
            columns.xyz[nobodys], columns.uv[nobodys] = np.nan, np.nan
            columns.visible[nobodys], columns.is_left[nobodys] = False, False
        arrays = {name: getattr(columns, name) for name in columns.names()}
        # The first one's keys are the same in both splits; others have their own.
        yield from split_batch(
            arrays, [key.replace("train", f"{split}_{self.seed}" if self.seed else "train") for key in columns.key]
        )


def write_made_up_data(
    data_dir: Path, config: str = "smoke", labelled: frozenset[str] | None = None, seed: int = 0
) -> Path:
    """Prepares it under `data_dir` and returns that folder.

    Args:
        labelled: keys of the training samples that have labels; None: all.
        seed: of the training samples; the test samples have the next one.
    """
    builder = Builder(labelled, seed, data_dir=str(data_dir), config=config, file_format="array_record")
    builder.download_and_prepare(file_format="array_record")
    return data_dir
