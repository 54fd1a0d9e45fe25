"""From the command to its first step, with an empty compile cache and with a filled one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import ROOT

LIMIT_S = 200


def measure(config: str, data_dir: Path, repeats: int = 2) -> dict[str, Any]:
    """Seconds from the start of the process until the first step's metrics are on disk.

    Args:
        config: a launch file.
        data_dir: where its data are prepared.
        repeats: of the start with a filled cache; the median counts.
    """
    with tempfile.TemporaryDirectory() as folder:
        starts = [_first_step_s(config, data_dir, Path(folder), turn) for turn in range(1 + repeats)]
    warm = sorted(starts[1:])
    return {"config": config, "first_start_s": starts[0], "second_start_s": warm[len(warm) // 2], "warm_starts_s": warm}


def _first_step_s(config: str, data_dir: Path, folder: Path, turn: int) -> float:
    """One start of the real command; it is ended when its first line of metrics is there."""
    workdir = folder / f"run{turn}"
    options = [f"--config={config}", f"--workdir={workdir}", f"--config.data.data_dir={data_dir}"]
    command = [sys.executable, "-m", "pmd_jax.main", *options, "--config.log_every=1"]
    began = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not _has_a_line(workdir / "metrics.jsonl"):
            if process.poll() is not None or time.perf_counter() - began > LIMIT_S:
                process.kill()
                raise RuntimeError(f"{' '.join(command)} took no step: {process.communicate()[1][-500:]}")
            time.sleep(0.02)
        spent = time.perf_counter() - began
        process.send_signal(signal.SIGKILL)
    return spent


def _has_a_line(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
