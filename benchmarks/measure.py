"""The machine's peaks, what it is, and what is written of a measurement. Times: `pmd_jax.runtime.timing`."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import ROOT
from benchmarks.render import fill
from pmd_jax.runtime.environment import hardware
from pmd_jax.runtime.files import read_text, write_json
from pmd_jax.runtime.timing import seconds_of

PACKAGES = ("jax", "flax", "torch", "onnxruntime")
PEAK_S = 2.0  # in which the fastest is looked for

# ---- peaks


def peak_flops_per_s(dtype: jnp.dtype, side: int = 2048) -> float:
    """Of a matrix product of side × side: the fastest of several, for a peak is what the machine can do."""
    a = jnp.ones((side, side), dtype)
    product = jax.jit(lambda a: a @ a)
    return 2 * side**3 / _fastest(lambda: product(a).block_until_ready())


def peak_bytes_per_s(megabytes: int = 256) -> float:
    """Through memory: a vector read and written, larger than any cache."""
    vector = jnp.ones((megabytes * 2**20 // 4,), jnp.float32)
    copy = jax.jit(lambda vector: vector + 1)
    return 2 * vector.nbytes / _fastest(lambda: copy(vector).block_until_ready())


def _fastest(program: Callable[[], Any]) -> float:
    program()
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < PEAK_S:
        best = min(best, seconds_of(program))
    return best


# ---- the machine


@functools.cache
def machine() -> dict[str, str]:
    """What this runs on, in words."""
    return hardware()


def slug(described: Mapping[str, str]) -> str:
    """A file name for a machine: amd_epyc_2_cores, or 1_nvidia_h100."""
    if described["platform"] == "cpu":
        words = f"{described.get('cpu', 'cpu')} {described['cores']} cores"
    else:
        words = described["devices"]
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def circumstances() -> dict[str, Any]:
    """When, on which state of the code and with which versions something is measured."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"date": datetime.date.today().isoformat(), "commit": _commit(), "versions": installed}


def _commit() -> str:
    """The commit that is checked out, with a plus sign where the package's files differ from it."""
    try:
        git = functools.partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, check=True)
        name = git(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip()
        changed = git(["git", "status", "--porcelain", "--", "pmd_jax", "benchmarks/*.py"]).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name + ("+" if changed else "")


def cores_used_by_others(program: Callable[[], Any]) -> tuple[Any, float | None]:
    """The program's result, and how many cores other programs used meanwhile (None where the system does not say)."""
    before = _busy_s()
    result = program()
    after = _busy_s()
    if before is None or after is None:
        return result, None
    wall, everyone, ours = (end - start for end, start in zip(after, before, strict=True))
    return result, max(0.0, everyone - ours) / wall


def _busy_s() -> tuple[float, float, float] | None:
    """Seconds: on the clock, busy on all cores together, and busy for this process and the children that have ended."""
    try:
        fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _waiting, irq, soft_irq, *_ = map(int, fields)
    busy = (user + nice + system + irq + soft_irq) / os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), busy, sum(os.times()[:4])


def rounded(tree: Any) -> Any:
    """Five digits are more than any of these measurements has."""
    if isinstance(tree, dict):
        return {key: rounded(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [rounded(value) for value in tree]
    return float(f"{tree:.5g}") if isinstance(tree, float) else tree


def record(file: Path, **content: Any) -> dict[str, Any]:
    """Writes what was measured, and on what; returns what the file then holds."""
    write_json(file, rounded({"hardware": machine(), **circumstances(), **content}))
    return json.loads(read_text(file))


def publish(file: Path, page: Path, marks: tuple[str, str], text_of: Callable[[dict[str, Any]], str], **content: Any):
    """Records a measurement, and writes the page's section from the file."""
    fill(page, marks, text_of(record(file, **content)))
