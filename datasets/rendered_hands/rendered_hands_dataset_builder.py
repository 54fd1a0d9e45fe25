"""TFDS builder of the rendered hands: nothing to download, the same samples for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, cast

import numpy as np
import tensorflow_datasets as tfds

from pmd_jax.data.prepared import prepared_features, split_batch
from pmd_jax.data.recordings import drawing_order
from pmd_jax.prepare.workers import parallel_map

from . import generate
from .view import CropFrame

BATCH = 32  # images a task: enough to fill the renderer's arrays, few enough for a smooth progress bar
BATCHES_A_SHARD = 64
_SPLITS = ("train", "test")
# TFDS gathers a split for shuffling, beyond 1 GB with TensorFlow: 21 kB a sample at 64 pixels a side. Larger ones are
# written shard by shard, in the order of the seed; training draws an order of its own.
SHUFFLED_BYTES, BYTES_A_PIXEL = 1_000_000_000, 5


@dataclass
class RenderedHandsConfig(tfds.core.BuilderConfig):
    """How many hands, and how they are drawn.

    Raises:
        ValueError: a split is empty, or the renderer refuses sizes or views.
    """

    train: int = 16_000
    test: int = 2_000
    seed: int = 0
    size: int = 64  # pixels a side of the crop
    draw_size: int = 128  # pixels a side before the reduction; a multiple of `size`
    views: str = "rhd_like"  # or "uniform": all rotations alike; or "everyday": as people hold and film hands
    style: str = "plain"  # or "photo": as pictures of hands look
    box: str = "joints"  # or "mask": the crop needs no joint
    part_of: int = 0  # of so many training samples only those that a run takes first; 0: all are drawn

    def __post_init__(self):
        for split in _SPLITS:
            if getattr(self, split) < 1:
                raise ValueError(f"{split} = {getattr(self, split)} leaves the split empty; ask for at least 1 sample.")
        _ = self.settings  # refuses what cannot be drawn before anything is written

    @property
    def train_indices(self) -> list[int]:
        """Which training samples are drawn, in rising order."""
        if not self.part_of:
            return list(range(self.train))
        return sorted(drawing_order(self.part_of)[: self.train].tolist())

    @property
    def settings(self) -> generate.Settings:
        """Checked settings of the renderer."""
        return generate.Settings(CropFrame(self.size, self.draw_size, self.box), self.views, self.style)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Rendered hands as prepared examples (`pmd_jax.data.prepared`)."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 (TFDS's own class attribute)
    BUILDER_CONFIGS = [  # noqa: RUF012
        RenderedHandsConfig(name="default", description="RHD-like views."),
        RenderedHandsConfig(name="hard", description="Views uniform on all rotations.", views="uniform"),
        RenderedHandsConfig(name="large", description="As default, with more training samples.", train=40_000),
        RenderedHandsConfig(name="mask_box", description="As default, cropped without joints.", box="mask"),
        RenderedHandsConfig(
            name="large_mask_box", description="As large, cropped without joints.", train=40_000, box="mask"
        ),
        RenderedHandsConfig(
            name="demo_mask_box",
            description="Of large_mask_box, what the demo uses.",
            train=17_000,
            part_of=40_000,
            box="mask",
        ),
        RenderedHandsConfig(
            name="photo",
            description="Hands as pictures show them; 2,000 of the training samples are meant for validation.",
            train=102_000,
            views="everyday",
            style="photo",
        ),
        RenderedHandsConfig(name="smoke", description="As default, with few samples.", train=512, test=128),
    ]

    @property
    def _config(self) -> RenderedHandsConfig:
        return cast(RenderedHandsConfig, self.builder_config)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="RGB, depth and 21 joints of CC0 hands, drawn on the CPU from a seed.",
            features=prepared_features(self._config.size),
            license="CC0 1.0 (hand mesh: MakeHuman; see LICENSE-CC0.md and NOTICE.txt)",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        del dl_manager  # nothing is fetched
        return {split: self._generate_examples(split) for split in _SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        tasks = self._tasks(split)
        for indices, batch in zip(tasks, self._batches(split, tasks), strict=True):
            yield from split_batch(batch, [f"rendered_hands/{split}/{index:06d}" for index in indices])

    def _tasks(self, split: str) -> list[list[int]]:
        config = self._config
        indices = config.train_indices if split == "train" else list(range(getattr(config, split)))
        return [indices[start : start + BATCH] for start in range(0, len(indices), BATCH)]

    def _batches(self, split: str, tasks: list[list[int]]) -> Iterator[dict[str, np.ndarray]]:
        config = self._config
        # Workers import the renderer by name, without TFDS: they start in half the time.
        draw = partial(generate.render, split_seed(config.seed, split), settings=config.settings)
        return parallel_map(
            draw,
            tasks,
            total=sum(map(len, tasks)),
            description=f"Drawing {config.name}/{split}",
            unit=" images",
        )

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        samples = max(getattr(self._config, split) for split in _SPLITS)
        by_shard = samples * self._config.size**2 * BYTES_A_PIXEL > SHUFFLED_BYTES
        base = tfds.core.ShardBasedBuilder if by_shard else tfds.core.GeneratorBasedBuilder
        base._download_and_prepare(self, dl_manager, download_config)  # pyright: ignore[reportArgumentType]

    def _shard_iterators_per_split(self, dl_manager) -> dict[str, list[Callable[[], Iterator]]]:
        del dl_manager  # nothing is fetched
        return {split: self._shards(split) for split in _SPLITS}

    def _shards(self, split: str) -> list[Callable[[], Iterator]]:
        """One generator a shard. TFDS runs them in order, so all draw from one stream of examples."""
        examples, whole = self._generate_examples(split), BATCHES_A_SHARD * BATCH
        sizes = [whole] * ((getattr(self._config, split) - 1) // whole) + [None]  # the last takes the stream to its end
        return [partial(islice, examples, size) for size in sizes]


def split_seed(seed: int, split: str) -> int:
    """A seed of its own for each (seed, split): no test sample is a training sample of any seed."""
    return len(_SPLITS) * seed + _SPLITS.index(split)
