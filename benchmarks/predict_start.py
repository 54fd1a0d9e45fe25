"""From importing the package to the first hand's joints, in a new process with files in the system's cache."""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import Any

from benchmarks import ROOT

_PROGRAM = """
import time
began = time.perf_counter()
import numpy as np
import pmd_jax
pmd_jax.load()(np.zeros((1, 64, 64, 3), np.uint8))
print(time.perf_counter() - began)
"""


def measure(repeats: int = 9) -> dict[str, Any]:
    """Seconds, the median of new processes; the first of all fills the cache and does not count."""
    command = [sys.executable, "-c", _PROGRAM]
    runs = [
        float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
        for _ in range(1 + repeats)
    ]
    return {"seconds": statistics.median(runs[1:]), "runs": runs[1:]}
