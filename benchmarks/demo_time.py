"""`make demo` from nothing, now and at an earlier commit: how long the whole command takes.

Both run in fresh clones, with an empty compile cache and without prepared data, by turns, with the Python of this
environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import ROOT
from benchmarks.measure import circumstances

BEFORE = "197052c"  # before inference by ONNX Runtime, column files, and a demo that draws only what it uses
COMMAND = ("-m", "pmd_jax.main", "--config=launch/demo.py")


def measure(turns: int = 1) -> dict[str, Any]:
    """Wall time in seconds.

    Args:
        turns: how often each runs; one is about 20 minutes on two cores.
    """
    commits = {"now": circumstances()["commit"], "before": BEFORE}
    spent: dict[str, list[float]] = {name: [] for name in commits}
    for _ in range(turns):
        for name, commit in commits.items():
            spent[name].append(_run(commit))
    now, before = (min(spent[name]) for name in commits)
    return {"before": BEFORE, "wall_s": spent, "now_over_before": now / before}


def _run(commit: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        subprocess.run(["git", "checkout", "--quiet", "--detach", commit], cwd=clone, check=True)
        began = time.perf_counter()
        own_cache = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(Path(folder) / "cache")}
        subprocess.run([sys.executable, *COMMAND], cwd=clone, env=own_cache, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began
