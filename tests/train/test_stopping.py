"""Stopped and killed at any moment, begun twice, continued on other data: nothing is lost, nothing silently other."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import small_config
from made_up_data import write_made_up_data
from test_job import ROOT, content, count_lines, wait_for
from test_many_hosts import ended
from test_multiprocess import AFTER_A_LOSS, ENDS_WITHIN_S, TAUGHT, finish, free_port, launch, spawn, taught

from pmd_jax.config import DataConfig
from pmd_jax.models import saved_model
from pmd_jax.prepare import workers
from pmd_jax.runtime import cli, errors, sharding
from pmd_jax.train.job import run


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return write_made_up_data(tmp_path_factory.mktemp("data"))


# ---- one stops


STAGES = {  # which process is asked, and what tells that the stage has begun
    "before the first step": (0, lambda workdir, _: (workdir / "samples.json").exists()),
    "between rows": (1, lambda workdir, _: (workdir / "depth_teacher" / "result.json").exists()),
    "in the student's steps": (1, lambda workdir, before: count_lines(workdir) > max(8, before)),
}


@pytest.mark.slow
def test_sigterm_at_any_stage_stops_both_and_nothing_is_lost(data_dir, tmp_path):
    """One run, which stops at each stage and goes on to the next."""
    workdir = tmp_path / "run"
    for stage, (asked, has_begun) in STAGES.items():
        before = count_lines(workdir)
        started = launch(data_dir, workdir, 2, 4, TAUGHT)
        wait_for(started[asked], lambda has_begun=has_begun, before=before: has_begun(workdir, before))
        started[asked].send_signal(signal.SIGTERM)
        codes, said = ended(started, time.monotonic())
        assert codes == {75}, f"{stage}: {said}"
        assert "run the same command again" in said
    for code, output in finish(launch(data_dir, workdir, 2, 4, TAUGHT)):
        assert code == 0, output
    assert [line["step"] for line in content(workdir)["metrics"]] == 3 * [*range(1, 7)]


@pytest.mark.slow
def test_a_resumed_run_stops_before_its_first_step(data_dir, tmp_path):
    """The signal comes while the resumed processes still read and compile."""
    workdir = tmp_path / "run"
    long = ("--config.optim.steps=40", "--config.checkpoint_every=1000")
    started = launch(data_dir, workdir, 2, 4, *long)
    wait_for(started[0], lambda: count_lines(workdir) >= 2)
    started[0].terminate()
    assert ended(started, time.monotonic())[0] == {75}
    lines = count_lines(workdir)
    (workdir / "samples.json").unlink()
    started = launch(data_dir, workdir, 2, 4, *long)
    wait_for(started[0], lambda: (workdir / "samples.json").exists())
    started[1].terminate()
    codes, said = ended(started, time.monotonic())
    assert codes == {75}, said
    assert count_lines(workdir) < 40
    assert count_lines(workdir) >= lines


@pytest.mark.slow
def test_killed_at_random_again_and_again_it_ends_bit_identical(data_dir, shared, tmp_path):
    """SIGKILL to either process at any moment; the other one ends by itself, and both are started again."""
    often = (TAUGHT, "--config.checkpoint_every=1")
    workdir, draws = tmp_path / "run", np.random.default_rng(0)
    for _ in range(int(os.environ.get("KILLS", "2"))):
        started = launch(data_dir, workdir, 2, 4, *often, "--join_timeout=50")  # one may be killed before it joins
        time.sleep(draws.uniform(3, 16))
        killed = started[draws.integers(2)]
        killed.kill()
        began = time.monotonic()
        killed.communicate()
        [survivor] = [process for process in started if process is not killed]
        [(code, output)] = finish([survivor])
        assert code in (0, *AFTER_A_LOSS), output  # 0: it was killed at its very end
        assert time.monotonic() - began < ENDS_WITHIN_S, output
    for code, output in finish(launch(data_dir, workdir, 2, 4, *often)):
        assert code == 0, output
    assert content(workdir) == content(taught(shared, data_dir, 2))


JOINS = """
import sys
from pmd_jax.runtime import joining
print("joins", flush=True)
joining.join(sys.argv[1], 2, int(sys.argv[2]), 100)
"""


@pytest.mark.parametrize(("process", "number"), [(0, signal.SIGTERM), (1, signal.SIGINT)])
def test_a_process_that_waits_for_the_others_stops_when_it_is_asked(process, number):
    """Nothing can be lost there; with this code Slurm's script and Kubernetes start it again."""
    waiting = spawn([sys.executable, "-c", JOINS, f"127.0.0.1:{free_port()}", str(process)], 1)
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "joins\n"
    time.sleep(1.5)  # now it is in JAX's C++, which calls no handler of Python's
    waiting.send_signal(number)
    began = time.monotonic()
    [(code, said)] = finish([waiting])
    assert code == errors.EXIT_PREEMPTED, said
    assert said.endswith("Stopped while waiting for the other processes; run the same command again.\n")
    assert time.monotonic() - began < 10


# ---- one folder, one run; and Ctrl-C


def test_a_second_run_in_the_same_folder_waits_and_finds_all_done(data_dir, tmp_path):
    workdir = tmp_path / "run"
    first = launch(data_dir, workdir, 1, 8)
    wait_for(first[0], lambda: count_lines(workdir) >= 1)
    second = launch(data_dir, workdir, 1, 8)
    [(code, _)], [(second_code, said)] = finish(first), finish(second)
    assert (code, second_code) == (0, 0), said
    assert "Waiting for the folder" in said
    assert [line["step"] for line in content(workdir)["metrics"]] == list(range(1, 7))


