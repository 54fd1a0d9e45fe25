"""Taking times: programs by turns, the machine's peaks, and what the machine is."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import os
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import ROOT
from pmd_jax.runtime.environment import hardware

PACKAGES = ("jax", "flax", "torch", "onnxruntime")
REST_S = 0.1


def by_turns(
    programs: Mapping[str, Callable[[], Any]], *, seconds: float, rounds: int = 3, calls: int = 1
) -> dict[str, float]:
    """Median seconds a call of each program. They take turns, so that what else the machine does meets all alike.

    Before each turn all rest, for the threads of some libraries keep cores busy for a while in wait of the next call.

    Args:
        programs: each runs once and returns when its result is there. The first call of each is not counted.
        seconds: to spend on all together, but for the warm-up …
        rounds: … and at least this many turns each.
        calls: a turn; the first is left out where there are several, for the others have filled the caches.
    """
    for program in programs.values():
        program()
    times: dict[str, list[float]] = {name: [] for name in programs}
    began, turn = time.perf_counter(), 0
    while turn < rounds or time.perf_counter() - began < seconds:
        turn += 1
        for name, program in programs.items():
            time.sleep(REST_S)
            spent = [_seconds(program) for _ in range(calls)]
            times[name] += spent[1:] or spent
    return {name: statistics.median(spent) for name, spent in times.items()}


def _seconds(program: Callable[[], Any]) -> float:
    began = time.perf_counter()
    program()
    return time.perf_counter() - began


# ---- peaks


def peak_flops_per_s(dtype: jnp.dtype, side: int = 2048, seconds: float = 2.0) -> float:
    """Of a matrix product of side × side: the fastest of several, for a peak is what the machine can do."""
    a = jnp.ones((side, side), dtype)
    product = jax.jit(lambda a: a @ a)
    return 2 * side**3 / _fastest(lambda: product(a).block_until_ready(), seconds)


def peak_bytes_per_s(megabytes: int = 256, seconds: float = 2.0) -> float:
    """Through memory: a vector read and written, larger than any cache."""
    vector = jnp.ones((megabytes * 2**20 // 4,), jnp.float32)
    copy = jax.jit(lambda vector: vector + 1)
    return 2 * vector.nbytes / _fastest(lambda: copy(vector).block_until_ready(), seconds)


def _fastest(program: Callable[[], Any], seconds: float) -> float:
    program()
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds:
        best = min(best, _seconds(program))
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
