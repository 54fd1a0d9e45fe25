"""The figures of RESULTS.md, made of the files under results/ alone: the same files give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pmd_jax.evaluate import metrics
from pmd_jax.runtime.files import write_bytes
from pmd_jax.study import result_files
from pmd_jax.study.definitions import Study
from pmd_jax.study.statistics import interval, paired
from pmd_jax.viz import charts, panels


def write(folder: Path, study: Study, rows: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Draws what the study shows and its rows allow into `folder`; (file name, caption) in the page's order.

    Raises:
        StudyError: figure7.json is broken.
    """
    drawn = []
    shown = {row["title"]: row for name, row in rows.items() if name in study.pck_curves}
    if shown:
        auc, auc_range = metrics.find_auc(next(iter(shown.values())))
        curves = {title: _pck(row) for title, row in shown.items()}
        areas = {title: _mean(row[auc]) for title, row in shown.items() if auc in row}
        write_bytes(folder / "figure6.svg", charts.svg_bytes(charts.pck_curves(curves, areas)))
        caption = f"Figure 6: PCK curves, mean over the seeds, and the area under them over {auc_range} mm"
        drawn.append(("figure6.svg", caption))
    if study.error_bars and rows:
        axes = {row["title"]: _means(row["error_per_axis_mm"]) for row in rows.values()}
        joints = {row["title"]: _means(row["epe_per_joint_mm"]) for row in rows.values()}
        write_bytes(folder / "per_axis.svg", charts.svg_bytes(charts.per_axis_bars(axes)))
        write_bytes(folder / "per_joint.svg", charts.svg_bytes(charts.per_joint_bars(joints)))
        drawn.append(("per_axis.svg", "Mean absolute error along each axis of the camera, mean over the seeds"))
        drawn.append(("per_joint.svg", "Mean error of each joint, mean over the seeds"))
    if study.differences and (differing := _differences(study, rows)):
        first = next(iter(study.variants.values()))
        write_bytes(folder / f"{study.name}.svg", charts.svg_bytes(charts.differences(differing, first.title)))
        caption = f"Difference of each line to {first.title}, paired by seed, with its 95 % interval"
        drawn.append((f"{study.name}.svg", caption))
    if study.poses and (recorded := result_files.read_poses(folder / result_files.POSES)) is not None:
        hands, poses = recorded
        grid = panels.pose_grid(hands["rgb"], hands["depth"], hands["K"], hands["xyz_m"], poses)
        write_bytes(folder / "figure7.png", charts.png_bytes(grid, dpi=100))
        drawn.append(("figure7.png", "Figure 7: test hands, the poses of seed 0, and the truth"))
    return drawn


def _differences(study: Study, rows: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """By title, in the study's order; of those that share a seed with the first."""
    first, *others = study.variants
    base = rows.get(first, {}).get(study.figure, {})
    found = {name: paired(rows[name][study.figure], base) for name in others if name in rows}
    return {study.variants[name].title: interval(values) for name, values in found.items() if values}


def _pck(row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    curves = list(row["pck"].values())
    return np.array(curves[0]["thresholds_mm"]), np.mean([curve["pck"] for curve in curves], axis=0)


def _mean(by_seed: Mapping[str, float]) -> float:
    return float(np.mean(list(by_seed.values())))


def _means(by_seed: Mapping[str, list[float]]) -> np.ndarray:
    return np.mean(list(by_seed.values()), axis=0)
