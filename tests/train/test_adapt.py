"""Two data sets in one run, as launch/adapt.py has them: what is learnt, recorded, shown and refused."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import small_config, write_export
from made_up_data import write_made_up_data
from test_job import ONE_DEVICE, content, count_lines, kill_when
from test_launch import load

from pmd_jax.config import Config, UnlabelledConfig
from pmd_jax.config.presets import with_fields
from pmd_jax.data.labels import without_labels
from pmd_jax.runtime import sharding
from pmd_jax.runtime.errors import CheckpointError, ConfigError, InputError
from pmd_jax.train import job
from pmd_jax.train.pictures import pictures_of
from pmd_jax.train.splits import (
    Splits,
    check_apart,
    check_labels,
    check_same,
    describe,
    prepare_once,
    prepare_unlabelled,
    read_splits,
)
from pmd_jax.train.teacher import Teacher, load_teacher
from pmd_jax.train.workdir import table
from reference.made_up_columns import make_columns

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    """Labelled samples, and pairs of other pictures whose keys and labels lie there too, but must not be used."""
    folder = tmp_path_factory.mktemp("data")
    write_made_up_data(folder, "demo_mask_box")
    return write_made_up_data(folder, "mask_box", seed=10)


def adapting(data_dir: Path, **changes) -> Config:
    """launch/adapt.py with the smallest network and a few steps."""
    config, small = load(ROOT / "launch" / "adapt.py"), small_config()
    config.data.unlabelled = UnlabelledConfig("rendered_hands", "mask_box")
    config.data.data_dir, config.start_from, config.teacher.checkpoint = str(data_dir), "", ""
    for name in ("model", "optim", "teacher", "eval_batch", "checkpoint_every", "log_every", "tensorboard"):
        setattr(config, name, copy.deepcopy(getattr(small, name)))
    return with_fields(config, changes)


def splits_of(config: Config) -> Splits:
    return read_splits(config, prepare_once(config), prepare_unlabelled(config))


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory) -> Path:
    """A run that trains its teacher, with a student that begins as another network."""
    folder = tmp_path_factory.mktemp("finished")
    write_export(folder / "begun", "pmd_net")
    job.run(adapting(data_dir, start_from=str(folder / "begun")), folder / "run")
    return folder / "run"


# ---- what is learnt from


def test_the_pairs_stand_behind_the_labelled_samples_without_their_labels(data_dir):
    splits = splits_of(adapting(data_dir))
    assert splits.unlabelled is not None
    assert (len(splits.train), len(splits.unlabelled), len(splits.test)) == (144, 72, 20)
    np.testing.assert_array_equal(splits.train.has_label, np.arange(144) < 72)
    assert np.isfinite(splits.train.depth_origin_m).all()
    assert splits.unlabelled_test is not None
    assert splits.unlabelled_test.has_label.all()


@pytest.mark.slow
def test_labels_of_the_pairs_change_no_bit_of_the_run(data_dir, finished, tmp_path):
    """The same pictures, whose joints nobody has written down: the same weights."""
    (tmp_path / "data").mkdir()
    shutil.copytree(data_dir / "rendered_hands" / "demo_mask_box", tmp_path / "data/rendered_hands/demo_mask_box")
    write_made_up_data(tmp_path / "data", "mask_box", labelled=frozenset(), seed=10)
    for name, data in (("labelled", data_dir), ("never", tmp_path / "data")):
        job.run(adapting(data, **{"teacher.checkpoint": str(finished)}), tmp_path / name)
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        assert all(line["distill/pose"] > 0 for line in lines)
    ours, theirs = (np.load(tmp_path / name / "pmd_net_unlabelled/predictions.npz") for name in ("labelled", "never"))
    np.testing.assert_array_equal(ours["xyz_m"], theirs["xyz_m"])


def test_where_nothing_is_judged_by_a_test_split_some_pairs_are_looked_at(data_dir):
    for changes in ({"data.unlabelled.split": "test"}, {"data.eval_split": "validation", "data.validation": 8}):
        splits = splits_of(adapting(data_dir, **{"data.unlabelled.dataset_config": "mask_box", **changes}))
        assert splits.unlabelled is not None
        assert splits.unlabelled_test is None
        shown = pictures_of(splits)
        assert shown is not None
        assert not shown.has_label.any()
        assert set(shown.key) <= set(splits.unlabelled.key)


def start(data_dir: Path, finished: Path, workdir: Path, *options: str) -> subprocess.Popen:
    """The command, in a process of its own."""
    small = ("model.width=4", "optim.steps=6", "optim.batch=16", "optim.warmup_steps=0", "eval_batch=16")
    often = ("checkpoint_every=2", "log_every=1", "tensorboard=False")
    given = (f"data.data_dir={data_dir}", f"teacher.checkpoint={finished}", f"start_from={finished}")
    command = [sys.executable, "-m", "pmd_jax.main", "--config=launch/adapt.py:rendered_hands/mask_box"]
    return subprocess.Popen(
        [*command, *(f"--config.{field}" for field in (*small, *often, *given)), f"--workdir={workdir}", *options],
        cwd=ROOT,
        env={**os.environ, **ONE_DEVICE, "XLA_FLAGS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits(data_dir, finished, tmp_path):
    """SIGKILL in the middle of the student's steps, and again later."""
    for lines in (2, 5):
        process = start(data_dir, finished, tmp_path / "killed")
        kill_when(process, lambda lines=lines: count_lines(tmp_path / "killed") >= lines)
    for name in ("killed", "whole"):
        process = start(data_dir, finished, tmp_path / name)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        assert "rendered_hands/mask_box, test split" in output
    ours, theirs = (content(tmp_path / name) for name in ("killed", "whole"))
    assert ours["predictions"] == theirs["predictions"]
    assert ours["figures"] == theirs["figures"]
    assert [line["step"] for line in ours["metrics"]] == [1, 2, 3, 4, 5, 6]
    poses = [np.load(tmp_path / name / "pmd_net_unlabelled" / "unlabelled.npz") for name in ("killed", "whole")]
    for key in ("pose_before", "pose_after", "pose_teacher"):
        np.testing.assert_array_equal(*(each[key] for each in poses))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--config.start_from=checkpoints/demo"], "config.model.width is 16 there and 4 here"),
        (["--config.data.depth_origin=root"], "config.data.depth_origin = 'root': a sample without labels has no root"),
        (["--config.data.unlabelled.dataset_config=demo_mask_box"], "these samples are the labelled ones"),
        (
            ["--config.data.unlabelled.dataset_config=demo_mask_box", "--config.data.unlabelled.split=test"],
            "20 samples of rendered_hands/demo_mask_box/1.0.0, split test are of the labelled data set's test samples",
        ),
        (["--config.data.unlabelled.dataset=my_hands"], "my_hands"),
    ],
)
@pytest.mark.slow
def test_bad_input_is_one_sentence_and_nothing_is_written(data_dir, finished, tmp_path, options, words):
    process = start(data_dir, finished, tmp_path / "run", *options)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 2, output
    assert "Traceback" not in output
    assert words in output
    assert not (tmp_path / "run").exists()


