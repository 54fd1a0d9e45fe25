"""How time and memory grow: with the batch, the data, the network's width, and the devices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks import ROOT, flops, jax_step
from pmd_jax.config import Config
from pmd_jax.config.methods import METHODS
from pmd_jax.data.dataset import Columns
from pmd_jax.data.loader import training_batches
from pmd_jax.runtime.timing import by_turns
from reference.made_up_columns import make_batch

ROW = "pmd_net"
MEGA = 1e6


def with_batch(config: Config, batches: Sequence[int], seconds: float) -> list[dict[str, Any]]:
    """A step's time and XLA's plan of its memory."""
    return [{"batch": batch, **_step(config, batch, seconds)} for batch in batches]


def with_width(config: Config, widths: Sequence[int], batch: int, seconds: float) -> list[dict[str, Any]]:
    """The same for networks of the same depth and other widths; the work beside it, as it does not grow alike."""
    rows = []
    for width in widths:
        wider = replace(config, model=replace(config.model, width=width))
        work = flops.step_cost(wider.model, METHODS[ROW], METHODS["depth_teacher"], batch, itemsize=4)
        parameters = flops.parameters(flops.layers(wider.model, METHODS[ROW]))
        rows.append({"width": width, "parameters": parameters, "flops": work.flops, **_step(wider, batch, seconds)})
    return rows


def _step(config: Config, batch: int, seconds: float) -> dict[str, float]:
    job = jax_step.training(config, ROW, batch)
    step_s = by_turns({"ours": job}, seconds=seconds)["ours"]
    plan = job.lowered().compile().memory_analysis()
    assert plan is not None
    return {
        "step_s": step_s,
        "images_per_s": batch / step_s,
        "state_mb": plan.argument_size_in_bytes / MEGA,
        "temporary_mb": plan.temp_size_in_bytes / MEGA,
    }


def with_data(columns: Columns, times: Sequence[int], batch: int, seconds: float) -> list[dict[str, Any]]:
    """Reading batches of data sets that are 1×, 2× … as large: a step's own time does not depend on their size."""
    rows = []
    for factor in times:
        larger = columns.take(np.tile(np.arange(len(columns)), factor))
        batches = training_batches(larger, steps=1_000_000, batch=batch, seed=0)
        batch_s = by_turns({"ours": lambda batches=batches: next(batches)}, seconds=seconds)["ours"]
        size = sum(getattr(larger, name).nbytes for name in larger.names() if name != "key")  # Python strings
        rows.append(
            {"samples": len(larger), "memory_mb": size / MEGA, "batch_s": batch_s, "samples_per_s": batch / batch_s}
        )
    return rows


def with_devices(devices: Sequence[int], batch: int, seconds: float) -> list[dict[str, Any]]:
    """One global batch on 1, 2 … devices, each in a process of its own.

    On the CPU these are fake devices that share the cores: their number can only cost, and what it costs is shown.
    """
    rows = []
    for count in devices:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
        command = [sys.executable, "-m", "benchmarks.sweeps", str(count), str(batch), str(seconds)]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True, text=True, check=True
        )
        rows.append({"devices": count, **json.loads(done.stdout.splitlines()[-1])})
    return rows


def _on_devices(count: int, batch: int, seconds: float) -> dict[str, float]:
    job = jax_step.Training(jax_step.sizes()["demo"].config, ROW, make_batch(batch), devices=count)
    step_s = by_turns({"ours": job}, seconds=seconds)["ours"]
    return {"step_s": step_s, "images_per_s": batch / step_s}


if __name__ == "__main__":
    print(json.dumps(_on_devices(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
