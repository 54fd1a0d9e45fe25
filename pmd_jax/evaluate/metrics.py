"""How far the joints are off: EPE, PCK and AUC (paper, section 4.1), and what to call a figure.

Plain NumPy in float64 on gathered predictions, so that the figure is the same however the work was spread.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from pmd_jax.config import EvaluationConfig, cropped_without_joints, datasets
from pmd_jax.data import hand

THRESHOLDS_MM = np.arange(0.0, 51.0)  # of the recorded PCK curve, whatever the AUC's range


def protocol_name(protocol: EvaluationConfig, dataset: str, dataset_config: str = "default") -> str:
    """What a figure on a data set means, in words."""
    known = datasets.info(dataset)
    joint_0 = "palm" if known.joint_0_is_palm and protocol.joint_0 == "as_labelled" else "wrist"
    joints = "21 joints" if protocol.count_root else "20 joints, root left out"
    rule, box = "", "GT box"
    if protocol.joint_0 != "as_labelled":
        mcp, factor = datasets.WRIST_RULES[protocol.joint_0]
        start = hand.JOINT_NAMES[mcp].replace("_mcp", " MCP")
        rule = f"wrist = {start} + {factor:g}·(palm − {start}), "
        box = "GT box of the labelled joints"  # the crops are prepared once, around the palm
    if cropped_without_joints(dataset_config):
        box = f"box around {known.label_free_box}"
    return (
        f"root middle MCP and scale {joint_0}–middle MCP known, {rule}{box}, {joints}, "
        f"AUC {protocol.auc_from_mm:g}–{protocol.auc_to_mm:g} mm at {protocol.auc_points} thresholds"
    )


def auc_thresholds_mm(protocol: EvaluationConfig) -> Float[np.ndarray, " t"]:
    """The grid of the AUC."""
    return np.linspace(protocol.auc_from_mm, protocol.auc_to_mm, protocol.auc_points)


def auc_key(protocol: EvaluationConfig) -> str:
    """The AUC's name among the figures: `auc_20_50`, or what the range is."""
    return f"auc_{protocol.auc_from_mm:g}_{protocol.auc_to_mm:g}"


def find_auc(figures: Iterable[str]) -> tuple[str, str]:
    """The AUC's key among a method's figures, and its range for a table's head: ("auc_20_50", "20–50")."""
    key = next((name for name in figures if name.startswith("auc_")), auc_key(EvaluationConfig()))
    return key, key.removeprefix("auc_").replace("_", "–")


def joint_errors_mm(
    predicted_m: Float[np.ndarray, "n 21 3"], true_m: Float[np.ndarray, "n 21 3"]
) -> Float[np.ndarray, "n 21"]:
    """Euclidean distance of each joint from the truth."""
    difference = np.asarray(predicted_m, np.float64) - np.asarray(true_m, np.float64)
    return 1000 * np.sqrt((difference**2).sum(-1))


def pck(errors_mm: Float[np.ndarray, "n j"], thresholds_mm: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """Share of joints whose error is at most each threshold."""
    ordered = np.sort(errors_mm, axis=None)
    return np.searchsorted(ordered, thresholds_mm, side="right") / ordered.size


def auc(errors_mm: Float[np.ndarray, "n j"], thresholds_mm: Float[np.ndarray, " t"]) -> float:
    """Area under the PCK curve by the trapezoid rule, divided by the range: 1 is perfect."""
    area = np.trapezoid(pck(errors_mm, thresholds_mm), thresholds_mm)
    return float(area / (thresholds_mm[-1] - thresholds_mm[0]))


def evaluate(
    predicted_m: Float[np.ndarray, "n 21 3"], true_m: Float[np.ndarray, "n 21 3"], protocol: EvaluationConfig
) -> dict:
    """All figures of one method on one split, as JSON types."""
    errors = joint_errors_mm(predicted_m, true_m)
    counted = np.arange(hand.NUM_JOINTS) if protocol.count_root else np.delete(np.arange(hand.NUM_JOINTS), hand.ROOT)
    axis_errors = 1000 * np.abs(np.asarray(predicted_m, np.float64) - true_m)[:, counted].mean((0, 1))
    return {
        "epe_mm": float(errors[:, counted].mean()),
        "epe_median_mm": float(np.median(errors[:, counted])),
        auc_key(protocol): auc(errors[:, counted], auc_thresholds_mm(protocol)),
        "epe_per_joint_mm": errors.mean(0).tolist(),
        "error_per_axis_mm": axis_errors.tolist(),
        "pck": {"thresholds_mm": THRESHOLDS_MM.tolist(), "pck": pck(errors[:, counted], THRESHOLDS_MM).tolist()},
        "samples": len(errors),
    }
