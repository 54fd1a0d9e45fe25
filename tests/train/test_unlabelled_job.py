"""The real command with samples without labels: what it trains on, how it goes on, and what it says of bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import CACHE
from made_up_data import write_made_up_data

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
METHODS = "--config.rows=('depth_teacher','rgb_baseline','pmd_net_unlabelled')"
FAST = (
    "--config=launch/smoke.py",
    "--config.model.width=4",
    "--config.data.validation=0",
    "--config.eval_every=0",
    "--config.optim.steps=6",
    "--config.teacher.optim.steps=6",
    "--config.optim.batch=16",
    "--config.teacher.optim.batch=16",
    "--config.optim.decay_steps=(4,)",
    "--config.teacher.optim.decay_steps=(4,)",
    "--config.eval_batch=16",
    "--config.log_every=1",
    "--config.tensorboard=False",
    "--config.data.dataset_config=mask_box",
    "--config.data.depth_origin=map",
    "--config.data.labelled=24",
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return write_made_up_data(tmp_path_factory.mktemp("data"), "mask_box")


def run(data_dir: Path, workdir: Path, *arguments: str) -> tuple[int, str]:
    clean = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    command = [sys.executable, "-m", "pmd_jax.main", *FAST, f"--config.data.data_dir={data_dir}"]
    finished = subprocess.run(
        [*command, f"--workdir={workdir}", *arguments],
        cwd=ROOT,
        env={**clean, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "JAX_COMPILATION_CACHE_DIR": str(CACHE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return finished.returncode, finished.stdout


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("finished") / "run"
    code, output = run(data_dir, workdir, METHODS)
    assert code == 0, output
    return workdir


def test_all_rows_are_there_and_finite(finished):
    results = json.loads((finished / "results.json").read_text())
    assert list(results["rows"]) == ["depth_teacher", "rgb_baseline", "pmd_net_unlabelled"]
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    taught = [line for line in lines if "distill/pose" in line]
    assert len(taught) == 6
    assert all(line["task/pose"] > 0 and line["distill/pose"] > 0 for line in taught)


def test_the_teacher_says_which_labels_it_has_seen(finished):
    keys = (finished / "depth_teacher" / "export" / "labels.txt").read_text().splitlines()
    assert len(set(keys)) == 24
    assert not (finished / "pmd_net_unlabelled" / "export" / "labels.txt").exists()


@pytest.mark.parametrize("share", ["0.0", "0.5"])
def test_a_run_in_two_parts_ends_with_the_same_bits(data_dir, finished, tmp_path, share):
    """The last checkpoint is taken away: the second start goes on from the one before."""
    row = "--config.rows=('pmd_net_unlabelled',)"
    taught = f"--config.teacher.checkpoint={finished}"
    options = (row, taught, f"--config.data.unlabelled_share={share}", "--config.checkpoint_every=2")
    code, output = run(data_dir, tmp_path / "whole", *options)
    assert code == 0, output
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    folder = tmp_path / "parts" / "pmd_net_unlabelled"
    (folder / "result.json").unlink()
    last = max((path for path in (folder / "checkpoints").iterdir() if path.name.isdigit()), key=lambda p: int(p.name))
    for path in sorted(last.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    last.rmdir()
    code, output = run(data_dir, tmp_path / "parts", *options)
    assert code == 0, output
    ours, theirs = (np.load(tmp_path / name / "pmd_net_unlabelled" / "predictions.npz") for name in ("parts", "whole"))
    np.testing.assert_array_equal(ours["xyz_m"], theirs["xyz_m"])


def test_labels_that_nobody_ever_made_change_no_bit(data_dir, finished, tmp_path):
    """The same pairs, the unused labels never written: the same predictions."""
    labels = (finished / "depth_teacher" / "export" / "labels.txt").read_text().splitlines()
    nobodys = write_made_up_data(tmp_path / "data", "mask_box", frozenset(labels))
    row, taught = "--config.rows=('pmd_net_unlabelled',)", f"--config.teacher.checkpoint={finished}"
    for folder, data in (("left_out", data_dir), ("never_made", nobodys)):
        code, output = run(data, tmp_path / folder, row, taught)
        assert code == 0, output
    ours, theirs = (
        np.load(tmp_path / name / "pmd_net_unlabelled" / "predictions.npz") for name in ("left_out", "never_made")
    )
    np.testing.assert_array_equal(ours["xyz_m"], theirs["xyz_m"])
    figures = json.loads((tmp_path / "never_made" / "results.json").read_text())["rows"]["pmd_net_unlabelled"]
    assert (figures["labels"], figures["without_labels"]) == (24, 48)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.data.labelled=73"], ["labelled = 73", "72 training samples"]),
        (["--config.data.labelled=0"], ["all 72 have theirs", "data.labelled"]),
        (["--config.data.depth_origin=root"], ["depth_origin = 'root'", "choose map"]),
        (["--config.data.dataset_config=smoke"], ["dataset_config = 'smoke'", "made from the joints", "mask_box"]),
        (
            ["--config.data.labelled=12", "TEACHER"],
            ["trained on 12 labels that this run does not use", "data.labelled"],
        ),
        (["--config.seed=1", "TEACHER"], ["labels that this run does not use"]),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(data_dir, finished, tmp_path, arguments, words):
    given = [f"--config.teacher.checkpoint={finished}" if word == "TEACHER" else word for word in arguments]
    code, output = run(data_dir, tmp_path / "run", "--config.rows=('pmd_net_unlabelled',)", *given)
    assert code == 2, output
    assert "Traceback" not in output
    assert all(word in output for word in words), output
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_depths(data_dir, finished, tmp_path):
    options = ("--config.rows=('pmd_net',)", "--config.data.depth_origin=root")
    code, output = run(data_dir, tmp_path / "run", *options, f"--config.teacher.checkpoint={finished}")
    assert code == 2
    assert "trained with 'map', so on other depths" in output
