"""What the host spends on a step: bringing the batch, putting it on the devices, handing over the step.

    .venv/bin/python -m benchmarks.host_time    # with 1 and 8 fake CPU devices, about two minutes

Processor time of the loop's thread, so that neither the devices nor other programs count. The network is ResNet-34 with
few channels: it has all the arrays of the full-size one, and its steps are short.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import RESULTS, ROOT, jax_step
from benchmarks.measure import circumstances, machine, rounded
from launch import rendered_distill
from pmd_jax.config import Config
from pmd_jax.data.loader import training_batches
from pmd_jax.runtime import files, sharding
from pmd_jax.train.compiled_step import CompiledStep
from pmd_jax.train.step import train_step
from reference.made_up_columns import make_columns

FILE = RESULTS / "host_time.json"
DEVICES = (1, 8)
BATCHES = (64, 256, 1024)
ROW = "pmd_net"
BATCH = 64
WARM_UP, STEPS = 3, 40


def narrow() -> Config:
    """The full-size network with two channels in its first stage."""
    config = replace(rendered_distill.get_config(), augment=jax_step.FLIPS)
    return replace(config, model=replace(config.model, width=2))


def measure(config: Config, devices: int, steps: int, batch: int = BATCH) -> dict[str, Any]:
    """Milliseconds a step, medians: with each array by itself, as the loop does it on CPUs, and as on accelerators."""
    job = _Job(config, devices, batch)
    ways = {"one_by_one": job.one_by_one(), "batch_packed": job.loop(False), "all_packed": job.loop(True)}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(steps + WARM_UP):
        for name, step in ways.items():
            times[name].append(step())
    found: dict[str, Any] = {"devices": devices, "batch": batch, "state_arrays": len(jax.tree.leaves(job.state))}
    for name, spent in times.items():
        put, dispatch = (1e3 * statistics.median(part) for part in zip(*spent[WARM_UP:], strict=True))
        found[name] = {"put_ms": put, "dispatch_ms": dispatch, "host_ms": put + dispatch}
    found["host_images_per_s"] = 1e3 * batch / found["all_packed"]["host_ms"]
    return found


class _Job:
    """A network, its samples, and the ways to make a step of it."""

    def __init__(self, config: Config, devices: int, batch: int):
        self.mesh = sharding.make_mesh(jax.devices()[:devices])
        self.whole = sharding.replicated(self.mesh)
        self.recipe, self.state, teacher = jax_step.beginning(config, ROW)
        self.teacher, self.seed = jax.device_put((teacher, jnp.int32(0)), self.whole)
        self.columns, self.batch = make_columns(2 * batch), batch

    def one_by_one(self) -> Callable[[], tuple[float, float]]:
        """Nine arrays of a batch, all arrays of the state: the loop as it was."""

        def step(state, teacher, batch, seed):
            state, metrics = train_step(self.recipe, state, teacher, batch, seed)
            return state, jnp.stack(list(metrics.values()))

        jitted = jax.jit(
            step,
            in_shardings=(self.whole, None, sharding.split(self.mesh), self.whole),
            out_shardings=(self.whole, self.whole),
            donate_argnums=0,
        )
        return self._timed(jitted, self._fresh_state(), self.teacher, lambda batch: batch)

    def loop(self, packed: bool) -> Callable[[], tuple[float, float]]:
        """The loop as it is, with the state packed or not."""
        sample = self.columns.gather(np.zeros(1, int))
        loop = CompiledStep(self.recipe, self.mesh, self.state, sample, packed)
        carry, teacher = loop.begin(self._fresh_state()), loop.teach(self.teacher)
        return self._timed(loop.step, carry, teacher, lambda batch: loop.batch.pack(batch).rows)

    def _timed(self, jitted, carried, teacher, finish) -> Callable[[], tuple[float, float]]:
        batches = training_batches(self.columns, steps=10**6, batch=self.batch, seed=0, finish=finish)

        def step() -> tuple[float, float]:
            nonlocal carried
            began = time.thread_time()
            batch = sharding.global_array(self.mesh, next(batches))
            put = time.thread_time()
            carried, metrics = jitted(carried, teacher, batch, self.seed)
            done = time.thread_time()
            metrics.block_until_ready()
            return put - began, done - put

        return step

    def _fresh_state(self):
        """A copy: steps donate theirs."""
        return jax.device_put(jax.tree.map(jnp.copy, self.state), self.whole)


def main() -> None:
    """Each number of devices in a process of its own, since JAX counts them at its start."""
    rows = []
    for devices in DEVICES:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
        environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        for batch in BATCHES:
            command = [sys.executable, "-m", "benchmarks.host_time", str(devices), str(STEPS), str(batch)]
            output = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            rows.append(json.loads(output.stdout.splitlines()[-1]))
            print(json.dumps(rows[-1]))
    content = {"row": ROW, "machine": machine(), **circumstances(), "steps": STEPS, "host": rows}
    files.write_json(FILE, rounded(content))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(narrow(), *map(int, sys.argv[1:]))))
    else:
        main()
