"""Training speed on whatever accelerator is there, in eight minutes at most, and without a network:

    python -m benchmarks.accelerator            # writes benchmarks/results/accelerator_<hardware>.json
    python -m benchmarks.accelerator --tiny     # the same on the smallest network: does it work here?

Needs this checkout and jax, flax, optax, numpy, jaxtyping; PyTorch is measured where it is installed and sees the same
kind of device. Each piece is written as it ends; pieces for which no time is left are left out, and the file says so.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import RESULTS, flops, jax_step, roofline
from benchmarks.measure import machine, peak_bytes_per_s, peak_flops_per_s, record, rounded, slug
from pmd_jax.config import Config, ModelConfig
from pmd_jax.config.methods import METHODS
from pmd_jax.data.inputs import Batch
from pmd_jax.models.network import compute_dtype
from pmd_jax.runtime.timing import by_turns
from pmd_jax.train.step import train_step
from reference.made_up_columns import make_batch

ROW = "pmd_net"
SCANNED = 8  # steps a dispatch


class Plan(NamedTuple):
    """What is measured, and how long at most."""

    config: Config
    batches: Sequence[int]  # growth; the last is also measured with a scan and against PyTorch
    samples: Sequence[int]  # resident on the device
    peak_side: int
    seconds: float  # on one comparison
    minutes: float  # on all


def full_plan() -> Plan:
    config = jax_step.sizes()["full"].config
    return Plan(config, (16, 64, 256, 512, 1024), (8_192, 81_920), peak_side=8192, seconds=5, minutes=8)


def tiny_plan() -> Plan:
    config = jax_step.sizes()["demo"].config
    config = replace(config, model=ModelConfig(width=4, blocks=(1, 1, 1, 1), reading="32/16/8/8"))
    return Plan(config, (4, 8), (16, 32), peak_side=256, seconds=0.1, minutes=8)


# ---- programs


class Steps:
    """Our training step on data that are resident on the device; a call makes `count` updates and waits for the last.

    Args:
        count: steps a call, in one dispatch if `scanned`, else one dispatch each.
        samples: resident ones, of which each step takes its batch by index; 0 = one batch, used again and again.
    """

    def __init__(
        self, config: Config, row: str, batch: int, *, count: int = 1, scanned: bool = False, samples: int = 0
    ):
        recipe, state, teacher = jax_step.beginning(config, row)
        data = make_batch(samples or batch)
        self.state, self.teacher, self.data = jax.device_put((state, teacher, data))
        self.indices = jnp.arange(count * batch).reshape(count, batch) % len(data.rgb)
        one = functools.partial(train_step, recipe)

        def step(state, teacher, data: Batch, index: jax.Array):
            chosen = jax.tree.map(lambda column: column[index], data) if samples else data
            state, metrics = one(state, teacher, chosen, jnp.int32(0))
            return state, metrics["loss"]

        def scan(state, teacher, data: Batch, indices: jax.Array):
            return jax.lax.scan(lambda state, index: step(state, teacher, data, index), state, indices)

        self.jitted = jax.jit(scan if scanned else step, donate_argnums=0)
        self.scanned = scanned

    def __call__(self) -> None:
        for index in [self.indices] if self.scanned else self.indices:
            self.state, loss = self.jitted(self.state, self.teacher, self.data, index)
        loss.block_until_ready()

    def lowered(self) -> jax.stages.Lowered:
        index = self.indices if self.scanned else self.indices[0]
        return self.jitted.lower(self.state, self.teacher, self.data, index)


def torch_programs(plan: Plan, batch: int) -> dict[str, Callable[[], None]]:
    """The same step in PyTorch, eager and compiled; none where it is not installed or sees no such device."""
    try:
        import torch
    except ImportError:
        return {}
    if jax.default_backend() == "gpu" and not torch.cuda.is_available():
        return {}
    from benchmarks import torch_step

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    config = replace(plan.config, compute_dtype=str(compute_dtype(plan.config.compute_dtype)))
    make = functools.partial(torch_step.training, config, ROW, make_batch(batch), device=device)
    return {"pytorch_eager": make(), **({"pytorch_compiled": make(compiled=True)} if device == "cuda" else {})}


# ---- pieces


def pieces(plan: Plan) -> Iterator[tuple[str, Callable[[dict[str, Any]], Any]]]:
    """Name and measurement; each is given what was measured before it. The most wanted come first."""
    largest = plan.batches[-1]
    yield "peaks", lambda found: _peaks(plan)
    for batch in reversed(plan.batches):
        yield f"step_{batch}", functools.partial(_step, plan, batch)
        if batch == largest:
            yield "pytorch", lambda found: _against_pytorch(plan, largest)
            yield "dispatch", lambda found: _dispatch(plan)
            yield "baseline", lambda found: _baseline(plan, largest)
            yield "profile", lambda found: roofline.profile(Steps(plan.config, ROW, largest))
    yield "resident_data", lambda found: _resident(plan)
    if jax.default_backend() != "cpu":
        yield "float32", lambda found: _float32(plan)


def _peaks(plan: Plan) -> dict[str, float]:
    dtype = compute_dtype(plan.config.compute_dtype)
    return {
        "flops_per_s": peak_flops_per_s(dtype, plan.peak_side),
        "bytes_per_s": peak_bytes_per_s(2048 if plan.peak_side > 1024 else 64),
    }


def _step(plan: Plan, batch: int, found: dict[str, Any]) -> dict[str, Any]:
    """Time, share of the roofline, and memory."""
    job = Steps(plan.config, ROW, batch, count=5)
    step_s = by_turns({"ours": job}, seconds=plan.seconds)["ours"] / 5
    dtype = jnp.dtype(compute_dtype(plan.config.compute_dtype))
    work = flops.step_cost(plan.config.model, METHODS[ROW], METHODS["depth_teacher"], batch, dtype.itemsize)
    least_s = work.roofline_seconds(**found["peaks"])
    memory = job.lowered().compile().memory_analysis()
    return {
        "batch": batch,
        "dtype": str(dtype),
        "step_s": step_s,
        "images_per_s": batch / step_s,
        "flops": work.flops,
        "roofline_s": least_s,
        "share_of_roofline": least_s / step_s,
        "share_of_peak_flops": work.flops / step_s / found["peaks"]["flops_per_s"],
        "xla_flops": (job.lowered().cost_analysis() or {}).get("flops"),
        "temporary_mb": memory.temp_size_in_bytes / 1e6 if memory else None,
    }


def _against_pytorch(plan: Plan, batch: int) -> dict[str, Any]:
    others = torch_programs(plan, batch)
    if not others:
        return {"left_out": "PyTorch is not installed or sees no such device"}
    step_s = by_turns({"ours": Steps(plan.config, ROW, batch), **others}, seconds=3 * plan.seconds)
    return {"batch": batch, "step_s": step_s, "ratio": {name: step_s[name] / step_s["ours"] for name in others}}


def _dispatch(plan: Plan) -> dict[str, Any]:
    """Several steps a dispatch against one: what the host costs, at the smallest batch, where it costs most."""
    batch = plan.batches[0]
    programs = {
        "one": Steps(plan.config, ROW, batch, count=SCANNED, samples=plan.samples[0]),
        "scanned": Steps(plan.config, ROW, batch, count=SCANNED, scanned=True, samples=plan.samples[0]),
    }
    call_s = by_turns(programs, seconds=plan.seconds)
    return {"batch": batch, "steps": SCANNED, "step_s": {name: spent / SCANNED for name, spent in call_s.items()}}


def _baseline(plan: Plan, batch: int) -> dict[str, Any]:
    """What the teacher's forward pass adds to the RGB baseline's step."""
    programs = {row: Steps(plan.config, row, batch, count=2) for row in ("rgb_baseline", ROW)}
    call_s = by_turns(programs, seconds=plan.seconds)
    return {"batch": batch, "uncached_over_baseline": call_s[ROW] / call_s["rgb_baseline"]}


def _resident(plan: Plan) -> list[dict[str, Any]]:
    """Steps whose batches are gathered on the device, from data sets of growing size."""
    rows = []
    for samples in plan.samples:
        job = Steps(plan.config, ROW, plan.batches[-2], count=2, samples=samples)
        step_s = by_turns({"ours": job}, seconds=plan.seconds)["ours"] / 2
        megabytes = sum(column.nbytes for column in job.data) / 1e6
        rows.append({"samples": samples, "batch": plan.batches[-2], "step_s": step_s, "resident_mb": megabytes})
    return rows


def _float32(plan: Plan) -> dict[str, Any]:
    """The same step in float32: what bfloat16 gains."""
    batch = plan.batches[-2]
    configs = {dtype: replace(plan.config, compute_dtype=dtype) for dtype in ("float32", "bfloat16")}
    call_s = by_turns({name: Steps(config, ROW, batch) for name, config in configs.items()}, seconds=plan.seconds)
    return {"batch": batch, "step_s": call_s, "ratio": call_s["float32"] / call_s["bfloat16"]}


# ---- the command


def measure(plan: Plan, path: Path) -> dict[str, Any]:
    """All pieces for which there is time; the file is written after each."""
    began, found = time.perf_counter(), {}
    for name, piece in pieces(plan):
        spent = time.perf_counter() - began
        if spent > 60 * plan.minutes * 0.85:  # a piece takes a minute at most, most of it compilation
            found[name] = {"left_out": f"{spent:.0f} s were over"}
        else:
            try:
                found[name] = piece(found)
            except Exception as error:  # out of memory, a missing compiler: the other pieces still count
                found[name] = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
        print(f"{time.perf_counter() - began:5.0f} s  {name}: {json.dumps(rounded(found[name]))[:200]}", flush=True)
        record(path, accelerator=found)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="the smallest network; prints, keeps nothing in results/")
    parser.add_argument("--out", type=Path, help="where to write; benchmarks/results/accelerator_<hardware>.json")
    options = parser.parse_args()
    plan = tiny_plan() if options.tiny else full_plan()
    name = f"accelerator_{slug(machine())}.json"
    path = options.out or (Path("build") / name if options.tiny else RESULTS / name)
    measure(plan, path)
    print(f"Written: {path}")


if __name__ == "__main__":
    main()
