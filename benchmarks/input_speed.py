"""Prepared data to batches on the device, against PyTorch's DataLoader over the same crops as PNG files."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks import jax_step
from pmd_jax.data.dataset import Columns
from pmd_jax.data.loader import training_batches
from pmd_jax.runtime import sharding

BATCH, WORKERS = 64, 2
WARM_UP = 10  # batches
PNG_SAMPLES = 2048  # enough for a DataLoader's steady state; ours reads the whole split


def measure(columns: Columns, seconds: float) -> dict[str, Any]:
    """Samples/s of both. PyTorch's loader ends with tensors of (b, c, h, w) in the host's memory."""
    steps = 1_000_000  # more than there is time for
    mesh = sharding.make_mesh(jax.devices()[:1])
    batches = training_batches(columns, steps=steps, batch=BATCH, seed=0)
    ready = (jax.block_until_ready(sharding.global_array(mesh, host)) for host in batches)
    samples_per_s = {"ours": BATCH * _per_second(ready, seconds)}
    with tempfile.TemporaryDirectory() as folder:
        pictures = PngHands(Path(folder), columns.take(np.arange(min(PNG_SAMPLES, len(columns)))))
        loader = DataLoader(
            pictures,
            BATCH,
            shuffle=True,
            num_workers=WORKERS,
            drop_last=True,
            multiprocessing_context="spawn",
            persistent_workers=True,
        )
        samples_per_s["torch_dataloader"] = BATCH * _per_second(_forever(loader), seconds)
    return {
        "batch": BATCH,
        "samples_in_split": len(columns),
        "workers_of_dataloader": WORKERS,
        "samples_per_s": samples_per_s,
        "ratio": samples_per_s["ours"] / samples_per_s["torch_dataloader"],
    }


def _per_second(batches: Iterator[Any], seconds: float) -> float:
    """Batches a second, once the workers run."""
    for _ in range(WARM_UP):
        next(batches)
    began, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds:
        next(batches)
        count += 1
    return count / spent


def _forever(loader: DataLoader) -> Iterator[Any]:
    while True:
        yield from loader


class PngHands(Dataset):
    """The prepared crops as files, as PyTorch projects keep them: RGB and 16-bit depth; labels in memory."""

    def __init__(self, folder: Path, columns: Columns):
        self.folder, self.xyz = folder, columns.xyz
        for index, (rgb, depth) in enumerate(zip(columns.rgb[:], columns.depth[:], strict=True)):
            Image.fromarray(rgb).save(folder / f"{index}_rgb.png")
            Image.fromarray(depth).save(folder / f"{index}_depth.png")

    def __len__(self) -> int:
        return len(self.xyz)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rgb = np.array(Image.open(self.folder / f"{index}_rgb.png"))
        depth = np.array(Image.open(self.folder / f"{index}_depth.png")).astype(np.int32)
        return torch.from_numpy(rgb).permute(2, 0, 1), torch.from_numpy(depth)[None], torch.from_numpy(self.xyz[index])


def waiting(columns: Columns, size: jax_step.Size, steps: int) -> dict[str, Any]:
    """The share of the training loop's time that goes into getting its next batch.

    As in `pmd_jax.train.loop`: the device works on a step meanwhile, and metrics are read one step late. So this is an
    upper bound of how long the device waits.
    """
    job = jax_step.Training(size.config, "pmd_net", columns.gather(np.arange(size.batch)))
    batches = training_batches(columns, steps=steps, batch=size.batch, seed=0, finish=job.loop.batch.pack)
    job()
    pending, fetching, began = job.dispatch(job.batch), 0.0, time.perf_counter()
    for _ in range(steps):
        asked = time.perf_counter()
        batch = sharding.global_array(job.mesh, next(batches).rows)
        fetching += time.perf_counter() - asked
        pending, before = job.dispatch(batch), pending
        before.block_until_ready()
    pending.block_until_ready()
    spent = time.perf_counter() - began
    return {"batch": size.batch, "steps": steps, "step_s": spent / (steps + 1), "share": fetching / spent}
