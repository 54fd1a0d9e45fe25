"""Speed against PyTorch, against the machine's limit, and over several seeds; `make bench` runs `benchmarks.run`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
