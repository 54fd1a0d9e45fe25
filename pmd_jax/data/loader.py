"""Columns to batches on the devices: the order of the samples, and what each process brings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grain
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Int64

from pmd_jax.data.dataset import Columns
from pmd_jax.data.inputs import Batch
from pmd_jax.runtime import sharding


class Order:
    """Which samples make up a step's global batch: a pure function of (seed, step), by epochs without repetition."""

    def __init__(self, samples: int, batch: int, seed: int):
        self.samples, self.batch, self.seed = samples, batch, seed
        self._epoch, self._permutation = -1, np.empty(0, np.int64)

    def __call__(self, step: int) -> Int64[np.ndarray, " b"]:
        position = np.arange(step * self.batch, (step + 1) * self.batch)
        epochs = position // self.samples
        parts = [self._shuffled(epoch)[position[epochs == epoch] % self.samples] for epoch in np.unique(epochs)]
        return np.concatenate(parts)

    def _shuffled(self, epoch: int) -> Int64[np.ndarray, " n"]:
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
            self._epoch, self._permutation = epoch, generator.permutation(self.samples)
        return self._permutation


class TwoOrders:
    """A given share of each global batch without labels: two orders, each with epochs of its own."""

    def __init__(self, has_label: Bool[np.ndarray, " n"], batch: int, share: float, seed: int):
        unlabelled = min(max(round(share * batch), 1), batch - 1)
        parts = ((np.flatnonzero(has_label), batch - unlabelled), (np.flatnonzero(~has_label), unlabelled))
        self._parts = [(samples, Order(len(samples), count, seed)) for samples, count in parts]

    def __call__(self, step: int) -> Int64[np.ndarray, " b"]:
        return np.concatenate([samples[order(step)] for samples, order in self._parts])


def training_batches(
    columns: Columns,
    *,
    steps: int,
    batch: int,
    seed: int,
    unlabelled_share: float = 0.0,
    rows: Int64[np.ndarray, " local"] | None = None,
    finish: Callable[[Batch], Any] = lambda batch: batch,
) -> grain.DatasetIterator:
    """This process's rows of the global batches of steps 0 … steps−1, as a Grain iterator.

    Its state holds the step and nothing else, so a run can go on with another number of processes.

    Args:
        unlabelled_share: of each batch; 0 = as it comes, by one order over all samples.
        rows: of each global batch (`sharding.local_rows`); None = all.
        finish: what becomes of a batch in the reading thread, before it is asked for.
    """
    if unlabelled_share and not columns.has_label.all():
        order = TwoOrders(columns.has_label, batch, unlabelled_share, seed)
    else:
        order = Order(len(columns), batch, seed)
    mine = np.arange(batch) if rows is None else rows
    # One reading thread: the order keeps its epoch's permutation, and a gather takes half a millisecond.
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
    steps_of_run = grain.MapDataset.range(steps).map(lambda step: finish(columns.gather(order(int(step))[mine])))
    return iter(steps_of_run.to_iter_dataset(options))


def evaluation_batches(columns: Columns, batch: int, mesh: Mesh) -> Iterator[Batch]:
    """The whole split in order as global batches; the last is filled up with its first sample (index −1)."""
    rows = sharding.local_rows(mesh, batch)
    for start in range(0, len(columns), batch):
        index = start + rows
        inside = index < len(columns)
        mine = columns.gather(np.where(inside, index, start))
        yield sharding.global_array(mesh, mine._replace(index=np.where(inside, index, -1).astype(np.int32)))