# ---- what is left behind


def test_results_have_both_data_sets_under_their_own_keys(finished):
    results = json.loads((finished / "results.json").read_text())
    assert results["dataset"] == "rendered_hands/demo_mask_box"
    assert results["unlabelled"] == {"dataset": "rendered_hands/mask_box", "split": "train"}
    student = results["rows"]["pmd_net_unlabelled"]
    assert (student["labels"], student["without_labels"]) == (72, 72)
    second = student["unlabelled"]
    assert (second["dataset"], second["split"], second["pictures"]) == ("rendered_hands/mask_box", "test", 20)
    figures = [student, student["start"], second, second["before"], second["teacher"]]
    assert len({each["epe_mm"] for each in figures}) == 5  # each network on each test split
    saved = np.load(finished / "pmd_net_unlabelled" / "unlabelled.npz")
    apart = np.linalg.norm(saved["pose_after"] - saved["pose_teacher"], axis=-1).mean()
    assert second["to_teacher_scales"] == pytest.approx(apart, rel=1e-5)
    teacher = results["rows"]["depth_teacher"]
    assert teacher["without_labels"] == 0
    assert teacher["unlabelled"]["epe_mm"] == pytest.approx(second["teacher"]["epe_mm"], rel=1e-6)
    assert "start" not in teacher
    assert "rendered_hands/mask_box, test split" in table(results)


def test_the_report_shows_the_pictures_of_the_second(finished):
    page = (finished / "report.html").read_text()
    assert "Pictures of rendered_hands/mask_box, learnt from without labels" in page
    for said in ("Student before", "Student after", "Teacher, on depth", "Where student and teacher disagree most"):
        assert said in page
    shown = np.load(finished / "unlabelled_examples.npz")
    assert len(shown["rgb"]) == 12
    np.testing.assert_allclose(shown["after"][:, 9], shown["true"][:, 9], atol=1.0)


