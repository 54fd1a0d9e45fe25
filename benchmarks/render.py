"""docs/benchmarks.md from the JSON files of benchmarks/results, and from nothing else."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, ROOT
from pmd_jax.runtime.markdown import markdown_table

PAGE = ROOT / "docs" / "benchmarks.md"
MARKS = ("<!-- benchmarks:begin -->", "<!-- benchmarks:end -->")
NOT_MEASURED = "not measured"
TITLES = {"ours": "pmd_jax", "pytorch": "PyTorch", "pytorch_eager": "PyTorch", "pytorch_compiled": "torch.compile"}
TITLES |= {"onnxruntime": "ONNX Runtime", "torch_dataloader": "DataLoader, PNG"}
SIZES = ("demo", "half", "full")


def write() -> None:
    """Writes the page's tables anew."""
    fill(PAGE, MARKS, render())


def fill(page: Path, marks: tuple[str, str], content: str) -> None:
    """Puts the content between a page's marks."""
    text, (begin, end) = page.read_text(encoding="utf-8"), marks
    pattern = re.compile(f"{begin}.*?{end}", re.DOTALL)
    replaced, count = pattern.subn(lambda _: f"{begin}\n{content}\n{end}", text)
    if count != 1:
        sys.exit(f"{page} must hold {begin} … {end} once; found {count} times.")
    page.write_text(replaced, encoding="utf-8")


