"""A run that the code of 2026-11-28 made, when all of it lay in one folder: resumed, loaded, reported, recomputed.

`tests/golden/run_of_version_0_1.tar.gz` holds it, made at commit 889e550 of made-up data by the arguments below. Of
its last network the checkpoint of step 4 is kept; the results are those of its end, at step 6.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from made_up_data import write_made_up_data
from test_job import FAST, run

import pmd_jax
from pmd_jax.config import config_hash, from_dict
from pmd_jax.viz.report import write_report

ARCHIVE = Path(__file__).parents[1] / "golden" / "run_of_version_0_1.tar.gz"
ARGUMENTS = ("--config.rows=('pmd_net',)", "--config.model.width=1", "--config.tensorboard=False")


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "run"


def test_it_resumes_and_ends_as_it_did_then(earlier, tmp_path):
    assert "--config.model.width=4" in FAST  # the last of equal flags counts
    data = write_made_up_data(tmp_path / "data")
    workdir = shutil.copytree(earlier, tmp_path / "run")
    for finished in ("results.json", "export/network.json", "pmd_net/result.json", "pmd_net/predictions.npz"):
        (workdir / finished).unlink()
    code, output = run(data, workdir, *ARGUMENTS)
    assert code == 0, output
    then = np.load(earlier / "pmd_net" / "predictions.npz")["xyz_m"]
    now = np.load(workdir / "pmd_net" / "predictions.npz")["xyz_m"]
    np.testing.assert_allclose(now, then, atol=1e-4)  # metres; other CPUs round otherwise
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["row"] == "pmd_net" and "loss" in line] == [5]  # its own, once
    teachers = [json.loads((folder / "depth_teacher" / "result.json").read_text()) for folder in (earlier, workdir)]
    assert teachers[0] == teachers[1]  # it was finished and is left alone


def test_its_export_predicts_what_it_did_then(earlier, capfd):
    saved = np.load(earlier / "examples.npz")
    network = pmd_jax.load(earlier / "export")
    assert "saved without one" in capfd.readouterr().err  # no graph: JAX runs it
    joints, then = network(saved["rgb"]), saved["pose_pmd_net"]
    scale = np.linalg.norm(saved["xyz_m"][:, 0] - saved["xyz_m"][:, 9], axis=-1)[:, None, None]
    np.testing.assert_allclose(joints * scale + saved["xyz_m"][:, [9]], then, atol=1e-4)


def test_its_report_is_rendered(earlier, tmp_path):
    page = write_report(shutil.copytree(earlier, tmp_path / "run")).read_text(encoding="utf-8")
    results = json.loads((earlier / "results.json").read_text())
    for method in results["rows"].values():
        assert method["title"] in page
        assert f"{method['epe_mm']:.2f}" in page


def test_its_configuration_has_the_hash_that_it_had(earlier):
    config = from_dict(json.loads((earlier / "config.json").read_text()))
    results = json.loads((earlier / "results.json").read_text())
    assert config_hash(config) == results["config_hash"]
