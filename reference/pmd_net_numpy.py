"""A second implementation of the paper's formulas in plain NumPy and float64, to hold ours against.

Written from the paper's text (sections 3 and 4) and our list of readings, before and without looking at our losses,
metrics and augmentation. It loops over samples, axes and joints where ours works on whole arrays: slow and plain, so
that the two share neither code nor tricks. Axes are 0 = X, 1 = Y, 2 = Z throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped

THRESHOLDS_MM = tuple(range(20, 51))  # the AUC between 20 and 50 mm (Figure 6), in steps of 1 mm (our reading)


def regression_loss(pose: Float[np.ndarray, "b 21 3"], label: Float[np.ndarray, "b 21 3"]) -> float:
    """l_reg of Eq. 1, 2 and 4: the root of the three axes' summed squared errors, averaged over the samples."""
    per_sample = []
    for predicted, wanted in zip(pose, label, strict=True):
        squared_norms = [sum((predicted[:, axis] - wanted[:, axis]) ** 2) for axis in range(3)]
        per_sample.append(math.sqrt(sum(squared_norms)))
    return math.fsum(per_sample) / len(per_sample)


def distillation_loss(
    student: Sequence[Float[np.ndarray, "b _"]],
    teacher: Sequence[Float[np.ndarray, "b _"]],
    weights: Sequence[float],
) -> float:
    """L_dis of Eq. 3 over matching vectors (feat, then f₋₂ of X, Y and Z, or of one joint head): Σ λ_i ‖ψ_i − φ_i‖₁.

    Each L1 norm is a sum over the vector's elements; samples are averaged.
    """
    samples = len(student[0])
    total = 0.0
    for weight, ours, theirs in zip(weights, student, teacher, strict=True):
        for sample in range(samples):
            total += weight * math.fsum(abs(ours[sample] - theirs[sample]))
    return total / samples


def stage_two_loss(distillation: float, regression: float, alpha: float) -> float:
    """Loss II of Eq. 5."""
    return distillation + alpha * regression


def refined_regression_loss(
    first: Float[np.ndarray, "b 21 3"],
    residual: Float[np.ndarray, "b 21 3"],
    label: Float[np.ndarray, "b 21 3"],
    beta: float,
) -> float:
    """L_reg of Eq. 6: the first pose scored by L_reg1, the first pose plus the residual by L_reg2."""
    return beta * regression_loss(first, label) + regression_loss(first + residual, label)


def replace_block(
    image: Shaped[np.ndarray, "h w c"], row: int, column: int, length: int
) -> Shaped[np.ndarray, "h w c"]:
    """Section 3.4 and Figure 4: the K×K block at (row, column) shows the pixels of the block right of it."""
    replaced = image.copy()
    for v in range(row, row + length):
        for u in range(column, column + length):
            replaced[v, u] = image[v, u + length]
    return replaced


def block_corners(height: int, width: int, length: int) -> set[tuple[int, int]]:
    """All (row, column) where both the block and its right neighbour lie inside the image (our reading)."""
    return {
        (row, column)
        for row in range(height)
        for column in range(width)
        if row + length <= height and column + 2 * length <= width
    }


def normalise_pose(
    xyz_m: Float[np.ndarray, "21 3"],
) -> tuple[Float[np.ndarray, "21 3"], Float[np.ndarray, " 3"], float]:
    """Section 4.2 and Figure 5: the middle MCP (joint 9) at the origin, its distance to joint 0 at one.

    Returns the pose in hand scales, the root in metres and the scale in metres.
    """
    root_m = xyz_m[9]
    scale_m = math.dist(xyz_m[0], root_m)
    return np.array([(joint - root_m) / scale_m for joint in xyz_m]), root_m, scale_m


def joint_errors_mm(
    pose: Float[np.ndarray, "b 21 3"], label: Float[np.ndarray, "b 21 3"], scale_m: Float[np.ndarray, " b"]
) -> Float[np.ndarray, "b 21"]:
    """Each joint's distance to its label in millimetres, from poses in hand scales (the scale is known at test)."""
    return np.array(
        [
            [1000 * scale * math.dist(joint, wanted) for joint, wanted in zip(predicted, labelled, strict=True)]
            for predicted, labelled, scale in zip(pose, label, scale_m, strict=True)
        ]
    )


def epe_mm(errors_mm: Float[np.ndarray, "b j"]) -> float:
    """Mean end-point error over all samples and joints (section 4.1)."""
    return math.fsum(errors_mm.ravel()) / errors_mm.size


def pck(errors_mm: Float[np.ndarray, "b j"], thresholds_mm: Sequence[float] = THRESHOLDS_MM) -> list[float]:
    """The share of joints whose error falls within each threshold (section 4.1)."""
    return [sum(error <= threshold for error in errors_mm.ravel()) / errors_mm.size for threshold in thresholds_mm]


def auc(errors_mm: Float[np.ndarray, "b j"], thresholds_mm: Sequence[float] = THRESHOLDS_MM) -> float:
    """The area under the PCK curve by trapezoids, divided by the thresholds' range so that a perfect curve has 1."""
    shares = pck(errors_mm, thresholds_mm)
    area = 0.0
    for i in range(1, len(shares)):
        area += (thresholds_mm[i] - thresholds_mm[i - 1]) * (shares[i] + shares[i - 1]) / 2
    return area / (thresholds_mm[-1] - thresholds_mm[0])
