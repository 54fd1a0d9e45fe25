"""What was tried to make the demo's training step faster on CPUs: flags of XLA, devices, processes.

    .venv/bin/python -m benchmarks.step_flags    # five minutes on two cores

Each way runs in processes of its own, which take turns. With "processes" > 1 each is held to a core, and their
images/s are added up: students of a run that need nothing of each other, side by side.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from typing import Any, NamedTuple

from benchmarks import RESULTS, ROOT
from benchmarks.measure import record
from pmd_jax.runtime.cores import usable_cores

FILE = RESULTS / "step_flags.json"
TURNS, SECONDS = 3, 6


class Way(NamedTuple):
    """How the step is run."""

    flags: str = ""
    devices: int = 1
    processes: int = 1


def ways(cores: int) -> list[Way]:
    flags = (
        "--xla_cpu_prefer_vector_width=512",
        "--xla_cpu_enable_fast_math=true",
        "--xla_cpu_use_thunk_runtime=false",
        "--xla_cpu_enable_concurrency_optimized_scheduler=true",
    )
    return [Way(), Way(devices=cores), *(Way(flag, cores) for flag in flags), Way(processes=cores)]


def images_per_s(way: Way) -> float:
    """All processes of one turn together."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": way.flags,
        "JAX_NUM_CPU_DEVICES": str(way.devices),
    }
    command = [sys.executable, "-m", "benchmarks.step_flags", "one"]
    started = [
        subprocess.Popen(
            command + ([str(core)] if way.processes > 1 else []),
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for core in range(way.processes)
    ]
    return sum(float(process.communicate()[0].splitlines()[-1]) for process in started)


def one(core: int | None) -> float:
    """Images/s of this process, the teacher's outputs from a table."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    import jax

    from benchmarks import jax_step
    from pmd_jax.runtime.timing import by_turns
    from reference.made_up_columns import make_batch

    size = jax_step.sizes()["demo"]
    step = jax_step.Training(size.config, "pmd_net", make_batch(size.batch), jax.device_count(), cached=True)
    return size.batch / by_turns({"step": step}, seconds=SECONDS)["step"]


def main() -> None:
    tried = ways(usable_cores())
    found: dict[Way, list[float]] = {way: [] for way in tried}
    for _ in range(TURNS):
        for way in tried:
            found[way].append(images_per_s(way))
            print(way, f"{found[way][-1]:.0f} images/s", flush=True)
    rows: list[dict[str, Any]] = [
        {**way._asdict(), "images_per_s": statistics.median(each), "turns": each} for way, each in found.items()
    ]
    record(FILE, ways=rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        print(one(int(sys.argv[2]) if len(sys.argv) > 2 else None))
    else:
        main()
