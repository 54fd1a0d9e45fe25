"""Splits that are larger than memory is meant for: how long opening one takes, and what training on one holds.

    .venv/bin/python -m benchmarks.large_split    # 600,000 made-up samples, 12 GB of disk, five minutes

The column files are written as `pmd_jax.data.column_files` writes them, of a block of noise that repeats. Everything is
measured in a process of its own, whose memory is then its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import RESULTS, ROOT
from pmd_jax.data import column_files
from pmd_jax.data.dataset import read_columns
from pmd_jax.data.depth_origin import is_measured, map_origin_m
from pmd_jax.data.loader import training_batches
from pmd_jax.runtime.files import write_json
from reference.made_up_columns import make_arrays

FILE = RESULTS / "large_split.json"
SAMPLES, BLOCK, BATCH, STEPS = 600_000, 2_000, 256, 400
RHD_SAMPLES = 41_258


def write_split(prepared: Path, count: int) -> None:
    """Column files of `count` samples, as those of a split "train"; no records lie beside them."""
    folder = column_files.folder_of(prepared, "train")
    folder.mkdir(parents=True)
    block = make_arrays(BLOCK)
    block |= {"is_measured": is_measured(block["depth"]), "map_origin_m": map_origin_m(block["depth"])}
    del block["depth_origin_m"]
    keys = np.array([f"made_up/train/{index:06d}".encode() for index in range(count)])
    np.save(folder / "key.npy", keys)
    for name, values in block.items():
        with (folder / f"{name}.npy").open("wb", 1 << 20) as file:
            column_files.begin(file, values[0], count)
            for start in range(0, count, BLOCK):
                file.write(values[: count - start].tobytes())
    column_files.describe(prepared, folder, count)


def opening(count: int = RHD_SAMPLES, repeats: int = 3) -> dict[str, Any]:
    """Seconds from the call until the columns are there, with files in the system's cache, and what they hold."""
    with tempfile.TemporaryDirectory() as folder:
        write_split(Path(folder), count)
        runs = [_in_a_process("open", folder) for _ in range(repeats)]
    middle = sorted(runs, key=lambda run: run["open_s"])[repeats // 2]
    return {"samples": count, **middle}


def training(count: int = SAMPLES) -> dict[str, Any]:
    """Random access with an empty and with a filled cache, and some hundred steps of the demo's network."""
    with tempfile.TemporaryDirectory(dir=ROOT) as folder:
        write_split(Path(folder), count)
        _forget(Path(folder))
        cold = _in_a_process("access", folder)
        warm = _in_a_process("access", folder)
        steps = _in_a_process("train", folder)
        gigabytes = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1e9
    return {"samples": count, "gigabytes": gigabytes, "batch": BATCH, "cold": cold, "warm": warm, "training": steps}


def _forget(folder: Path) -> None:
    """Asks the system to keep nothing of these files in memory."""
    os.sync()
    for path in folder.rglob("*.npy"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _in_a_process(part: str, folder: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.large_split", f"--part={part}", f"--folder={folder}"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _memory_mb() -> dict[str, float]:
    """What this process holds itself, and at most held with the mapped pages of files."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}
    return {"own_mb": kilobytes["RssAnon"] / 1e3, "peak_resident_mb": kilobytes["VmHWM"] / 1e3}


def _part(part: str, folder: Path) -> dict[str, Any]:
    before = _memory_mb()["own_mb"]
    began = time.perf_counter()
    columns = read_columns(folder, "train")
    opened = time.perf_counter() - began
    if part == "open":
        return {"open_s": opened, "own_mb": _memory_mb()["own_mb"] - before}
    batches = training_batches(columns, steps=STEPS, batch=BATCH, seed=0)
    if part == "access":
        began = time.perf_counter()
        for _ in batches:
            pass
        return {"samples_per_s": STEPS * BATCH / (time.perf_counter() - began), **_memory_mb()}
    from benchmarks import jax_step  # JAX is for this part alone
    from pmd_jax.runtime import sharding

    job = jax_step.Training(jax_step.sizes()["demo"].config, "pmd_net", next(batches))
    job()
    began, pending = time.perf_counter(), None
    for batch in batches:
        pending = job.dispatch(sharding.global_array(job.mesh, job.loop.batch.pack(batch).rows))
    assert pending is not None
    pending.block_until_ready()
    return {"samples_per_s": (STEPS - 1) * BATCH / (time.perf_counter() - began), **_memory_mb()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("open", "access", "train"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(_part(options.part, options.folder)))
        return
    from benchmarks.measure import circumstances, machine, rounded

    write_json(FILE, rounded({"hardware": machine(), **circumstances(), **training()}))
    print(FILE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
