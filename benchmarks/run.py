"""All speed measurements of this machine: `make bench` → benchmarks/results/<hardware>.json → docs/benchmarks.md.

    python -m benchmarks.run                           # what this commit has not recorded; ten minutes on two cores
    python -m benchmarks.run --only=train_step,input   # these pieces again
    python -m benchmarks.run --only=demo_time          # 20 minutes, so only where it is asked for
    python -m benchmarks.run --render                  # the page again, from the JSON files alone

Each piece is recorded as it ends, with date, commit and versions, so a run that was stopped goes on. Ratios are taken
within a piece, never across machines.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, ROOT, render

DATA = ROOT / "data" / "prepared"
ON_REQUEST = ("demo_time",)
DISTURBED = 0.1  # cores that other programs may use during a measurement

Piece = Callable[[], Any]


def pieces() -> dict[str, Piece]:
    """What is measured, in order. Imports wait until here: rendering needs neither JAX nor PyTorch."""
    from benchmarks import (
        demo_time,
        host_time,
        inference,
        input_speed,
        jax_step,
        large_split,
        predict_start,
        roofline,
        start_up,
        sweeps,
        train_step,
    )

    sizes = jax_step.sizes()
    found: dict[str, Piece] = {}
    for name, seconds in {"demo": 5, "half": 15, "full": 30}.items():
        found[f"train_step_{name}"] = functools.partial(
            train_step.measure, sizes[name], seconds, compiled=name == "demo"
        )
    found["train_step_cached"] = functools.partial(train_step.teachers_cost, sizes["full"], 30)
    found["train_step_cached_demo"] = functools.partial(train_step.teachers_cost, sizes["demo"], 5)
    found["inference_demo"] = functools.partial(inference.measure, sizes["demo"], 4)
    found["inference_full"] = functools.partial(inference.measure, sizes["full"], 10)
    found["table_3"] = functools.partial(inference.parts, sizes["full"])
    found["input"] = lambda: input_speed.measure(training_columns(), 4)
    found["input_wait"] = lambda: input_speed.waiting(training_columns(), sizes["full"], 5)
    found["read_41k"] = large_split.opening
    found["predict_start"] = predict_start.measure
    found["host"] = functools.partial(host_time.measure, host_time.narrow(), 1, 40, 256)
    found["limit_full"] = functools.partial(roofline.measure, sizes["full"], 10)
    found["limit_demo"] = functools.partial(roofline.measure, sizes["demo"], 5)
    demo = sizes["demo"].config
    found["growth_batch"] = functools.partial(sweeps.with_batch, demo, (16, 64, 256, 1024), 2)
    found["growth_width"] = functools.partial(sweeps.with_width, demo, (8, 16, 32, 64), 32, 2)
    found["growth_data"] = lambda: sweeps.with_data(training_columns(4000), (1, 2, 5, 10), 64, 1)
    found["growth_devices"] = functools.partial(sweeps.with_devices, (1, 2, 4, 8), 64, 4)
    found["start_up"] = functools.partial(start_up.measure, "launch/demo.py", DATA)
    found["demo_time"] = demo_time.measure
    return found


def training_columns(count: int | None = None):
    """The demo's training split, prepared if it is not there."""
    import numpy as np

    from launch import demo
    from pmd_jax.data.dataset import read_columns
    from pmd_jax.prepare.preparation import prepare

    data = demo.get_config().data
    columns = read_columns(prepare(data.dataset, data_dir=DATA, dataset_config=data.dataset_config), "train")
    return columns if count is None else columns.take(np.arange(count))


def headline(recorded: dict[str, Any]) -> dict[str, float]:
    """The figures that others ask for by name; those of pieces that are not there yet are left out."""
    where = {
        "train_step_full_ratio": ("train_step_full", "ratio", "pytorch_eager"),
        "train_step_demo_ratio": ("train_step_demo", "ratio", "pytorch_eager"),
        "train_step_full_ratio_compiled": ("train_step_full", "ratio", "pytorch_compiled"),
        "inference_b1_full_ratio": ("inference_full", "batch_1", "ratio", "pytorch"),
        "inference_b64_full_ratio": ("inference_full", "batch_64", "ratio", "pytorch"),
        "inference_b1_demo_ratio": ("inference_demo", "batch_1", "ratio", "pytorch"),
        "inference_b1_full_ratio_onnxruntime": ("inference_full", "batch_1", "ratio", "onnxruntime"),
        "cached_over_baseline_step": ("train_step_cached", "cached_over_baseline"),
        "input_samples_per_s": ("input", "samples_per_s", "ours"),
        "input_wait_share": ("input_wait", "share"),
        "second_start_s": ("start_up", "second_start_s"),
        "predict_start_s": ("predict_start", "seconds"),
        "read_41k_s": ("read_41k", "open_s"),
        "read_peak_mb": ("read_41k", "own_mb"),
        "host_images_per_s": ("host", "host_images_per_s"),
        "demo_over_before": ("demo_time", "now_over_before"),
    }
    found = {}
    for name, (piece, *path) in where.items():
        value = recorded.get(piece, {}).get("result")
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            found[name] = value
    return found


def measure(only: Sequence[str], path: Path, described: dict[str, str]) -> None:
    """Measures what is asked for, or what is not recorded yet at this commit, and records each piece as it ends."""
    from benchmarks.measure import circumstances, cores_used_by_others, rounded
    from pmd_jax.runtime.files import write_json

    recorded = json.loads(path.read_text(encoding="utf-8"))["pieces"] if path.exists() else {}
    now = circumstances()
    every = pieces()
    chosen = [name for name in every if name.startswith(tuple(only))] if only else []
    if not only:
        chosen = [name for name in every if name not in ON_REQUEST and not _is_there(recorded, name, now)]
    for number, name in enumerate(chosen, start=1):
        print(f"[{number}/{len(chosen)}] {name}: ", end="", flush=True)
        began = time.perf_counter()
        result, others = cores_used_by_others(every[name])
        recorded[name] = {**now, "cores_used_by_others": others, "result": result}
        disturbed = others is not None and others > DISTURBED
        warning = f"; other programs used {others:.1f} cores: measure it again" if disturbed else ""
        print(f"{time.perf_counter() - began:.0f} s{warning}", flush=True)
        write_json(path, rounded({"hardware": described, **headline(recorded), "pieces": recorded}))


def _is_there(recorded: dict[str, Any], name: str, now: dict[str, Any]) -> bool:
    return name in recorded and all(recorded[name][key] == now[key] for key in ("commit", "versions"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="pieces to measure again: beginnings of their names, by commas")
    parser.add_argument("--render", action="store_true", help="only rewrite the page from the JSON files")
    options = parser.parse_args()
    if not options.render:
        from benchmarks.measure import machine, slug
        from pmd_jax.runtime.cli import prepare_xla
        from pmd_jax.runtime.devices import use_all_cores

        prepare_xla()
        use_all_cores(())
        path = RESULTS / f"{slug(machine())}.json"
        measure([part for part in options.only.split(",") if part], path, machine())
        print(f"Written: {path.relative_to(ROOT)}")
    render.write()


if __name__ == "__main__":
    main()
