"""What `make demo` shows, over several seeds: benchmarks/results/demo_seeds.json and the table in README.md.

    python -m benchmarks.demo_seeds --seeds=5   # about six minutes a seed on two cores; finished seeds are kept
    python -m benchmarks.demo_seeds --render    # the table again, from the JSON alone

Seed 0 is `make demo` itself. Within a seed, baseline and PMD-Net share the initial weights, the data and their order,
the flips and the schedule, so their difference is taken seed by seed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import numpy as np
from scipy import stats

from benchmarks import RESULTS, ROOT, page

RESULT = RESULTS / "demo_seeds.json"
MARKS = ("<!-- demo-results:begin -->", "<!-- demo-results:end -->")
KEPT = ("title", "epe_mm", "epe_median_mm", "auc_20_50", "error_per_axis_mm", "parameters", "steps")


def run_seed(seed: int) -> dict:
    """One whole demo, or what it left if it is finished; returns its results.json."""
    workdir = ROOT / "runs" / ("demo" if seed == 0 else f"demo_seed_{seed}")
    command = [sys.executable, "-m", "pmd_jax.main", "--config=launch/demo.py", f"--config.seed={seed}"]
    subprocess.run([*command, f"--workdir={workdir}"], cwd=ROOT, check=True)
    return json.loads((workdir / "results.json").read_text())


def collect(runs: dict[int, dict]) -> dict:
    """The figures of all seeds in one tree: rows → figure → seed."""
    first = runs[min(runs)]
    rows = {
        name: {key: {str(seed): run["rows"][name][key] for seed, run in runs.items()} for key in KEPT}
        for name in first["rows"]
    }
    shared = ("dataset", "split", "protocol", "hardware", "versions")
    finished = max(run["finished"] for run in runs.values())
    return {**{key: first[key] for key in shared}, "finished": finished, "rows": rows}


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval (Student's t)."""
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values)), float(half)


def table(results: dict) -> str:
    """README's table and the sentence under it."""
    rows, lines = results["rows"], ["| network | EPE, mm | AUC 20–50 mm |", "|---|---|---|"]
    for row in rows.values():
        epe, half = interval(list(row["epe_mm"].values()))
        auc, auc_half = interval(list(row["auc_20_50"].values()))
        title = next(iter(row["title"].values()))
        lines.append(f"| {title} | {epe:.2f} ± {half:.2f} | {auc:.3f} ± {auc_half:.3f} |")
    baseline, student = rows["rgb_baseline"]["epe_mm"], rows["pmd_net"]["epe_mm"]
    difference, half = interval([student[seed] - baseline[seed] for seed in baseline])
    if abs(difference) <= half:
        verdict = "the interval holds zero: at this size, in this time, the teacher makes no difference we can show"
    else:
        verdict = f"PMD-Net is {'better' if difference < 0 else 'worse'} than the baseline"
    lines += [
        "",
        f"{results['dataset']}, {results['split']} split, {len(baseline)} seeds, mean ± 95 % interval; "
        f"{results['protocol']}. PMD-Net minus baseline, seed by seed: {difference:+.2f} ± {half:.2f} mm; {verdict}.",
        f"Measured {results['finished'][:10]} on {results['hardware']['cores']} cores ({results['hardware']['cpu']}), "
        f"JAX {results['versions']['jax']}; the figures are in benchmarks/results/demo_seeds.json.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--render", action="store_true", help="only rewrite README's table from the JSON")
    options = parser.parse_args()
    if not options.render:
        results = collect({seed: run_seed(seed) for seed in range(options.seeds)})
        RESULTS.mkdir(parents=True, exist_ok=True)
        RESULT.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    page.fill(ROOT / "README.md", MARKS, table(json.loads(RESULT.read_text())))


if __name__ == "__main__":
    main()
