"""Does it help to train with jittered boxes and light? → benchmarks/results/careless_boxes.json.

    python -m benchmarks.box_jitter    # ten trainings, an hour on two cores; goes on if stopped

A small PMD-Net without and with both (pmd_jax/data/jitter.py), as short as launch/rendered_small.py and as long as
launch/demo_network.py: equal steps, samples and seeds, and one teacher for all of a length. Then all on the pictures of
full_images.py. The tables of docs/numbers.md come from the file.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from benchmarks import RESULTS, ROOT
from benchmarks.full_images import PAGE, Hands, box_errors, crops_at, draw, epe_mm
from benchmarks.measure import publish
from pmd_jax.config import AugmentConfig
from pmd_jax.data.jitter import jitter_crops
from pmd_jax.predict.predictor import Predictor, load
from pmd_jax.runtime.markdown import markdown_table
from pmd_jax.study.statistics import format_ci

FILE = RESULTS / "careless_boxes.json"
MARKS = ("<!-- careless:begin -->", "<!-- careless:end -->")
LENGTHS = {"rendered_small": 3, "demo_network": 1}  # files of launch/, and the seeds of each
PLAIN = {"box_shift": 0.0, "box_scale": 1.0, "light": 0.0}
JITTERED = {"box_shift": 0.1, "box_scale": 1.25, "light": 0.2}
TRAININGS = {"plain": PLAIN, "careless": JITTERED}  # names in the JSON file


def train(runs: Path, length: str, row: str, name: str, *overrides: str) -> Path:
    """The export of a run of a launch file with one row; a finished one is not trained again.

    Raises:
        subprocess.CalledProcessError: the training did.
    """
    workdir = runs / length / name
    if not (workdir / "results.json").is_file():
        call = [sys.executable, "-m", "pmd_jax.main", f"--config=launch/{length}.py", f"--workdir={workdir}"]
        call += [f"--config.rows=('{row}',)", "--config.eval_every=0", *overrides]
        subprocess.run(call, check=True, cwd=ROOT)
    return workdir / row / "export"


def errors(network: Predictor, hands: Hands) -> dict[str, float]:
    """EPE in millimetres by what is wrong with the crops."""
    boxes = box_errors(network, hands)
    scaled = {row["scale"]: row["epe_mm"] for row in boxes["scale"]}
    dim = other_light(crops_at(hands, hands.boxes))
    return {
        "nothing": scaled[1.0],
        "moved by 10 % of its side": next(row["epe_mm"] for row in boxes["shift"] if row["shift"] == 0.1),
        "0.8 times as large": scaled[0.8],
        "1.25 times as large": scaled[1.25],
        "other light": epe_mm(network(dim), hands),
    }


def other_light(crops: UInt8[np.ndarray, "n 64 64 3"]) -> UInt8[np.ndarray, "n 64 64 3"]:
    """The crops, each under a lamp of its own, as strange as those of the training."""
    keys = jax.random.split(jax.random.key(1), len(crops))
    return np.asarray(jitter_crops(crops, keys, AugmentConfig(light=JITTERED["light"])))


def measure(runs: Path, count: int, overrides: list[str]) -> dict[str, Any]:
    """Errors of each length, training and seed."""
    hands, found = draw(count), {}
    for length, seeds in LENGTHS.items():
        teacher = train(runs, length, "depth_teacher", "teacher", *overrides).parent.parent
        found[length] = {name: {} for name in TRAININGS}
        for seed, (name, changes) in itertools.product(range(seeds), TRAININGS.items()):
            wishes = [f"--config.augment.{field}={value}" for field, value in changes.items()]
            wishes += [f"--config.seed={seed}", f"--config.teacher.checkpoint={teacher}", *overrides]
            network = load(train(runs, length, "pmd_net", f"{name}_{seed}", *wishes))
            found[length][name][str(seed)] = errors(network, hands)
    return {"hands": count, "careless": JITTERED, "epe_mm": found}


def render(measured: dict[str, Any]) -> str:
    """The section of docs/numbers.md."""
    result, hardware = measured["result"], measured["hardware"]
    parts = [
        f"{result['hands']:,} rendered hands of the test stream; EPE in mm, mean ± 95 % interval where there are "
        f"several seeds; equal steps, one teacher a table; {hardware.get('cpu', '')}, {hardware['cores']} cores, "
        f"{measured['date']}, commit {measured['commit']}. Values: benchmarks/results/careless_boxes.json."
    ]
    for length, found in result["epe_mm"].items():
        plain, jittered = (list(found[name].values()) for name in TRAININGS)
        rows = []
        for case in plain[0]:
            pairs = [after[case] - before[case] for before, after in zip(plain, jittered, strict=True)]
            sides = (format_ci((seed[case] for seed in seeds), ".1f") for seeds in (plain, jittered))
            rows.append((case, *sides, format_ci(pairs, "+.1f")))
        parts.append(
            markdown_table(
                (f"error of the crop (launch/{length}.py)", "trained without jitter", "with jitter", "difference"), rows
            )
        )
    return "\n\n".join(parts)


def main() -> None:
    """Trains, measures, writes the file and the page's section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/careless_boxes"), help="(%(default)s)")
    parser.add_argument("--hands", type=int, default=1000)
    options, overrides = parser.parse_known_args()  # what is left goes to the trainings
    result = measure(options.runs.resolve(), options.hands, overrides)
    publish(FILE, PAGE, MARKS, render, result=result)


if __name__ == "__main__":
    main()
