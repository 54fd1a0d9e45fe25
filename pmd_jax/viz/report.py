"""One self-contained HTML page a run: `write_report(workdir)` reads what the run left behind and writes report.html.

The page loads nothing from anywhere: figures are data URIs, the script is inline, and its content security policy
forbids the rest. A part that a run did not produce (one stage alone, say) is left out with a sentence.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from pmd_jax.data.hand import BONES
from pmd_jax.evaluate import metrics
from pmd_jax.evaluate.curves import read_metrics
from pmd_jax.runtime import digest
from pmd_jax.runtime.errors import InputError
from pmd_jax.runtime.files import read_arrays, read_text, write_text
from pmd_jax.viz import charts, panels, skeleton, templates

GRID_EXAMPLES = 3  # hands in a static figure, as many as a page is wide
GRIDS = 2
TURNABLE_EXAMPLES = 12  # hands in the interactive view
OCCLUSION_EXAMPLES = 6
_EXAMPLE_ARRAYS = {"rgb": (4, 3), "depth": (3, None), "xyz_m": (3, 3), "K": (3, 3), "key": (1, None)}  # rank, last axis
_SECOND = {"before": "Student before", "after": "Student after", "teacher": "Teacher, on depth", "true": "Ground truth"}
_SECOND_ARRAYS = {"rgb": (4, 3), "depth": (3, None), "K": (3, 3), "after": (3, 3)}
_OCCLUSION_ARRAYS = {"occlusion_before": (4, 3), "occlusion_after": (4, 3), "occlusion_block": (2, 3)}


def write_report(workdir: Path) -> Path:
    """Writes `workdir/report.html` and returns its path; an older report stays until the new one is whole.

    Reads results.json (required), config.json, metrics.jsonl and examples.npz (each may be missing).

    Raises:
        FileNotFoundError: there is no results.json, so there is nothing to report.
        ValueError: results.json is not JSON or not what was saved, or holds no "rows".
    """
    workdir = Path(workdir)
    page = render(workdir)
    path = workdir / "report.html"
    write_text(path, page)
    return path


def render(workdir: Path) -> str:
    """The report as text; reads the workdir, writes nothing. Raises as `write_report`."""
    results = _read_results(workdir / "results.json")
    titles = {row: str(values.get("title", row)) for row, values in results["rows"].items()}
    auc, auc_range = metrics.find_auc(next(iter(results["rows"].values()), ()))
    return templates.render(
        "report.html",
        results=results,
        table=[_table_row(titles[row], values, auc) for row, values in results["rows"].items()],
        auc_range=auc_range,
        accuracy=_accuracy_figures(results["rows"], titles, auc, auc_range),
        config=_flatten(_read_config(workdir / "config.json")),
        **_curve_figures(workdir / "metrics.jsonl", titles),
        **_example_figures(workdir / "examples.npz", titles),
        second=_second(workdir / "unlabelled_examples.npz", results),
    )


# ---- table and curves


def _read_results(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing, so there is nothing to report. A run writes it when it has evaluated; "
            "let the run finish, or name the workdir of a finished one."
        )
    try:
        results = digest.read_json(path)
    except digest.Damaged as error:
        raise ValueError(f"{error}. Run the same command again to write it anew.") from error
    rows = results.get("rows")
    if not isinstance(rows, dict) or not all(isinstance(values, dict) for values in rows.values()):
        raise ValueError(f'{path} holds no "rows" of named figures. Run the same command again to write it anew.')
    return results


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(read_text(path))
    except (FileNotFoundError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested configuration → ("optim.lr", "0.0001") pairs in the order of the file."""
    pairs = []
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            pairs += _flatten(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", json.dumps(value, ensure_ascii=False)))
    return pairs


def _table_row(title: str, values: Mapping[str, Any], auc: str) -> list[str]:
    """Cells in the order of the table's head; a figure that the run did not measure is a dash."""
    formats = {
        "epe_mm": "{:.2f}",
        "epe_median_mm": "{:.2f}",
        auc: "{:.4f}",
        "labels": "{:,.0f}",
        "without_labels": "{:,.0f}",
        "parameters": "{:,.0f}",
        "steps": "{:,.0f}",
        "train_seconds": "duration",
        "images_per_s": "{:,.0f}",
    }
    cells = [title]
    for name, form in formats.items():
        value = values.get(name)
        if not isinstance(value, int | float) or not math.isfinite(value):
            cells.append("–")
        else:
            cells.append(_duration(value) if form == "duration" else form.format(value))
    return cells


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def _accuracy_figures(
    rows: Mapping[str, Any], titles: Mapping[str, str], auc: str, auc_range: str
) -> list[tuple[str, str]]:
    """(caption, SVG) for the figures that results.json has the numbers of."""
    names = _distinct(titles)

    def array(row: str, *keys: str) -> np.ndarray:
        value: Any = rows[row]
        for key in keys:
            value = value.get(key, {}) if isinstance(value, dict) else {}
        return np.asarray(value, float) if isinstance(value, list) else np.zeros(0)

    pck = {names[row]: (array(row, "pck", "thresholds_mm"), array(row, "pck", "pck")) for row in rows}
    joints = {names[row]: array(row, "epe_per_joint_mm") for row in rows}
    axes = {names[row]: array(row, "error_per_axis_mm") for row in rows}
    areas = {names[row]: rows[row][auc] for row in rows if isinstance(rows[row].get(auc), int | float)}

    drawn = []
    if any(len(x) for x, _ in pck.values()):
        caption = f"PCK between 20 and 50 mm, and the area under each curve over {auc_range} mm (the paper's Figure 6)."
        drawn.append((caption, _svg(charts.pck_curves(pck, areas))))
    if any(len(error) for error in axes.values()):
        drawn.append(("Error along each axis of the camera.", _svg(charts.per_axis_bars(_filled(axes, 3)))))
    if any(len(error) for error in joints.values()):
        drawn.append(("Error of each joint.", _svg(charts.per_joint_bars(_filled(joints, 21)))))
    return drawn


def _filled(values: Mapping[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    """A method that was not measured keeps its place, and with it its colour, as an empty bar."""
    return {name: value if len(value) == length else np.full(length, np.nan) for name, value in values.items()}


def _distinct(titles: Mapping[str, str]) -> dict[str, str]:
    """Row → name in the figures, where two rows with one title would be drawn as one."""
    counts = list(titles.values())
    return {row: title if counts.count(title) == 1 else f"{title} ({row})" for row, title in titles.items()}


def _curve_figures(path: Path, titles: Mapping[str, str]) -> dict[str, Any]:
    """Loss and EPE curves, and how many lines of metrics.jsonl could not be read (a run may be killed in a write)."""
    series = {key: {row: {} for row in titles} for key in ("loss", "eval/epe_mm")}
    lines, unread = read_metrics(path)
    for line in lines:
        try:
            for key, rows in series.items():
                if key in line and line["row"] in rows:
                    # A disk that was full for a while may have left steps that were done twice: the later one counts.
                    rows[line["row"]][int(line["step"])] = float(line[key])
        except (ValueError, TypeError):
            unread += 1

    names = _distinct(titles)
    loss, epe = ({names[row]: _sorted(points) for row, points in rows.items()} for rows in series.values())
    drawn = []
    if any(len(x) for x, _ in loss.values()):
        caption = "Training loss. The rows minimise different sums, so heights compare within a row only."
        drawn.append((caption, _svg(charts.loss_curves(loss))))
    if any(len(x) for x, _ in epe.values()):
        drawn.append(("Error at each evaluation during training.", _svg(charts.epe_curves(epe))))
    return {"curves": drawn, "unread_metrics": unread}


def _sorted(points: Mapping[int, float]) -> tuple[np.ndarray, np.ndarray]:
    steps = sorted(step for step, value in points.items() if math.isfinite(value))
    return np.array(steps, float), np.array([points[step] for step in steps], float)


# ---- pictures


def _example_figures(path: Path, titles: Mapping[str, str]) -> dict[str, Any]:
    """The figures of examples.npz, or the sentence that says why there are none."""
    missing = {"pose_grids": [], "turnable": None, "occlusion": None, "examples_note": ""}
    if not path.is_file():
        return missing | {"examples_note": "This run left no examples.npz, so there are no pictures."}
    try:
        arrays = read_arrays(path)
    except InputError as error:
        return missing | {"examples_note": f"examples.npz cannot be read ({error}), so there are no pictures."}

    found: dict[str, Any] = {}
    if _complete(arrays, _EXAMPLE_ARRAYS):
        rgb, depth, K, true_m = (arrays[name] for name in ("rgb", "depth", "K", "xyz_m"))
        poses = {name: arrays.get(f"pose_{row}") for row, name in _distinct(titles).items()}
        predicted = {name: pose for name, pose in poses.items() if pose is not None and pose.shape == true_m.shape}
        found["pose_grids"] = []
        for start in range(0, min(len(rgb), GRIDS * GRID_EXAMPLES), GRID_EXAMPLES):
            hands = slice(start, start + GRID_EXAMPLES)
            shown = {name: pose[hands] for name, pose in predicted.items()}
            grid = panels.pose_grid(rgb[hands], depth[hands], K[hands], true_m[hands], shown)
            found["pose_grids"].append(_png(grid))
        found["turnable"] = _turnable(rgb, true_m, predicted, arrays["key"].tolist())
    if _complete(arrays, _OCCLUSION_ARRAYS):
        blocks = [arrays[name][:OCCLUSION_EXAMPLES] for name in _OCCLUSION_ARRAYS]
        found["occlusion"] = _png(panels.occlusion_examples(*blocks))
    return missing | found


def _second(path: Path, results: Mapping[str, Any]) -> dict[str, Any] | None:
    """The section of the second data set: its figures, and pictures of it where they were left; None without one."""
    found = results["rows"].get(results.get("exported_row"), {}).get("unlabelled")
    if not isinstance(found, dict):
        return None
    networks = {"before": found.get("before"), "after": found, "teacher": found.get("teacher")}
    keys = {"epe_mm": "{:.2f}", "epe_median_mm": "{:.2f}", "to_teacher_scales": "{:.3f}"}
    table = [
        [_SECOND[name], *(form.format(said[key]) if key in said else "–" for key, form in keys.items())]
        for name, said in networks.items()
        if isinstance(said, dict)
    ]
    section = {"found": found, "table": table, "grids": [], "truth": "", "note": ""}
    try:
        arrays = read_arrays(path)
    except InputError as error:
        return section | {"note": f"There are no pictures of it ({error})."}
    if not _complete(arrays, _SECOND_ARRAYS):
        return section | {"note": "unlabelled_examples.npz holds no complete set of pictures and poses."}
    truth = next(name for name in ("true", "teacher", "after") if name in arrays)
    evenly = int(arrays["evenly"])
    kinds = {
        "Spread evenly.": range(evenly),
        "Where student and teacher disagree most.": range(evenly, len(arrays["rgb"])),
    }
    grids = [(caption, _second_grids(arrays, truth, hands)) for caption, hands in kinds.items() if hands]
    return section | {"grids": grids, "truth": _SECOND[truth]}


def _second_grids(arrays: Mapping[str, np.ndarray], truth: str, hands: range) -> list[str]:
    """Figures of some pictures, each as many as a page is wide."""
    drawn = []
    for start in hands[::GRID_EXAMPLES]:
        part = slice(start, min(start + GRID_EXAMPLES, hands.stop))
        shown = {_SECOND[name]: arrays[name][part] for name in _SECOND if name in arrays and name != truth}
        rgb, depth, K, true_m = (arrays[name][part] for name in ("rgb", "depth", "K", truth))
        drawn.append(_png(panels.pose_grid(rgb, depth, K, true_m, shown, _SECOND[truth])))
    return drawn


def _complete(arrays: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, int | None]]) -> bool:
    """All arrays there, of the right rank and last axis, equally long and not empty."""
    if not all(name in arrays and arrays[name].ndim == rank for name, (rank, _) in wanted.items()):
        return False
    if not all(last in (None, arrays[name].shape[-1]) for name, (_, last) in wanted.items()):
        return False
    lengths = {len(arrays[name]) for name in wanted}
    return len(lengths) == 1 and lengths != {0}


def _turnable(rgb: np.ndarray, true_m: np.ndarray, predicted: Mapping[str, np.ndarray], keys: list) -> dict[str, Any]:
    """What the page's script draws: millimetres about the middle of the true hand."""
    poses = [true_m, *predicted.values()]
    middle = (true_m.min(1) + true_m.max(1))[:, None] / 2
    examples = []
    for i, key in zip(range(min(len(rgb), TURNABLE_EXAMPLES)), keys, strict=False):
        about_mm = [((pose[i] - middle[i]) * 1000).round(1).tolist() for pose in poses]
        examples.append({"key": str(key), "picture": _png(Image.fromarray(rgb[i])), "poses": about_mm})
    names = ["Ground truth", *predicted]
    return {"names": names, "examples": examples, "bones": BONES, "colours": skeleton.JOINT_COLOURS}


def _svg(figure: Figure) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(charts.svg_bytes(figure)).decode()


def _png(picture: Figure | Image.Image) -> str:
    return "data:image/png;base64," + base64.b64encode(charts.png_bytes(picture, dpi=110)).decode()