def test_ctrl_c_saves_as_sigterm_does_and_a_second_one_ends_at_once(data_dir, tmp_path):
    workdir = tmp_path / "run"
    long = ("--config.optim.steps=2000", "--config.checkpoint_every=5000")
    started = launch(data_dir, workdir, 1, 8, *long)
    wait_for(started[0], lambda: count_lines(workdir) >= 2)
    started[0].send_signal(signal.SIGINT)
    [(code, said)] = finish(started)
    assert code == 75, said
    assert "Traceback" not in said
    assert [path for path in (workdir / "rgb_baseline" / "checkpoints").iterdir() if path.name.isdigit()]
    started = launch(data_dir, workdir, 1, 8, *long)
    wait_for(started[0], lambda: "process" in (workdir / "lock").read_text())
    for _ in range(2):
        started[0].send_signal(signal.SIGINT)
        time.sleep(0.3)
    [(code, said)] = finish(started)
    assert code in (128 + signal.SIGINT, -signal.SIGINT), said  # the latter in Python's own last moments
    assert "Traceback" not in said


def after(function: Callable, at: Callable[..., bool] = lambda *_: True) -> Callable:
    """`function`, and Ctrl-C before anybody gets what it returns, where `at` says so of its arguments."""

    def asked(*given, **named):
        result = function(*given, **named)
        if at(*given):
            # From the main thread: an interrupt that comes in a destructor, say, is lost there and caught up later.
            os.kill(os.getpid(), signal.SIGINT)
        return result

    return asked


def in_the_preparation(patch) -> None:
    """When the first hands are to be drawn: TFDS has made its folder, and the workers start."""
    patch.setattr(workers.ProcessPoolExecutor, "submit", after(workers.ProcessPoolExecutor.submit))


def in_the_rows_export(patch) -> None:
    patch.setattr(saved_model, "write", after(saved_model.write))


def in_the_last_export(patch) -> None:
    patch.setattr(saved_model.shutil, "copytree", after(shutil.copytree))


def in_the_report(patch) -> None:
    patch.setattr(Path, "write_bytes", after(Path.write_bytes, lambda path, _: path.name == "report.html.partial"))


def test_ctrl_c_outside_the_steps_is_one_sentence_and_nothing_is_half_written(data_dir, tmp_path, monkeypatch, capsys):
    """In the preparation, a row's export, the run's export and the report, one after the other in the same folder."""
    mesh = sharding.make_mesh(jax.devices()[:1])
    monkeypatch.setattr(sharding, "make_mesh", lambda: mesh)

    def job(where: Path) -> int:
        data = DataConfig("rendered_hands", "smoke", data_dir=str(where))
        config = small_config(rows=("rgb_baseline",), data=data)
        return cli.exit_code(lambda: run(config, tmp_path / "run"))

    for stage in (in_the_preparation, in_the_rows_export, in_the_last_export, in_the_report):
        with monkeypatch.context() as patch:
            stage(patch)
            code = job(tmp_path / "fresh" if stage is in_the_preparation else data_dir)
        said = capsys.readouterr().err
        assert code == errors.EXIT_PREEMPTED, f"{stage.__name__}: {said}"
        assert said.count("run the same command again to go on") == 1, said
        assert "Traceback" not in said
        left = [
            path for path in tmp_path.rglob("*") if re.search(r"incomplete|unfinished|partial|tmp|\.old$", path.name)
        ]
        assert not left, stage.__name__
    assert not list((tmp_path / "fresh").glob("*/smoke/*"))
    assert (tmp_path / "run" / "export").is_dir()
    assert not (tmp_path / "run" / "report.html").exists()
    assert job(data_dir) == 0
    assert (tmp_path / "run" / "report.html").is_file()


def test_other_samples_under_an_unfinished_run_are_refused(data_dir, tmp_path):
    """Data that were prepared anew: one table must not hold rows of two data sets."""
    workdir = tmp_path / "run"
    [(code, output)] = finish(launch(data_dir, workdir, 1, 8))
    assert code == 0, output
    samples = json.loads((workdir / "samples.json").read_text())
    assert set(samples) == {"data set", "train", "test"}
    assert samples["data set"] == "rendered_hands/smoke/1.0.0"
    assert samples["test"].startswith("20 samples, 20 labels, hash ")
    shutil.rmtree(workdir / "rgb_baseline")
    fewer = write_made_up_data(tmp_path / "fewer", labelled=frozenset(f"made_up/train/{i:06d}" for i in range(50)))
    [(code, output)] = finish(launch(fewer, workdir, 1, 8))
    assert code == 2, output
    assert "was begun with other samples" in output
    assert "72 samples, 50 labels" in output
    assert not (workdir / "rgb_baseline").exists()


@pytest.mark.slow
def test_two_preparations_of_one_folder_take_turns(tmp_path):
    command = [sys.executable, "-m", "pmd_jax.prepare", "rendered_hands", "--dataset_config=smoke"]
    started = [
        subprocess.Popen(
            [*command, f"--data_dir={tmp_path}"], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=240)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert sum("Waiting for the preparation of rendered_hands/smoke: process" in text for text in said) == 1
    assert [path.name for path in (tmp_path / "rendered_hands" / "smoke").iterdir()] == ["1.0.0"]
