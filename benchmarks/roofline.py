"""How near a step comes to what the machine can do: work counted by layers, measured peaks, where the time goes."""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import flops, jax_step
from benchmarks.measure import peak_bytes_per_s, peak_flops_per_s
from pmd_jax.config.methods import METHODS
from pmd_jax.models.network import compute_dtype
from pmd_jax.runtime.timing import by_turns

ROW = "pmd_net"
NAMED = 8  # costs that the profile names


def measure(size: jax_step.Size, seconds: float) -> dict[str, Any]:
    """The step's work by our count and by XLA's, the peaks, the least time, and the share of it that is reached."""
    row, dtype = METHODS[ROW], compute_dtype(size.config.compute_dtype)
    work = flops.step_cost(size.config.model, row, METHODS["depth_teacher"], size.batch, jnp.dtype(dtype).itemsize)
    peaks = {"flops_per_s": peak_flops_per_s(dtype), "bytes_per_s": peak_bytes_per_s()}
    job = jax_step.training(size.config, ROW, size.batch)
    step_s = by_turns({"ours": job}, seconds=seconds)["ours"]
    least_s = work.roofline_seconds(**peaks)
    counted_by_xla = job.lowered().cost_analysis() or {}
    return {
        "batch": size.batch,
        "dtype": str(dtype),
        "flops": work.flops,
        "bytes": work.bytes,
        "xla_flops": counted_by_xla.get("flops"),
        "peaks": peaks,
        "roofline_s": least_s,
        "step_s": step_s,
        "share_of_roofline": least_s / step_s,
        "share_of_peak_flops": work.flops / step_s / peaks["flops_per_s"],
        "profile": profile(job),
    }


def profile(job: Callable[[], Any]) -> list[dict[str, Any]]:
    """The costliest operations of one step, as XLA names them, with their share of all operations' time."""
    job()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            job()
        seconds = _seconds_by_operation(next(Path(folder).rglob("*.xplane.pb")))
    total = sum(seconds.values())
    ranked = sorted(seconds.items(), key=lambda item: -item[1])[:NAMED]
    return [{"operation": name, "seconds": spent, "share": spent / total} for name, spent in ranked]


def _seconds_by_operation(trace: Path) -> dict[str, float]:
    """Time in each kind of XLA operation, summed over threads; numbered copies of one kind count together."""
    found: dict[str, float] = defaultdict(float)
    for plane in jax.profiler.ProfileData.from_file(str(trace)).planes:
        for line in plane.lines:
            for event in line.events:
                if any(name == "hlo_op" for name, _ in event.stats):
                    found[re.sub(r"[.\d]+$", "", event.name)] += event.duration_ns / 1e9
    return dict(found)
