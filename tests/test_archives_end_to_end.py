"""The paper's jobs on RHD and STB through the real command, on miniature archives: from the zip to the report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import CACHE

from pmd_jax.data import hand
from reference import mini_archives

ROOT = Path(__file__).resolve().parent.parent
TRAIN, TEST = 6, 4  # frames of a miniature archive
STUDENT = "pmd_net_refine_replace"
SMALL = (
    *("--config.model.width=4", "--config.model.blocks=(1,1,1,1)", "--config.model.reading=32/16/8/8"),
    *("--config.optim.steps=4", "--config.optim.batch=4", "--config.optim.decay_steps=(2,)"),
    *("--config.teacher.optim.steps=4", "--config.teacher.optim.batch=4", "--config.teacher.optim.decay_steps=(2,)"),
    *("--config.eval_batch=4", "--config.log_every=1", "--config.tensorboard=False"),
)


def run(
    dataset: str, folder: Path, workdir: Path, *arguments: str, job: str = "distill"
) -> subprocess.CompletedProcess:
    """`launch/<dataset>_<job>.py` with raw and prepared data under `folder`, on one CPU device."""
    places = (f"--config.data.manual_dir={folder / 'raw'}", f"--config.data.data_dir={folder / 'prepared'}")
    clean = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    command = [sys.executable, "-m", "pmd_jax.main", f"--config=launch/{dataset}_{job}.py", f"--workdir={workdir}"]
    return subprocess.run(
        [*command, *places, *arguments],
        cwd=ROOT,
        env={**clean, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "JAX_COMPILATION_CACHE_DIR": str(CACHE)},
        capture_output=True,
        text=True,
        timeout=600,
    )


def run_small(
    dataset: str, folder: Path, workdir: Path, rows: tuple[str, ...], *options: str, **protocol
) -> subprocess.CompletedProcess:
    chosen = [
        f"--config.rows={rows!r}",
        *options,
        *(f"--config.evaluation.{name}={value}" for name, value in protocol.items()),
    ]
    return run(dataset, folder, workdir, *SMALL, "--config.data.allow_partial=true", *chosen)


def write_archive(dataset: str, folder: Path) -> None:
    """As downloaded: zips in `folder/raw/<dataset>`."""
    raw = folder / "raw" / dataset
    if dataset == "rhd":
        drawn = mini_archives.rhd_frames(TRAIN + TEST, seed=3)
        files = dict(mini_archives.rhd_files({"training": drawn[:TRAIN], "evaluation": drawn[TRAIN:]}))
        mini_archives.write_rhd_zip(raw, files)
    else:
        drawn = mini_archives.stb_frames(TRAIN + TEST, seed=3)
        # Two films to train on: validation samples are held out by film.
        films = {"B1Random": drawn[TRAIN:], "B2Random": drawn[: TRAIN // 2], "B5Random": drawn[TRAIN // 2 : TRAIN]}
        files = mini_archives.stb_files(films)
        mini_archives.write_stb_zips(raw, files)


class Job:
    """A finished run and what it was made from."""

    def __init__(self, dataset: str, folder: Path):
        self.dataset, self.folder, self.workdir = dataset, folder, folder / "run"
        write_archive(dataset, folder)
        self.done = run_small(dataset, folder, self.workdir, ("depth_teacher", STUDENT))
        assert self.done.returncode == 0, self.done.stderr

    def results(self) -> dict:
        return json.loads((self.workdir / "results.json").read_text())


@pytest.fixture(scope="module", params=["rhd", "stb"])
def job(request, tmp_path_factory) -> Job:
    return Job(request.param, tmp_path_factory.mktemp(request.param))


def test_the_job_ends_with_a_table_a_report_and_an_export(job):
    results = job.results()
    assert results["dataset"] == f"{job.dataset}/default"
    assert set(results["rows"]) == {"depth_teacher", STUDENT}
    for row in results["rows"].values():
        assert row["samples"] == TEST
        assert 0 < row["epe_mm"] < 200  # millimetres, and of a hand
        assert 0 <= row["auc_20_50"] <= 1
        assert row["title"] in job.done.stdout
    assert results["exported_row"] == STUDENT
    assert "AUC 20–50" in job.done.stdout
    for name in ("report.html", "metrics.jsonl", "config.json", "export/network.json", "export/weights"):
        assert (job.workdir / name).exists(), name


def test_the_protocol_stands_beside_every_figure(job):
    joint_0 = {"rhd": "wrist", "stb": "palm"}[job.dataset]
    protocol = job.results()["protocol"]
    assert protocol.startswith(f"root middle MCP and scale {joint_0}–middle MCP known, GT box, 21 joints, AUC 20–50 mm")
    for row in ("depth_teacher", STUDENT):
        assert json.loads((job.workdir / row / "result.json").read_text())["protocol"] == protocol
    assert protocol in job.done.stdout
    assert protocol in (job.workdir / "report.html").read_text()


def test_the_figure_is_that_of_the_prepared_test_split(job):
    """EPE worked out again from the saved predictions and the prepared labels, matched by key."""
    source = tfds.builder_from_directory(job.folder / f"prepared/{job.dataset}/default/1.0.0").as_data_source("test")
    true_m = {example["key"].decode(): example["xyz"] for example in source}
    for name, row in job.results()["rows"].items():
        with np.load(job.workdir / name / "predictions.npz") as saved:
            assert set(saved["key"]) == set(true_m)
            truth = np.stack([true_m[key] for key in saved["key"]])
            errors_mm = 1000 * np.linalg.norm(saved["xyz_m"].astype(float) - truth, axis=-1)
        assert row["epe_mm"] == pytest.approx(errors_mm.mean(), rel=1e-6)


def test_the_export_predicts_from_the_archives_pictures(job):
    import pmd_jax

    with np.load(job.workdir / "examples.npz") as examples:
        pose = pmd_jax.load(job.workdir / "export")(examples["rgb"])
        expected = hand.normalise(examples["xyz_m"])._replace(pose=pose)
        np.testing.assert_allclose(hand.denormalise(expected), examples[f"pose_{STUDENT}"], atol=1e-5)


@pytest.mark.slow
def test_a_half_without_labels(job, tmp_path):
    """`launch/<dataset>_unlabelled.py`, its four rows: crops that need no joints, for all."""
    few = ("--config.data.labelled=3", "--config.data.unlabelled_share=0.5", "--config.data.allow_partial=true")
    done = run(job.dataset, job.folder, tmp_path, *SMALL, *few, job="unlabelled")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["dataset"] == f"{job.dataset}/mask_box"
    used = {name: (row["labels"], row["without_labels"]) for name, row in results["rows"].items()}
    labelled_only = ("depth_teacher", "rgb_baseline", "pmd_net")
    assert used == dict.fromkeys(labelled_only, (3, 0)) | {"pmd_net_unlabelled": (3, TRAIN - 3)}
    assert all(0 < row["epe_mm"] < 200 for row in results["rows"].values())
    box = {"rhd": "the hand's pixels", "stb": "the nearest depth segment"}[job.dataset]
    assert f"known, box around {box}, 21 joints" in results["protocol"]
    described = json.loads((tmp_path / "export" / "network.json").read_text())
    assert described["crop_margin"] > 1


@pytest.mark.parametrize("job", ["stb"], indirect=True)
def test_another_protocol_trains_and_reports_under_its_own_name(job, tmp_path):
    """The palm made a wrist, which changes training too; another range; no root."""
    protocol = {"joint_0": "wrist_from_ring", "count_root": False, "auc_from_mm": 0, "auc_points": 20}
    watch = ("--config.data.validation=2", "--config.eval_every=2", "--config.tensorboard=True")
    done = run_small("stb", job.folder, tmp_path, ("rgb_baseline",), *watch, **protocol)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["protocol"] == (
        "root middle MCP and scale wrist–middle MCP known, wrist = ring MCP + 2·(palm − ring MCP), GT box of the "
        "labelled joints, 20 joints, root left out, AUC 0–50 mm at 20 thresholds"
    )
    row = results["rows"]["rgb_baseline"]
    assert 0 <= row["auc_0_50"] <= 1
    assert "auc_20_50" not in row
    assert "AUC 0–50" in done.stdout
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    curve = [line for line in lines if "eval/epe_mm" in line]
    assert [line["step"] for line in curve] == [2, 4]
    assert all(0 <= line["eval/auc_0_50"] <= 1 and line["protocol"] == results["protocol"] for line in curve)
    assert results["config_hash"] != job.results()["config_hash"]

    with np.load(tmp_path / "examples.npz") as ours, np.load(job.workdir / "examples.npz") as labelled:
        np.testing.assert_array_equal(ours["key"], labelled["key"])
        np.testing.assert_array_equal(ours["xyz_m"], hand.wrist_from_palm(labelled["xyz_m"], "wrist_from_ring"))


@pytest.mark.parametrize("job", ["stb"], indirect=True)
def test_a_teacher_in_other_hand_scales_is_refused(job, tmp_path):
    """A given teacher replaces the configured teacher row, and must have been taught where joint 0 is."""
    given = f"--config.teacher.checkpoint={job.workdir}"
    done = run_small(
        "stb", job.folder, tmp_path / "run", ("depth_teacher", STUDENT), given, joint_0="wrist_from_middle"
    )
    assert done.returncode == 2, done.stderr
    assert "was trained with 'as_labelled', so in other hand scales" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ("rhd", ["RHD_v1-1.zip", "https://lmb.informatik.uni-freiburg.de", "--download"]),
        ("stb", ["B1Counting.zip", "labels.zip", "https://github.com/zhjwustc"]),
    ],
)
def test_without_an_archive_it_says_what_to_do_and_leaves_no_run(tmp_path, dataset, words):
    done = run(dataset, tmp_path, tmp_path / "run")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in [*words, str(tmp_path / "raw" / dataset), "launch/demo.py"]:
        assert word in done.stderr, word
    assert not (tmp_path / "run").exists()


def test_a_wrist_rule_where_joint_0_is_a_wrist(tmp_path):
    done = run("rhd", tmp_path, tmp_path / "run", "--config.evaluation.joint_0=wrist_from_ring")
    assert done.returncode == 2
    assert "config.evaluation.joint_0 = 'wrist_from_ring': joint 0 of rhd is a wrist" in done.stderr
    assert not (tmp_path / "run").exists()
