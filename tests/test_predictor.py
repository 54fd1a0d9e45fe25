"""A network as a function: what it gives, and what it says of what it cannot take."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from conftest import make_columns, small_config, write_export

import pmd_jax
from pmd_jax import predictor
from pmd_jax.checkpoint import CheckpointError
from pmd_jax.config import ConfigError
from pmd_jax.data.augment import to_inputs
from pmd_jax.rows import ROWS
from pmd_jax.state import build


def test_crops_to_joints(tiny_export):
    """As the network says it, and each crop's joints whatever batch it comes in."""
    batch = make_columns(5).gather(np.arange(5))
    network, weights = build(small_config(), ROWS["rgb_baseline"], seed=0)
    predict = pmd_jax.load(tiny_export)
    joints = predict(batch.rgb)
    assert (joints.shape, joints.dtype) == ((5, 21, 3), np.float32)
    np.testing.assert_allclose(joints, network.evaluate(weights, to_inputs(batch).rgb).pose, atol=1e-5)
    np.testing.assert_allclose(predict(batch.rgb[3:4]), joints[3:4], atol=1e-5)


@pytest.mark.parametrize(
    ("crops", "error", "sentence"),
    [
        (np.zeros((1, 64, 64, 3)), TypeError, r"float64; give uint8 values 0…255"),
        (np.zeros((64, 64, 3), np.uint8), ValueError, r"\(64, 64, 3\); give \(B, 64, 64, 3\)"),
        (np.zeros((1, 64, 64, 4), np.uint8), ValueError, r"\(1, 64, 64, 4\); give \(B, 64, 64, 3\)"),
    ],
    ids=["floats", "no batch", "alpha"],
)
def test_crops_of_another_type_or_shape(tiny_export, crops, error, sentence):
    with pytest.raises(error, match=sentence):
        pmd_jax.load(tiny_export)(crops)


def test_a_depth_teacher_sees_no_rgb(tmp_path):
    with pytest.raises(ConfigError, match="'depth_teacher', which sees depth"):
        pmd_jax.load(write_export(tmp_path / "export", "depth_teacher"))


def test_a_checkpoint_of_another_version(tiny_export, tmp_path):
    folder = shutil.copytree(tiny_export, tmp_path / "export")
    described = json.loads((folder / "network.json").read_text())
    (folder / "network.json").write_text(json.dumps(described | {"format": 99}))
    with pytest.raises(CheckpointError, match="format 99, this version reads 1"):
        pmd_jax.load(folder)


def test_without_a_path_it_is_the_demo_network(tiny_export, tmp_path, monkeypatch):
    monkeypatch.setattr(predictor, "DEMO", tmp_path / "demo")
    with pytest.raises(CheckpointError, match=r"no demo network at .*demo: install the checkout, or name"):
        pmd_jax.load()
    shutil.copytree(tiny_export, tmp_path / "demo")
    assert pmd_jax.load().row == "rgb_baseline"
