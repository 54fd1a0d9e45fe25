"""How far the joints are off: EPE, PCK and AUC (paper, section 4.1), and the protocol that names a figure.

Plain NumPy in float64 on gathered predictions, so that the figure is the same however the work was spread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from pmd_jax.data import hand

THRESHOLDS_MM = np.arange(0.0, 51.0)


@dataclass(frozen=True)
class Protocol:
    """What a number means; its name stands beside every number.

    Attributes:
        count_root: all 21 joints count (the root's error is then that of the network's own root), or 20.
        auc_from_mm, auc_to_mm: range of the AUC.
        auc_points: how many equally spaced thresholds, ends included; 31 is one a millimetre.
    """

    count_root: bool = True
    auc_from_mm: float = 20.0
    auc_to_mm: float = 50.0
    auc_points: int = 31

    @property
    def thresholds_mm(self) -> Float[np.ndarray, " t"]:
        return np.linspace(self.auc_from_mm, self.auc_to_mm, self.auc_points)

    @property
    def name(self) -> str:
        joints = "21 joints" if self.count_root else "20 joints, root left out"
        return (
            f"root middle MCP and scale wrist–middle MCP known, GT box, {joints}, "
            f"AUC {self.auc_from_mm:g}–{self.auc_to_mm:g} mm at {self.auc_points} thresholds"
        )


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
    predicted_m: Float[np.ndarray, "n 21 3"],
    true_m: Float[np.ndarray, "n 21 3"],
    protocol: Protocol = Protocol(),  # noqa: B008 - frozen
) -> dict:
    """All figures of one row on one split, as JSON types."""
    errors = joint_errors_mm(predicted_m, true_m)
    counted = np.arange(hand.NUM_JOINTS) if protocol.count_root else np.delete(np.arange(hand.NUM_JOINTS), hand.ROOT)
    axis_errors = 1000 * np.abs(np.asarray(predicted_m, np.float64) - true_m)[:, counted].mean((0, 1))
    return {
        "epe_mm": float(errors[:, counted].mean()),
        "epe_median_mm": float(np.median(errors[:, counted])),
        "auc_20_50": auc(errors[:, counted], protocol.thresholds_mm),
        "epe_per_joint_mm": errors.mean(0).tolist(),
        "error_per_axis_mm": axis_errors.tolist(),
        "pck": {"thresholds_mm": THRESHOLDS_MM.tolist(), "pck": pck(errors[:, counted], THRESHOLDS_MM).tolist()},
        "samples": len(errors),
    }
