"""The figures of RESULTS.md, made of the files under results/ alone: the same files give the same bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pmd_jax.evaluate import metrics
from pmd_jax.runtime.files import write_bytes
from pmd_jax.study.paper_tables import FIGURE_6
from pmd_jax.study.result_files import StudyError
from pmd_jax.viz import charts, panels


def write(folder: Path, rows: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Draws what table 2's rows allow into `folder`; returns (file name, caption) in the page's order.

    Raises:
        StudyError: figure7.json is broken.
    """
    drawn = []
    shown = {row["title"]: row for name, row in rows.items() if name in FIGURE_6}
    if shown:
        auc, auc_range = metrics.find_auc(next(iter(shown.values())))
        curves = {title: _pck(row) for title, row in shown.items()}
        areas = {title: _mean(row[auc]) for title, row in shown.items() if auc in row}
        write_bytes(folder / "figure6.svg", charts.svg_bytes(charts.pck_curves(curves, areas)))
        caption = f"Figure 6: PCK curves, mean over the seeds, and the area under them over {auc_range} mm"
        drawn.append(("figure6.svg", caption))
    if rows:
        axes = {row["title"]: _means(row["error_per_axis_mm"]) for row in rows.values()}
        joints = {row["title"]: _means(row["epe_per_joint_mm"]) for row in rows.values()}
        write_bytes(folder / "per_axis.svg", charts.svg_bytes(charts.per_axis_bars(axes)))
        write_bytes(folder / "per_joint.svg", charts.svg_bytes(charts.per_joint_bars(joints)))
        drawn.append(("per_axis.svg", "Mean absolute error along each axis of the camera, mean over the seeds"))
        drawn.append(("per_joint.svg", "Mean error of each joint, mean over the seeds"))
    if (folder / "figure7.json").exists():
        write_bytes(folder / "figure7.png", _poses(folder / "figure7.json"))
        drawn.append(("figure7.png", "Figure 7: test hands, the poses of seed 0, and the truth"))
    return drawn


def _poses(path: Path) -> bytes:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        rgb, depth, K, true_m = (decode(tree[key]) for key in ("rgb", "depth", "K", "xyz_m"))
        poses = {title: decode(pose) for title, pose in tree["poses"].items()}
    except (ValueError, TypeError, KeyError) as error:
        raise StudyError(f"{path} is broken ({type(error).__name__}: {error}); restore it or delete it.") from error
    return charts.png_bytes(panels.pose_grid(rgb, depth, K, true_m, poses), dpi=100)


def decode(tree: Mapping[str, Any]) -> np.ndarray:
    """The array that `pmd_jax.study.encode` made JSON of."""
    data = np.frombuffer(base64.b64decode(tree["base64"]), np.dtype(tree["dtype"]))
    return data.reshape(tree["shape"])


def _pck(row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    curves = list(row["pck"].values())
    return np.array(curves[0]["thresholds_mm"]), np.mean([curve["pck"] for curve in curves], axis=0)


def _mean(by_seed: Mapping[str, float]) -> float:
    return float(np.mean(list(by_seed.values())))


def _means(by_seed: Mapping[str, list[float]]) -> np.ndarray:
    return np.mean(list(by_seed.values()), axis=0)
