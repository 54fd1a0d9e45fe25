"""The section of RESULTS.md on where the teacher starts, made of `results/<data set>/teacher_start.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pmd_jax.config.methods import METHODS
from pmd_jax.config.presets import DATASETS
from pmd_jax.runtime.markdown import markdown_table
from pmd_jax.study import result_files
from pmd_jax.study.statistics import ci_and_seeds, paired
from pmd_jax.study.teacher_start import METHOD_NAMES, teacher_start

Rows = Mapping[str, Mapping[str, Any]]  # "<row>/<start>" → its figures, as result_files.read gives them
BASELINE, STUDENT = "rgb_baseline", "pmd_net"
HEADS = {"same": "shared initial weights", "apart": "separate initial weights"}  # values of config.teacher.start


def section(results: Path, facts: Callable[[Rows, list[str]], str]) -> list[str]:
    """The paragraphs.

    Args:
        results: the folder of the results.
        facts: what some rows' figures rest on, given the commands.

    Raises:
        StudyError: a file is broken.
    """
    study = teacher_start()
    parts = [f"## {study.title}", f"EPE mean in mm. {study.note}"]
    for dataset, title in DATASETS.items():
        file = result_files.read(results / dataset / f"{study.name}.json")
        if rows := file["rows"]:
            parts += [f"### {study.title} on {title}", _table(rows), facts(rows, [result_files.command(file)])]
    if len(parts) == 2:
        parts.append(f"Not measured. To measure it:\n\n    {study.command} --seeds=3")
    return parts


def _table(rows: Rows) -> str:
    """Each network both ways, and what the teacher gives the student; differences are taken seed by seed."""
    baseline = rows.get(BASELINE, {}).get("epe_mm", {})
    lines = [[METHODS[BASELINE].title, ci_and_seeds(baseline.values()), ci_and_seeds(baseline.values()), "–"]]
    for row in METHOD_NAMES:
        same, apart = (rows.get(f"{row}/{start}", {}).get("epe_mm", {}) for start in HEADS)
        each = [ci_and_seeds(by_seed.values()) for by_seed in (same, apart)]
        lines.append([METHODS[row].title, *each, ci_and_seeds(paired(apart, same), "+.2f")])
        if row == STUDENT:
            gains = [ci_and_seeds(paired(by_seed, baseline), "+.2f") for by_seed in (same, apart)]
            lines.append([f"{METHODS[row].title} minus {METHODS[BASELINE].title}", *gains, ""])
    return markdown_table(["network", *HEADS.values(), "difference"], lines)
