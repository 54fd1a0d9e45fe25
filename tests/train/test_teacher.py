"""A finished teacher: it is loaded once, and refused where it knows labels that the run does without."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest
from conftest import small_config, write_export

from pmd_jax.config import DataConfig
from pmd_jax.config.methods import METHODS
from pmd_jax.config.presets import with_fields
from pmd_jax.data.dataset import hold_out
from pmd_jax.data.labels import subsample_labels
from pmd_jax.models import saved_model
from pmd_jax.models.network import build
from pmd_jax.runtime import sharding
from pmd_jax.runtime.errors import CheckpointError, InputError
from pmd_jax.runtime.preemption import Stop
from pmd_jax.train import teacher as teacher_module
from pmd_jax.train.teacher import Teacher, Teachers
from pmd_jax.train.teacher_outputs import ComputedOutputs, TableOutputs
from reference.made_up_columns import make_columns


@pytest.fixture
def mesh() -> jax.sharding.Mesh:
    return sharding.make_mesh(jax.devices()[:1])


@pytest.fixture
def loads(monkeypatch) -> list[Path]:
    """The folders that weights were loaded from."""
    found, original = [], teacher_module.load_tree
    monkeypatch.setattr(
        teacher_module, "load_tree", lambda folder, abstract: found.append(folder) or original(folder, abstract)
    )
    return found


# ---- found and loaded


def test_a_finished_teacher_is_loaded_once_for_all_its_students(tmp_path, mesh, loads):
    write_export(tmp_path / "depth_teacher" / "export", "depth_teacher")
    config = small_config(rows=("rgb_baseline", "pmd_net", "pmd_net_refine"))
    config.teacher.checkpoint = str(tmp_path)
    teachers = Teachers(config, tmp_path / "run", mesh)
    [teacher] = teachers
    assert len(loads) == 1  # before the data are prepared
    assert [teachers.of(METHODS[name]) for name in config.rows] == [None, teacher, teacher]
    assert len(loads) == 1
    assert teacher.folder == tmp_path / "depth_teacher" / "export"
    assert teacher.network == build(config, METHODS["depth_teacher"], seed=5)[0]


def test_a_teacher_of_poses_in_other_axes(tmp_path, mesh):
    write_export(tmp_path / "depth_teacher" / "export", "depth_teacher")
    config = with_fields(small_config(rows=("pmd_net",)), {"model.target_frame": "ray"})
    config.teacher.checkpoint = str(tmp_path)
    with pytest.raises(CheckpointError, match=r"target_frame = 'ray', but the teacher of .* with 'camera'"):
        Teachers(config, tmp_path / "run", mesh)


def test_a_teacher_that_the_run_trains_is_loaded_when_its_first_student_asks(tmp_path, mesh, loads):
    config = small_config(rows=("pmd_net", "pmd_net_refine"))
    teachers = Teachers(config, tmp_path, mesh)
    assert list(teachers) == []
    with pytest.raises(CheckpointError, match="no finished depth_teacher"):
        teachers.of(METHODS["pmd_net"])
    saved = saved_model.read(write_export(tmp_path / "depth_teacher" / "export", "depth_teacher"))
    first, second = (teachers.of(METHODS[name]) for name in config.rows)
    assert first is second
    assert len(loads) == 1
    for ours, theirs in zip(jax.tree.leaves(first.weights), jax.tree.leaves(saved.weights), strict=True):
        assert (ours == theirs).all()


@pytest.mark.parametrize(("cache", "kind"), [("on", TableOutputs), ("off", ComputedOutputs)])
def test_its_outputs_are_looked_up_or_computed(tmp_path, mesh, cache, kind):
    write_export(tmp_path / "depth_teacher" / "export", "depth_teacher")
    config = small_config(rows=("pmd_net",))
    config.teacher.cache = cache
    teacher = Teachers(config, tmp_path, mesh).of(METHODS["pmd_net"])
    assert teacher is not None
    assert isinstance(teacher.outputs_of(METHODS["pmd_net"], make_columns(20), config, mesh, tmp_path, Stop()), kind)
    assert len(list((tmp_path / "depth_teacher").glob("lessons_*.npy"))) == (cache == "on")


# ---- the labels it has seen


def teacher_of(labels: frozenset[str] | None) -> Teacher:
    """One that was trained on these."""
    network, weights = build(small_config(), METHODS["depth_teacher"], seed=0)
    return Teacher("depth_teacher", "there", Path("there"), network, weights, labels)


def test_a_teacher_of_other_labels(columns):
    kept = subsample_labels(columns, 10, seed=0)
    known = frozenset(kept.key[kept.has_label])
    teacher_of(known).check_labels(kept)
    teacher_of(None).check_labels(columns)  # a run with all labels takes any teacher
    stranger = kept.key[~kept.has_label][0]
    with pytest.raises(InputError, match=f"of there was trained on 1 labels .* 10 of 48.*first {stranger}"):
        teacher_of(known | {stranger}).check_labels(kept)
    with pytest.raises(InputError, match="does not say which labels"):
        teacher_of(None).check_labels(kept)


@pytest.mark.parametrize("cut", [DataConfig(train_samples=10), DataConfig(validation=10)])
def test_a_teacher_of_samples_that_the_run_leaves_out_or_chooses_by(columns, cut):
    train, _ = hold_out(columns, cut)
    teacher_of(frozenset(train.key)).check_labels(train)
    with pytest.raises(InputError, match=f"trained on {48 - len(train)} labels .* {len(train)} of {len(train)}"):
        teacher_of(frozenset(columns.key)).check_labels(train)