def test_pictures_without_labels_are_drawn_from_the_teachers_answer(data_dir, tmp_path):
    """No joint and no camera: poses lie where their crop sees them."""
    from pmd_jax.train import pictures

    columns = splits_of(adapting(data_dir)).unlabelled
    assert columns is not None
    generator = np.random.default_rng(0)
    poses = {name: generator.normal(0, 0.5, (72, 21, 3)).astype(np.float32) for name in ("after", "teacher")}
    shown = replace(columns, K=np.zeros_like(columns.K))
    write_export(tmp_path / "student" / "export", "pmd_net")
    pictures.write_poses(tmp_path / "student", poses, shown)
    pictures.write_examples(tmp_path, "student", shown)
    drawn = np.load(tmp_path / "unlabelled_examples.npz")
    assert "true" not in drawn
    apart = pictures.distance(poses["after"], poses["teacher"])
    np.testing.assert_array_equal(drawn["key"][6:], shown.key[np.argsort(-apart, kind="stable")[:6]].astype(str))
    found = pictures.distance(drawn["after"], drawn["teacher"])[6:] / pictures.SCALE_M
    np.testing.assert_allclose(found, np.sort(apart)[::-1][:6], rtol=1e-5)


def test_the_samples_of_both_are_remembered(data_dir, finished, tmp_path):
    config = adapting(data_dir)
    folder, second = prepare_once(config), prepare_unlabelled(config)
    splits = splits_of(config)
    assert splits.unlabelled is not None
    samples = describe(folder, splits, second)
    there = json.loads((finished / "samples.json").read_text())
    assert there.pop("weights to start from")
    assert there == samples
    assert samples["unlabelled data set"] == "rendered_hands/mask_box/1.0.0"
    moved = replace(splits.unlabelled, depth_origin_m=splits.unlabelled.depth_origin_m + 0.01)
    with pytest.raises(ConfigError, match=r"begun with other samples.*\n  unlabelled: 72 samples, 0 labels"):
        check_same(finished, describe(folder, splits._replace(unlabelled=moved), second))


# ---- what is refused


def test_pairs_that_the_run_is_judged_by(data_dir, columns):
    """Other crops of the same hands are the same samples; keys alone are not, where joints tell them apart."""
    same = {"data.unlabelled.dataset_config": "demo_mask_box", "data.unlabelled.split": "test"}
    with pytest.raises(
        ConfigError, match=r"20 samples of rendered_hands/demo_mask_box/1\.0\.0, split test are .* test"
    ):
        splits_of(adapting(data_dir, **same))
    check_apart(make_columns(48, seed=1), columns, "there", "test")
    check_apart(columns.take(np.arange(8)), columns.take(np.arange(8, 48)), "there", "test")
    closer = replace(columns, uv=columns.uv * 0.8, K=columns.K * 0.8)
    with pytest.raises(ConfigError, match="unlabelled: 3 samples of there are of the labelled data set's validation"):
        check_apart(closer.take(np.array([1, 5, 9])), columns, "there", "validation")
    unlabelled = without_labels(make_columns(48, seed=1), np.ones(48, bool))
    with pytest.raises(ConfigError, match="48 samples"):
        check_apart(unlabelled, columns, "there", "test")


def test_a_teacher_that_knows_hidden_labels(data_dir):
    config = adapting(data_dir)
    splits = splits_of(config)
    assert splits.unlabelled is not None

    def teacher(labels: frozenset[str] | None, trained_on: str) -> Teacher:
        return Teacher("depth_teacher", "there", Path("there"), None, None, labels, None, trained_on)  # type: ignore[arg-type]

    keys = frozenset(splits.unlabelled.key)
    for known in (teacher(keys, "rendered_hands/large"), teacher(frozenset({"elsewhere"}), "rendered_hands/default")):
        check_labels(config, splits, [known])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="72 labels of samples that this run holds out or uses without their labels"):
        check_labels(config, splits, [teacher(keys, "rendered_hands/default")])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="does not say which labels"):
        check_labels(config, splits, [teacher(None, "rendered_hands/default")])  # type: ignore[arg-type]


def test_a_teacher_of_other_depths(data_dir, tmp_path):
    write_export(tmp_path / "export", "depth_teacher")  # of depths from the root
    with pytest.raises(CheckpointError, match=r"depth_origin = 'map', but the teacher of .* was trained with 'root'"):
        job.run(adapting(data_dir, **{"teacher.checkpoint": str(tmp_path)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_wider_teacher_teaches_where_its_feature_is_not_imitated(finished, tmp_path):
    config = adapting(tmp_path, **{"model.width": 6})
    where = sharding.replicated(sharding.make_mesh(jax.devices()[:1]))
    teacher = load_teacher(finished, "depth_teacher", config, where)
    assert teacher.model is not None
    assert (teacher.model.width, config.model.width) == (4, 6)
    assert teacher.trained_on == "rendered_hands/demo"
    config.loss.lambda_feature = 0.5
    with pytest.raises(CheckpointError, match="holds another network"):
        load_teacher(finished, "depth_teacher", config, where)
