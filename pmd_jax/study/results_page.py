"""RESULTS.md, made of the files under results/ alone: the same files give the same bytes.

Each table of the paper stands with its published figures, what we measured on each data set, and the command that
measures what is missing. A figure over seeds is a mean ± its 95 % interval (Student's t); differences are paired by
seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pmd_jax.config.presets import DATASETS
from pmd_jax.evaluate import metrics
from pmd_jax.runtime.files import write_text
from pmd_jax.runtime.markdown import markdown_table
from pmd_jax.study import page_figures, page_labels, page_start, result_files
from pmd_jax.study.definitions import Study
from pmd_jax.study.paper_tables import SWEEPS, TABLES
from pmd_jax.study.plus import plus, plus_labels
from pmd_jax.study.statistics import format_ci, paired

INTRODUCTION = """\
# Results

The tables and figures of the paper, its values beside ours. This page is generated from the JSON files in {results} by
`python -m pmd_jax.study --render`; do not edit it.

Where there are several seeds, a value is their mean ± the half width of its 95 % interval (Student's t). A difference
is taken seed by seed to the first line of its table; a negative one is a smaller error. An interval that includes zero
shows no difference. Values of different columns, and of the paper, are of different data or networks: compare within a
column."""
TABLE_4 = """\
## Table 4: other methods

Quoted from the paper as context; EPE mean in mm. Nothing here is measured by us.

| method | RHD | STB |
|---|---|---|
| Zimmermann and Brox | 30.42 | 8.68 |
| Yang and Yao | 19.95 | 8.66 |
| Gu et al. | 17.11 | 7.27 |
| PMD-Net | 16.14 | 6.80 |"""
PUBLISHED = {"rhd": "paper, RHD", "stb": "paper, STB", "paper": "paper"}
UNITS = {"epe_mm": "EPE mean in mm.", "ms_per_image": "Time in ms an image."}
DIGITS = {"epe_mm": 2, "ms_per_image": 3}


def write(results: Path, page: Path) -> None:
    """Writes `page` and, under `results`, the figures it shows.

    Raises:
        StudyError: a file is broken.
    """
    page.parent.mkdir(parents=True, exist_ok=True)
    where = Path(os.path.relpath(results, page.parent)).as_posix()
    parts = [INTRODUCTION.format(results=f"`{where}/`")]
    for make in TABLES:
        parts += _table(make, results, where)
    parts.append(TABLE_4)
    parts += page_labels.section(results, where, _facts)
    parts += page_start.section(results, _facts)
    for make in (plus, plus_labels):  # beyond the paper
        if any((results / dataset / f"{make().name}.json").is_file() for dataset in DATASETS):
            parts += _table(make, results, where)
    parts.append("## Choices that the paper mentions without results")
    for make in SWEEPS:
        parts += _table(make, results, where)
    write_text(page, "\n\n".join(parts) + "\n")


def _table(make, results: Path, where: str) -> list[str]:
    """One table: side by side on all data sets, then what is known of each data set, then what is missing."""
    studies = {dataset: make(dataset) for dataset in DATASETS}
    first = next(iter(studies.values()))
    files = {dataset: result_files.read(results / dataset / f"{first.name}.json") for dataset in DATASETS}
    rows = {dataset: {k: r for k, r in files[dataset]["rows"].items() if k in first.variants} for dataset in DATASETS}
    level = "#" * first.heading_level
    parts = [f"{level} {first.title}", " ".join(filter(None, [UNITS[first.figure], first.note]))]
    parts.append(_side_by_side(first, rows))
    for dataset, study in studies.items():
        if rows[dataset]:
            parts.append(f"{level}# {first.short_title or first.title} on {DATASETS[dataset]}")
            parts += _measured(study, rows[dataset], files[dataset].get("command", ""))
        drawn = page_figures.write(results / dataset, study, rows[dataset])
        parts += [f"{caption}:\n\n![{caption}]({where}/{dataset}/{file})" for file, caption in drawn]
        if study.probe is not None:
            parts += _imitation(result_files.read_imitation(results / dataset / result_files.LAYERS))
    missing = [study for dataset, study in studies.items() if len(rows[dataset]) < len(study.variants)]
    if missing:
        commands = "\n".join(f"    {study.command} --seeds=3" for study in missing)
        parts.append(f"To measure what is missing:\n\n{commands}")
    return parts


def _side_by_side(study: Study, rows: Mapping[str, Mapping[str, Any]]) -> str:
    quoted = [key for key in PUBLISHED if any(key in variant.published for variant in study.variants.values())]
    digits = DIGITS[study.figure]
    lines = []
    for name, variant in study.variants.items():
        published = [f"{variant.published[key]:.2f}" if key in variant.published else "–" for key in quoted]
        ours = [_cell(rows[dataset].get(name, {}).get(study.figure), digits) for dataset in DATASETS]
        lines.append([variant.title, *published, *ours])
    head = [*(PUBLISHED[key] for key in quoted), *(f"ours, {title}" for title in DATASETS.values())]
    return markdown_table(["network", *head], lines)


def _measured(study: Study, rows: Mapping[str, Any], command: str) -> list[str]:
    """The figures of one data set in full, and how they came about."""
    parts = [_times(study, rows)] if study.figure == "ms_per_image" else [_accuracy(study, rows), _axes(study, rows)]
    return [*parts, _facts(rows, _commands(study, rows, command))]


def _facts(rows: Mapping[str, Any], commands: list[str]) -> str:
    """What some rows' figures rest on."""
    facts = {
        "data": _distinct(f"{data}, {split} split" for data, split in _pairs(rows, "dataset", "split")),
        "protocol": _distinct(value for row in rows.values() for value in row.get("protocol", {}).values()),
        "hardware": _distinct(_hardware(value) for row in rows.values() for value in row["hardware"].values()),
        "versions": _distinct(
            ", ".join(f"{name} {version}" for name, version in value.items())
            for row in rows.values()
            for value in row["versions"].values()
        ),
        "commands": "; ".join(f"`{line}`" for line in commands),
    }
    return "\n".join(f"* {name}: {fact}" for name, fact in facts.items() if fact)


def _accuracy(study: Study, rows: Mapping[str, Any]) -> str:
    first = rows.get(next(iter(study.variants)), {})
    auc, auc_range = metrics.find_auc(next(iter(rows.values())))
    lines = [
        [
            row["title"],
            _seeds(row["epe_mm"]),
            _cell(row["epe_mm"], 2),
            _difference(row["epe_mm"], first.get("epe_mm", {})) if row is not first else "",
            _cell(row.get("epe_median_mm"), 2),
            _cell(row.get(auc), 3),
            f"`{row['config_hash']}`",
        ]
        for row in rows.values()
    ]
    return markdown_table(
        ["network", "seeds", "EPE", "difference", "median", f"AUC {auc_range} mm", "config hash"], lines
    )


def _axes(study: Study, rows: Mapping[str, Any]) -> str:
    """Where the error lies: the paper expects depth to gain most from a teacher that sees depth."""
    first = rows.get(next(iter(study.variants)), {})
    lines = []
    for row in rows.values():
        cells = [row["title"]]
        for axis in range(3):
            mine, theirs = (
                {seed: values[axis] for seed, values in r.get("error_per_axis_mm", {}).items()} for r in (row, first)
            )
            cells += [_cell(mine, 2), _difference(mine, theirs) if row is not first else ""]
        lines.append(cells)
    head = [text for axis in ("X", "Y", "Z") for text in (f"error in {axis}, mm", "difference")]
    return markdown_table(["network", *head], lines)


def _imitation(layers: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """What of the teacher the student has, beside what it could have had without it."""
    if not layers:
        return []
    ways = {
        "student": "PMD-Net's own layer",
        "baseline": "linear map of the RGB baseline's feature",
        "labels": "quadratic map of the true pose",
    }
    lines = [[layer, *(_cell(shares.get(way), 3) for way in ways)] for layer, shares in layers.items()]
    text = (
        "How much of the teacher's layers can be inferred from RGB, and how much already follows from the labels: the "
        "share of each layer that is explained on samples that no network was trained on, 1 − (L1 distance) / (L1 "
        "distance of the best constant). Layers before their ReLU unless it says otherwise."
    )
    return [text, markdown_table(["the teacher's layer", *ways.values()], lines)]


def _times(study: Study, rows: Mapping[str, Any]) -> str:
    first = rows.get(next(iter(study.variants)), {})
    lines = [
        [
            row["title"],
            str(len(row["ms_per_image"])),
            _cell(row["ms_per_image"], 3),
            _difference(row["ms_per_image"], first.get("ms_per_image", {}), 3) if row is not first else "",
            f"`{row['config_hash']}`",
        ]
        for row in rows.values()
    ]
    return markdown_table(["network", "repetitions", "ms an image", "difference", "config hash"], lines)


# ---- figures over seeds


def _cell(by_seed: Mapping[str, float] | None, digits: int) -> str:
    if not by_seed:
        return "not measured"
    return format_ci(by_seed.values(), f".{digits}f")


def _difference(by_seed: Mapping[str, float], baseline: Mapping[str, float], digits: int = 2) -> str:
    pairs = paired(by_seed, baseline)
    return format_ci(pairs, f"+.{digits}f") if pairs else "–"


def _seeds(by_seed: Mapping[str, float]) -> str:
    return ", ".join(by_seed)


# ---- words


def _distinct(facts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(facts))


def _pairs(rows: Mapping[str, Any], a: str, b: str) -> list[tuple[str, str]]:
    return [(row[a][seed], row[b][seed]) for row in rows.values() for seed in row.get(a, {}) if seed in row.get(b, {})]


def _hardware(described: Mapping[str, str]) -> str:
    cores = f"{described.get('cores', '?')} cores"
    cpu = f" ({described['cpu']})" if "cpu" in described else ""
    return f"{described.get('devices', '?')}, {cores}{cpu}, {described.get('system', '?')}"


def _commands(study: Study, rows: Mapping[str, Any], command: str) -> list[str]:
    """What gives these figures: one command for each number of seeds."""
    counts = {name: max(map(int, row[study.figure])) + 1 for name, row in rows.items()}
    lines = []
    for seeds in sorted(set(counts.values())):
        named = [name for name in rows if counts[name] == seeds]
        only = "" if set(named) == set(study.variants) else f" --rows={','.join(named)}"
        lines.append(f"{command or study.command} --seeds={seeds}{only}")
    return lines
