"""The section of RESULTS.md on where the teacher starts, made of `results/<data set>/teacher_start.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pmd_jax.config.methods import METHODS
from pmd_jax.config.presets import DATASETS
from pmd_jax.study import result_files
from pmd_jax.study.statistics import format_ci, markdown
from pmd_jax.study.teacher_start import ROW_NAMES, teacher_start

Rows = Mapping[str, Mapping[str, Any]]  # "<row>/<start>" → its figures, as study_results.read gives them
BySeed = Mapping[str, float]
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
    study = teacher_start("rendered")
    parts = [f"## {study.title}", f"EPE mean in mm. {study.note}"]
    for dataset, title in DATASETS.items():
        file = result_files.read(results / dataset / f"{study.name}.json")
        if rows := file["rows"]:
            parts += [f"### {study.title} on {title}", _table(rows), facts(rows, [result_files.command(file)])]
    if len(parts) == 2:
        command = f"python -m pmd_jax.study --config=launch/paper/{study.name}.py:rendered"
        parts.append(f"Not measured. To measure it:\n\n    {command} --seeds=3")
    return parts


def _table(rows: Rows) -> str:
    """Each network both ways, and what the teacher gives the student; differences are taken seed by seed."""
    baseline = rows.get(BASELINE, {}).get("epe_mm", {})
    lines = [[METHODS[BASELINE].title, _cell(baseline), _cell(baseline), "–"]]
    for row in ROW_NAMES:
        same, apart = (rows.get(f"{row}/{start}", {}).get("epe_mm", {}) for start in HEADS)
        lines.append([METHODS[row].title, _cell(same), _cell(apart), _cell(_less(apart, same), "+.2f")])
        if row == STUDENT:
            gains = [_cell(_less(by_seed, baseline), "+.2f") for by_seed in (same, apart)]
            lines.append([f"{METHODS[row].title} minus {METHODS[BASELINE].title}", *gains, ""])
    return markdown(["network", *HEADS.values(), "difference"], lines)


def _less(ours: BySeed, theirs: BySeed) -> BySeed:
    return {seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs}


def _cell(by_seed: BySeed, form: str = ".2f") -> str:
    seeds = f" ({len(by_seed)} seeds)" * (len(by_seed) > 1)
    return f"{format_ci(by_seed.values(), form)}{seeds}" if by_seed else "–"