def render(results: Path = RESULTS) -> str:
    """A section for each machine that has a file."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))]
    sections = [_machine(measured) for measured in files if "pieces" in measured]
    if not any(measured["hardware"]["platform"] != "cpu" for measured in files if "pieces" in measured):
        sections.append(f"### GPU, TPU\n\n{NOT_MEASURED.capitalize()}: none was at hand.")
    return "\n\n".join(sections)


def _machine(measured: dict[str, Any]) -> str:
    hardware, pieces = measured["hardware"], measured["pieces"]
    results = {name: piece["result"] for name, piece in pieces.items()}
    name = (
        f"{hardware.get('cpu', '')}, {hardware['cores']} cores"
        if hardware["platform"] == "cpu"
        else hardware["devices"]
    )
    parts = [f"### {name}", _circumstances(pieces)]
    parts += [markdown_table(header, rows) for header, rows in _tables(results) if rows]
    return "\n\n".join(parts)


def _circumstances(pieces: dict[str, Any]) -> str:
    days = sorted({piece["date"] for piece in pieces.values()})
    commits = list(dict.fromkeys(piece["commit"] for piece in pieces.values()))
    versions: dict[str, str] = {}
    for piece in pieces.values():
        versions |= piece["versions"]
    used = ", ".join(f"{package} {version}" for package, version in versions.items())
    return f"Measured {' and '.join(days)} at commit {', '.join(commits)}; {used}."


def _tables(results: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    yield ("against others", "pmd_jax", "other", "other's time over ours"), [*_comparisons(results)]
    yield ("Table 3, ms an image", "measured", "the paper's"), [*_structures(results.get("table_3"))]
    yield ("on its own", "measured"), [*_alone(results)]
    yield ("limit of a full-size step", "measured"), [*_limit(results.get("limit_full"))]
    yield ("where a full-size step's time goes", "share"), [*_profile(results.get("limit_full"))]
    yield (
        ("batch (demo size)", "ms a step", "images/s", "state, MB", "temporary, MB"),
        [(f"{row['batch']}", *_step(row)) for row in results.get("growth_batch", [])],
    )
    yield (
        ("width (demo depth, batch 32)", "ms a step", "images/s", "state, MB", "temporary, MB"),
        [(f"{row['width']}", *_step(row)) for row in results.get("growth_width", [])],
    )
    yield (
        ("samples in the data set", "memory, MB", "samples/s read"),
        [
            (f"{row['samples']:,}", f"{row['memory_mb']:.0f}", f"{row['samples_per_s']:,.0f}")
            for row in results.get("growth_data", [])
        ],
    )
    yield (
        ("fake devices on the same cores (demo size, batch 64)", "ms a step", "images/s"),
        [
            (f"{row['devices']}", f"{1000 * row['step_s']:.0f}", f"{row['images_per_s']:.0f}")
            for row in results.get("growth_devices", [])
        ],
    )


def _comparisons(results: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for size in SIZES:
        step = results.get(f"train_step_{size}")
        if step:
            for other in ("pytorch_eager", "pytorch_compiled"):
                title = f"stage II step, {size} size, batch {step['batch']}, images/s"
                yield title, *_against(step["images_per_s"], step["ratio"], other, ".1f", step.get(f"{other}_failed"))
    for size in SIZES:
        inference = results.get(f"inference_{size}", {})
        for batch, unit, digits in ((1, "ms", ".2f"), (64, "images/s", ".1f")):
            call = inference.get(f"batch_{batch}")
            if call:
                ms = {name: 1000 * spent for name, spent in call["call_s"].items()}
                for other in ("pytorch", "onnxruntime"):
                    title = f"inference, {size} size, batch {batch}, {unit}"
                    yield title, *_against(ms if batch == 1 else call["images_per_s"], call["ratio"], other, digits)
    read = results.get("input")
    if read:
        values, other = read["samples_per_s"], "torch_dataloader"
        yield f"input, batch {read['batch']}, samples/s", *_against(values, {other: read["ratio"]}, other, ",.0f")


def _against(
    values: dict[str, float], ratios: dict[str, float], other: str, digits: str, failed: str | None = None
) -> tuple[str, str, str]:
    if other not in values:
        return f"{values['ours']:{digits}}", f"{TITLES[other]}: {failed or NOT_MEASURED}", "–"
    return f"{values['ours']:{digits}}", f"{TITLES[other]}: {values[other]:{digits}}", f"{ratios[other]:.2f}"


def _structures(table: dict[str, Any] | None) -> Iterator[tuple[str, ...]]:
    if table:
        names = {
            "pmd_net_joint": "one joint head",
            "pmd_net": "three heads",
            "pmd_net_refine": "three heads and refine",
        }
        for row, title in names.items():
            yield title, f"{table['ms'][row]:.2f}", f"{table['paper_ms'][row]:.2f}"
        for part, title in {"three_heads": "three heads add", "refine": "refine adds"}.items():
            yield title, f"{table['added_ms'][part]:+.2f}", f"{table['paper_added_ms'][part]:+.2f}"


def _alone(results: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    wait, start = results.get("input_wait"), results.get("start_up")
    if wait:
        yield "share of a full-size training loop spent getting batches", f"{100 * wait['share']:.2f} %"
    for size, piece in {"full": "train_step_cached", "demo": "train_step_cached_demo"}.items():
        if cached := results.get(piece):
            title = f"stage II step with the teacher's table over the RGB baseline's step, {size} size"
            yield title, f"{cached['cached_over_baseline']:.3f}"
            yield "the same without the table", f"{cached['uncached_over_baseline']:.3f}"
    if start:
        yield "command to first step, demo, empty compile cache", f"{start['first_start_s']:.1f} s"
        yield "command to first step, demo, filled compile cache", f"{start['second_start_s']:.1f} s"


def _limit(limit: dict[str, Any] | None) -> Iterator[tuple[str, ...]]:
    if limit:
        peaks = limit["peaks"]
        yield f"operations counted layer by layer, batch {limit['batch']}", f"{limit['flops'] / 1e9:.0f} GFLOP"
        yield "operations by XLA's count", f"{limit['xla_flops'] / 1e9:.0f} GFLOP"
        yield "bytes that must be moved", f"{limit['bytes'] / 1e9:.1f} GB"
        yield f"peak of a matrix product, {limit['dtype']}", f"{peaks['flops_per_s'] / 1e9:.0f} GFLOP/s"
        yield "peak of a copy through memory", f"{peaks['bytes_per_s'] / 1e9:.1f} GB/s"
        yield "least time of a step, summed layer by layer", f"{limit['roofline_s']:.2f} s"
        yield "measured time of a step", f"{limit['step_s']:.2f} s"
        yield "share of the limit reached", f"{limit['share_of_roofline']:.2f}"


def _profile(limit: dict[str, Any] | None) -> Iterator[tuple[str, ...]]:
    for cost in (limit or {}).get("profile", []):
        yield cost["operation"], f"{100 * cost['share']:.0f} %"


def _step(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{1000 * row['step_s']:.0f}",
        f"{row['images_per_s']:.0f}",
        f"{row['state_mb']:.0f}",
        f"{row['temporary_mb']:.0f}",
    )
