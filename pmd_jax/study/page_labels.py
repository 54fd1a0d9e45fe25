"""The section of RESULTS.md on the number of labels, and its figure, made of `results/<data set>/labels.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pmd_jax.config.methods import METHODS
from pmd_jax.config.presets import DATASETS
from pmd_jax.runtime.files import write_bytes
from pmd_jax.runtime.markdown import markdown_table
from pmd_jax.study import result_files
from pmd_jax.study.label_efficiency import (
    COUNTS,
    LENGTHS,
    METHOD_NAMES,
    label_free,
    label_steps,
    label_weights,
    labels,
)
from pmd_jax.study.statistics import ci_and_seeds, format_ci, interval, paired
from pmd_jax.viz import charts

Rows = Mapping[str, Mapping[str, Any]]  # "<row>/<labels>" → its figures, as result_files.read gives them
BASELINE, TAUGHT, FEW, ALL = "rgb_baseline", "pmd_net_unlabelled", "3000", "all"


def section(results: Path, where: str, facts: Callable[[Rows, list[str]], str]) -> list[str]:
    """The paragraphs; the figure goes beside its data set's JSON file.

    Args:
        results, where: the folder of the results, and its name as the page links to it.
        facts: what some rows' figures rest on, given the commands.

    Raises:
        StudyError: a file is broken.
    """
    study = labels()
    parts = [f"## {study.title}", f"EPE mean in mm. {study.note}"]
    for dataset, title in DATASETS.items():
        file = result_files.read(results / dataset / f"{study.name}.json")
        if rows := file["rows"]:
            write_bytes(results / dataset / f"{study.name}.svg", _figure(rows))
            heads = {count: _head(count) for count in COUNTS}
            parts += [f"### {study.title} on {title}", *_tables(rows, "labels", heads), *_against_all(rows)]
            parts.append(f"![EPE against the number of labels]({where}/{dataset}/{study.name}.svg)")
            parts.append(facts(rows, [result_files.command(file)]))
    if len(parts) == 2:
        parts.append(f"Not measured. To measure it:\n\n    {study.command} --seeds=3")
    for dataset, title in DATASETS.items():
        study = label_steps(dataset)
        file = result_files.read(results / dataset / f"{study.name}.json")
        if rows := file["rows"]:
            parts += [f"### {study.title} on {title}", f"EPE mean in mm. {study.note}"]
            parts += [*_tables(rows, "training", LENGTHS), facts(rows, [result_files.command(file)])]
    for make in (label_weights, label_free):
        for dataset, title in DATASETS.items():
            study = make(dataset)
            file = result_files.read(results / dataset / f"{study.name}.json")
            if rows := file["rows"]:
                parts += [f"### {study.title} on {title}", f"EPE mean in mm. {study.note}"]
                parts += [_cost(rows), facts(rows, [result_files.command(file)])]
    return parts


def _cost(rows: Rows) -> str:
    """Each row, and how much worse it is than the same network's first, seed by seed."""
    first: dict[str, Mapping[str, float]] = {}
    lines = []
    for row in rows.values():
        base = first.setdefault(row["row"], row["epe_mm"])
        worse = [] if base is row["epe_mm"] else paired(row["epe_mm"], base)
        lines.append([row["title"], ci_and_seeds(row["epe_mm"].values()), ci_and_seeds(worse, "+.2f")])
    return markdown_table(["network", "EPE", "difference"], lines)


def _epe_mm(rows: Rows, row: str, count: str) -> Mapping[str, float]:
    return rows.get(f"{row}/{count}", {}).get("epe_mm", {})


def _percent(rows: Rows, row: str, count: str, than: str) -> list[float]:
    """A row's EPE against the baseline's with `than` labels, seed by seed."""
    ours, theirs = _epe_mm(rows, row, count), _epe_mm(rows, BASELINE, than)
    return [100 * (ours[seed] / theirs[seed] - 1) for seed in ours if seed in theirs]


def _tables(rows: Rows, what: str, heads: Mapping[str, str]) -> list[str]:
    """Each row's error at each column of `heads`, and what it is against the baseline's there."""
    errors, gains = [], []
    for row in METHOD_NAMES:
        by_column = [_epe_mm(rows, row, column).values() for column in heads]
        errors.append([METHODS[row].title, *map(ci_and_seeds, by_column)])
        if row != BASELINE:
            gains.append([METHODS[row].title, *(ci_and_seeds(_percent(rows, row, key, key), "+.1f") for key in heads)])
    return [
        markdown_table([what, *heads.values()], errors),
        "Against the RGB baseline of the same column, seed by seed, in percent:",
        markdown_table([what, *heads.values()], gains),
    ]


def _against_all(rows: Rows) -> list[str]:
    """Few labels against the baseline with all."""
    behind = _percent(rows, TAUGHT, FEW, ALL)
    if not behind:
        return []
    return [
        f"{METHODS[TAUGHT].title} with {_head(FEW)} labels, against the RGB baseline with all labels: "
        f"{format_ci(behind, '+.1f')} %."
    ]


def _head(count: str) -> str:
    return count if count == ALL else f"{int(count):,}"


def _figure(rows: Rows) -> bytes:
    points = {}
    for row in METHOD_NAMES:
        by_place = {place: _epe_mm(rows, row, count) for place, count in enumerate(COUNTS)}
        known = [(place, *interval(by_seed.values())) for place, by_seed in by_place.items() if by_seed]
        if known:
            points[METHODS[row].title] = np.array(known, float).T
    return charts.svg_bytes(charts.epe_by_labels(points, [_head(count) for count in COUNTS]))
