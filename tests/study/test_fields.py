"""What RESULTS.md shows of a study is said by the study's fields, whatever it is called."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pmd_jax.runtime.errors import InputError
from pmd_jax.study import page_figures, result_files
from pmd_jax.study.definitions import Study
from pmd_jax.study.paper_tables import table2

ROW = {
    "title": "A network",
    "epe_per_joint_mm": {"0": [1.0] * 21},
    "error_per_axis_mm": {"0": [1.0, 2.0, 3.0]},
    "pck": {"0": {"thresholds_mm": [20.0, 50.0], "pck": [0.5, 1.0]}},
    "auc_20_50": {"0": 0.75},
}


@pytest.fixture
def study() -> Study:
    """No table of the paper's, and without figures."""
    return replace(table2(), name="mine", error_bars=False, pck_curves=(), poses=(), probe=None)


def test_fields_say_which_figures_are_drawn(study, tmp_path):
    assert page_figures.write(tmp_path, study, {"pmd_net": ROW}) == []
    assert not list(tmp_path.iterdir())
    curves = replace(study, pck_curves=("pmd_net",))
    assert [file for file, _ in page_figures.write(tmp_path, curves, {"pmd_net": ROW})] == ["figure6.svg"]
    assert page_figures.write(tmp_path, curves, {"rgb_baseline": ROW}) == []
    bars = replace(study, error_bars=True)
    assert [file for file, _ in page_figures.write(tmp_path, bars, {"a": ROW})] == ["per_axis.svg", "per_joint.svg"]


def test_recorded_poses_are_read_again(study, tmp_path):
    path, random = tmp_path / result_files.POSES, np.random.default_rng(0)
    assert result_files.read_poses(path) is None
    hands = {"rgb": random.integers(0, 256, (2, 4, 4, 3), np.uint8), "depth": np.ones((2, 4, 4), np.uint16)}
    hands |= {"K": random.random((2, 3, 3), np.float32), "xyz_m": random.random((2, 21, 3), np.float32)}
    result_files.record_poses(path, hands, {"A network": hands["xyz_m"]})
    recorded = result_files.read_poses(path)
    assert recorded is not None
    assert recorded[0].keys() == hands.keys()
    for name, array in hands.items():
        np.testing.assert_array_equal(recorded[0][name], array)
        assert recorded[0][name].dtype == array.dtype
    np.testing.assert_array_equal(recorded[1]["A network"], hands["xyz_m"])
    assert page_figures.write(tmp_path, study, {}) == []  # this study shows no poses
    path.write_text("{}")
    with pytest.raises(InputError, match=r"figure7\.json is broken"):
        page_figures.write(tmp_path, replace(study, poses=("pmd_net",)), {})


def test_a_study_names_its_command(study):
    assert study.command == "python -m pmd_jax.study --config=launch/paper/mine.py:rendered"
