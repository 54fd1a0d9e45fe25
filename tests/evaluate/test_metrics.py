"""EPE, PCK and AUC against brute force and numbers worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pmd_jax.config import EvaluationConfig, datasets
from pmd_jax.data import hand
from pmd_jax.evaluate import metrics
from pmd_jax.evaluate.metrics import auc, auc_thresholds_mm, find_auc, joint_errors_mm, pck, protocol_name

PAPER = EvaluationConfig()
ROOT_OUT = EvaluationConfig(count_root=False)


def evaluate(predicted: np.ndarray, true: np.ndarray, protocol: EvaluationConfig = PAPER) -> dict:
    return metrics.evaluate(predicted, true, protocol)


def poses(count: int = 7, error_m: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    """Made-up predictions and truths, float32 metres."""
    generator = np.random.default_rng(0)
    true = generator.normal([0, 0, 0.6], 0.05, (count, 21, 3))
    return (true + generator.normal(0, error_m, true.shape)).astype(np.float32), true.astype(np.float32)


def all_wrong_by(error_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Every joint is off by the same distance along z; exact in binary if the distance is."""
    true = np.zeros((4, 21, 3))
    return true + np.array([0, 0, error_m]), true


def errors_by_brute_force(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    return np.array(
        [
            [1000 * sum((float(p) - float(t)) ** 2 for p, t in zip(*joint, strict=True)) ** 0.5 for joint in pairs]
            for pairs in (zip(*sample, strict=True) for sample in zip(predicted, true, strict=True))
        ]
    )


def auc_by_brute_force(errors: np.ndarray, thresholds: list[float]) -> float:
    shares = [sum(error <= threshold for error in errors.ravel()) / errors.size for threshold in thresholds]
    area = 0.0
    for i in range(1, len(thresholds)):
        area += (thresholds[i] - thresholds[i - 1]) * (shares[i] + shares[i - 1]) / 2
    return area / (thresholds[-1] - thresholds[0])


def test_errors_are_distances_in_millimetres():
    errors = joint_errors_mm(*poses())
    assert (errors.shape, errors.dtype) == ((7, 21), np.float64)
    np.testing.assert_allclose(errors, errors_by_brute_force(*poses()), rtol=1e-12)


def test_one_error_by_hand():
    true = np.zeros((1, 21, 3))
    predicted = true.copy()
    predicted[0, 3] = 0.003, -0.004, 0.012
    assert joint_errors_mm(predicted, true)[0, 3] == pytest.approx(13)
    assert evaluate(predicted, true)["epe_mm"] == pytest.approx(13 / 21)


@pytest.mark.parametrize("protocol", [PAPER, ROOT_OUT], ids=["21 joints", "20 joints"])
def test_figures_equal_brute_force(protocol):
    errors = errors_by_brute_force(*poses())
    if not protocol.count_root:
        errors = errors[:, [j for j in range(21) if j != 9]]
    figures = evaluate(*poses(), protocol)
    assert figures["epe_mm"] == pytest.approx(errors.mean())
    assert figures["epe_median_mm"] == pytest.approx(np.median(errors))
    assert figures["auc_20_50"] == pytest.approx(auc_by_brute_force(errors, [20.0 + i for i in range(31)]))
    curve = [np.mean(errors <= threshold) for threshold in range(51)]
    np.testing.assert_allclose(figures["pck"]["pck"], curve)
    assert figures["pck"]["thresholds_mm"] == list(range(51))
    assert figures["samples"] == 7


def test_a_perfect_prediction():
    _, true = poses()
    figures = evaluate(true, true)
    assert (figures["epe_mm"], figures["auc_20_50"], figures["pck"]["pck"]) == (0, 1, [1.0] * 51)


def test_auc_of_one_error_by_hand():
    """Right from 30 mm on: 20 of the 30 millimetres, and half of the grid's step up to 30."""
    thresholds = auc_thresholds_mm(PAPER)
    assert auc(np.full((3, 21), 30.0), thresholds) == pytest.approx(20.5 / 30)
    assert auc(np.full((3, 21), 29.5), thresholds) == pytest.approx(20.5 / 30)
    assert auc(np.full((3, 21), 30.001), thresholds) == pytest.approx(19.5 / 30)
    assert auc(np.full((3, 21), 20.0), thresholds) == 1
    assert auc(np.full((3, 21), 50.001), thresholds) == 0
    assert auc(np.full((3, 21), 30.0), np.linspace(20, 50, 30_001)) == pytest.approx(2 / 3, abs=1e-4)


def test_a_known_prediction_end_to_end():
    """1/32 m = 31.25 mm for every joint: right from 32 mm on."""
    figures = evaluate(*all_wrong_by(1 / 32))
    assert figures["epe_mm"] == figures["epe_median_mm"] == 31.25
    assert figures["auc_20_50"] == pytest.approx(18.5 / 30)
    assert figures["pck"]["pck"] == [0.0] * 32 + [1.0] * 19


def test_an_error_at_the_threshold_counts_as_right():
    errors = np.array([[10.0, 20.0, 20.0, 40.0]])
    np.testing.assert_array_equal(pck(errors, np.array([9.999, 10, 20, 39.999, 40])), [0, 0.25, 0.75, 0.75, 1])


def test_the_root_counts_or_not():
    predicted, true = all_wrong_by(0.0)
    predicted[:, hand.ROOT, 0] += 0.021
    assert evaluate(predicted, true)["epe_mm"] == pytest.approx(1)
    assert evaluate(predicted, true)["error_per_axis_mm"] == pytest.approx([1, 0, 0])
    without = evaluate(predicted, true, ROOT_OUT)
    assert without["epe_mm"] == 0
    assert without["error_per_axis_mm"] == [0, 0, 0]
    assert without["auc_20_50"] == 1
    assert len(without["epe_per_joint_mm"]) == 21  # named by joint, so the root keeps its place
    assert without["epe_per_joint_mm"][hand.ROOT] == pytest.approx(21)


def test_figures_per_joint_and_per_axis():
    predicted, true = all_wrong_by(0.0)
    predicted[:, 4] += [0.001, -0.002, 0.002]
    predicted[0, 7] += [0, 0, 0.008]
    figures = evaluate(predicted, true)
    expected = np.zeros(21)
    expected[4], expected[7] = 3, 8 / 4
    np.testing.assert_allclose(figures["epe_per_joint_mm"], expected, atol=1e-9)
    np.testing.assert_allclose(figures["error_per_axis_mm"], [1 / 21, 2 / 21, (2 + 2) / 21], atol=1e-9)
    assert figures["epe_mm"] == pytest.approx(np.mean(figures["epe_per_joint_mm"]))


@pytest.mark.parametrize(
    ("protocol", "thresholds", "key"),
    [
        (PAPER, [20.0 + i for i in range(31)], "auc_20_50"),
        (EvaluationConfig(auc_points=20), [20 + 30 * i / 19 for i in range(20)], "auc_20_50"),
        (EvaluationConfig(auc_from_mm=0.0, auc_points=51), [float(i) for i in range(51)], "auc_0_50"),
        # What of 20 thresholds from 0 to 50 lies above 20: the grid that others' "20 to 50" often is.
        (
            EvaluationConfig(auc_from_mm=400 / 19, auc_points=12),
            [50 * i / 19 for i in range(8, 20)],
            "auc_21.0526_50",
        ),
        (EvaluationConfig(auc_to_mm=80.0, auc_points=3), [20.0, 50.0, 80.0], "auc_20_80"),
    ],
)
def test_threshold_grids(protocol, thresholds, key):
    np.testing.assert_allclose(auc_thresholds_mm(protocol), thresholds)
    figures = evaluate(*poses(), protocol)
    assert figures[key] == pytest.approx(auc_by_brute_force(joint_errors_mm(*poses()), thresholds))
    assert [name for name in figures if name.startswith("auc")] == [key]  # no figure under another range's name
    assert find_auc(figures) == (key, key.removeprefix("auc_").replace("_", "–"))


def test_the_range_changes_the_auc_and_nothing_else():
    narrow, wide = evaluate(*poses()), evaluate(*poses(), EvaluationConfig(auc_from_mm=0.0))
    assert wide.pop("auc_0_50") < narrow.pop("auc_20_50")
    assert wide == narrow


def test_rows_without_an_auc_have_the_papers_head():
    assert find_auc({"epe_mm": 1.0}) == ("auc_20_50", "20–50")


def test_protocols_have_names_of_their_own():
    protocols = [
        PAPER,
        ROOT_OUT,
        EvaluationConfig(auc_points=20),
        EvaluationConfig(auc_from_mm=0.0),
        EvaluationConfig(auc_to_mm=40.0),
        *(EvaluationConfig(joint_0=rule) for rule in datasets.WRIST_RULES),
    ]
    assert len({protocol_name(protocol, "stb") for protocol in protocols}) == len(protocols)


def test_the_name_says_what_joint_0_is():
    counted = "21 joints, AUC 20–50 mm at 31 thresholds"
    known = "root middle MCP and scale {}–middle MCP known"
    assert protocol_name(PAPER, "rhd") == f"{known.format('wrist')}, GT box, {counted}"
    assert protocol_name(PAPER, "stb") == f"{known.format('palm')}, GT box, {counted}"
    moved = protocol_name(EvaluationConfig(joint_0="wrist_from_middle"), "stb")
    rule = "wrist = middle MCP + 2.2·(palm − middle MCP)"
    assert moved == f"{known.format('wrist')}, {rule}, GT box of the labelled joints, {counted}"
    moved = protocol_name(EvaluationConfig(joint_0="wrist_from_ring"), "stb")
    assert "scale wrist–middle MCP known, wrist = ring MCP + 2·(palm − ring MCP), " in moved


def test_figures_do_not_depend_on_the_order_of_samples():
    predicted, true = poses(50)
    order = np.random.default_rng(1).permutation(50)
    ours, shuffled = evaluate(predicted, true), evaluate(predicted[order], true[order])
    assert ours["epe_mm"] == pytest.approx(shuffled["epe_mm"], rel=1e-12)
    assert ours["pck"] == shuffled["pck"]


def test_figures_are_json():
    figures = evaluate(*poses())
    assert json.loads(json.dumps(figures)) == figures
    assert len(figures["pck"]["pck"]) == len(metrics.THRESHOLDS_MM)


def test_the_protocol_says_when_no_joint_made_the_crop():
    name = protocol_name(EvaluationConfig(), "rendered_hands", "large_mask_box")
    assert "known, box around the hand's pixels, 21 joints" in name
    assert "GT box" not in name
    assert "box around the nearest depth segment" in protocol_name(EvaluationConfig(), "stb", "mask_box")
