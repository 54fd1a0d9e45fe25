"""Which configuration may go on in a workdir, and what is recorded of another schedule."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from conftest import small_config

from pmd_jax.config import to_dict
from pmd_jax.runtime import files
from pmd_jax.runtime.errors import ConfigError
from pmd_jax.train import continuation
from pmd_jax.train.continuation import check_workdir, of_method

METHODS = ("depth_teacher", "rgb_baseline", "pmd_net")


def begun(workdir, config, changes=None):
    """A workdir in which the teacher is finished and a student has a checkpoint."""
    (workdir / "rgb_baseline" / "checkpoints" / "4").mkdir(parents=True)
    (workdir / "depth_teacher").mkdir()
    (workdir / "depth_teacher" / "result.json").write_text("{}")
    tree = to_dict(config) | ({"schedule_changes": changes} if changes else {})
    (workdir / "config.json").write_text(json.dumps(tree))


def with_optim(config, **changes):
    return replace(config, optim=replace(config.optim, **changes))


def test_another_schedule_needs_to_be_asked_for(tmp_path):
    config = small_config()
    begun(tmp_path, config)
    lower = with_optim(config, learning_rate=1e-4)
    with pytest.raises(ConfigError, match=r"(?s)learning_rate: 0.0001 here, 0.001 there.*--new_schedule"):
        check_workdir(lower, tmp_path, METHODS)
    fields = {"optim.learning_rate": {"from": 1e-3, "to": 1e-4}}
    changes = check_workdir(lower, tmp_path, METHODS, new_schedule=True)
    assert changes == [
        {"row": "rgb_baseline", "step": 4, "fields": fields},
        {"row": "pmd_net", "step": 0, "fields": fields},
    ]
    assert of_method(changes, "rgb_baseline") == [{"step": 4, "fields": fields}]
    assert of_method(changes, "depth_teacher") == []


def test_the_same_again_changes_nothing_and_keeps_the_record(tmp_path):
    config = with_optim(small_config(), schedule="cosine", warmup_steps=2)
    earlier = [{"row": "pmd_net", "step": 2, "fields": {"optim.warmup_steps": {"from": 0, "to": 2}}}]
    begun(tmp_path, config, earlier)
    assert check_workdir(config, tmp_path, METHODS) == earlier
    assert check_workdir(config, tmp_path, METHODS, new_schedule=True) == earlier
    assert check_workdir(config, tmp_path / "new", METHODS, new_schedule=True) == []


@pytest.mark.parametrize(
    "change", [{"batch": 32}, {"steps": 8}, {"weight_decay": 0.0}, {"decoupled": True}, {"ema": 0.9}]
)
def test_nothing_else_may_change(tmp_path, change):
    config = small_config()
    begun(tmp_path, config)
    with pytest.raises(ConfigError, match=next(iter(change))) as caught:
        check_workdir(with_optim(config, learning_rate=1e-4, **change), tmp_path, METHODS, new_schedule=True)
    assert "--new_schedule" not in str(caught.value)


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("new_schedule", [False, True])
def test_another_memory_of_the_average(tmp_path, ema, new_schedule):
    """A checkpoint's average was made with the decay before, the student's as the teacher's, and is not lost."""
    config = with_optim(small_config(), ema=ema)
    begun(tmp_path, config)
    files_before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    of_teacher = replace(config, teacher=replace(config.teacher, optim=replace(config.teacher.optim, ema=0.99)))
    for other, there in (
        (with_optim(config, ema=0.99), f"config.optim.ema: 0.99 here, {ema} there"),
        (of_teacher, "config.teacher.optim.ema: 0.99 here, 0.0 there"),
    ):
        with pytest.raises(ConfigError, match="name another --workdir or delete it") as caught:
            check_workdir(other, tmp_path, METHODS, new_schedule=new_schedule)
        assert [line.strip() for line in str(caught.value).splitlines()[1:]] == [there]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files_before


def test_a_schedule_that_no_unfinished_row_has(tmp_path):
    config = small_config()
    begun(tmp_path, config)
    optim = replace(config.teacher.optim, decay_factor=0.5)
    other = replace(config, teacher=replace(config.teacher, optim=optim))
    with pytest.raises(ConfigError, match=r"teacher.optim.decay_factor = 0.5: every network .* leave it at 0.1"):
        check_workdir(other, tmp_path, METHODS, new_schedule=True)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"optim": 3}', b"\xff\xfe"])
def test_a_broken_config_is_a_sentence(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match="is broken"):
        check_workdir(small_config(), tmp_path, METHODS)


def test_another_number_of_devices_is_said(tmp_path, capsys):
    """And nothing where it is the same; an earlier version recorded none and had one."""
    continuation.check_devices(tmp_path, 2)
    files.write_json(tmp_path / "config.json", to_dict(small_config()))
    continuation.check_devices(tmp_path, 1)
    assert continuation.recorded_devices(tmp_path) == 1
    files.write_json(tmp_path / "config.json", {**to_dict(small_config()), "devices": 2})
    continuation.check_devices(tmp_path, 2)
    assert capsys.readouterr().err == ""
    continuation.check_devices(tmp_path, 1)
    assert "computed on 2 devices and resumes on 1" in capsys.readouterr().err
    assert continuation.check_workdir(small_config(), tmp_path, ["pmd_net"]) == []
