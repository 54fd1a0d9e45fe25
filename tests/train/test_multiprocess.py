"""Two processes with four devices each do what one with eight does, and a run goes on with another number of them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import CACHE, made_once
from made_up_data import write_made_up_data
from test_digest import damage
from test_job import FAST, ONE_ROW, ROOT, content, count_lines, wait_for

from pmd_jax.runtime import errors

ENDS_WITHIN_S = 60  # of the failure or the loss of another process
AFTER_A_LOSS = (errors.EXIT_FAULT, -signal.SIGABRT)  # 1 and 134 in docs/running.md
TAUGHT = "--config.rows=('pmd_net',)"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def spawn(command: list[str], devices: int, **environment: str) -> subprocess.Popen:
    """A process with some fake devices, its output kept."""
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "JAX_COMPILATION_CACHE_DIR": str(CACHE),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start(*arguments: str, devices: int = 1, **environment: str) -> subprocess.Popen:
    """One process of the command."""
    return spawn([sys.executable, "-m", "pmd_jax.main", *FAST, *arguments], devices, **environment)


def launch(data_dir: Path, workdir: Path, processes: int, devices: int, *arguments: str) -> list[subprocess.Popen]:
    """The command as `processes` processes with `devices` fake devices each."""
    port = free_port()
    common = (ONE_ROW, f"--config.data.data_dir={data_dir}", f"--workdir={workdir}", "--config.log_every=1")
    several = [
        (f"--coordinator=127.0.0.1:{port}", f"--processes={processes}", f"--process={process}")
        for process in range(processes)
    ]
    return [start(*common, *(of if processes > 1 else ()), *arguments, devices=devices) for of in several]


def finish(started: list[subprocess.Popen]) -> list[tuple[int, str]]:
    try:
        outputs = [process.communicate(timeout=240)[0] for process in started]
        return [(process.returncode, output) for process, output in zip(started, outputs, strict=True)]
    finally:
        for process in started:
            process.kill()


def losses(workdir: Path) -> list[float]:
    return [line["loss"] for line in content(workdir)["metrics"] if "loss" in line]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return write_made_up_data(tmp_path_factory.mktemp("data"))


def taught(shared: Path, data_dir: Path, processes: int) -> Path:
    """A run of a taught row on eight devices, for the tests of all files: teacher, baseline, and PMD-Net."""

    def make(workdir: Path) -> None:
        for code, output in finish(launch(data_dir, workdir, processes, 8 // processes, TAUGHT)):
            assert code == 0, output

    return made_once(shared / f"taught_by_{processes}", make)


@pytest.fixture(scope="module")
def one_process(data_dir, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("one") / "run"
    [(code, output)] = finish(launch(data_dir, workdir, 1, 8))
    assert code == 0, output
    return workdir


@pytest.fixture(scope="module")
def two_processes(data_dir, tmp_path_factory) -> Path:
    """In a folder whose name Orbax cannot take."""
    workdir = tmp_path_factory.mktemp("two") / "a[b]"
    for code, output in finish(launch(data_dir, workdir, 2, 4)):
        assert code == 0, output
    return workdir


def test_two_processes_equal_one(one_process, two_processes):
    """The same devices in the same order: sums may be taken in another order across processes, no more."""
    np.testing.assert_allclose(losses(two_processes), losses(one_process), rtol=1e-4)
    assert len(losses(two_processes)) == 6  # written once, by process 0


def test_a_run_of_two_processes_goes_on_with_one(data_dir, one_process, tmp_path):
    """SIGTERM to one: both save at the same step and leave with the code for it; one process finishes the run."""
    workdir = tmp_path / "run"
    rare = ("--config.checkpoint_every=1000", "--config.optim.steps=60")
    started = launch(data_dir, workdir, 2, 4, *rare)
    wait_for(started[0], lambda: count_lines(workdir) >= 1)
    started[1].terminate()  # one is asked, both stop
    results = finish(started)
    assert {code for code, _ in results} == {75}, results
    [(code, output)] = finish(launch(data_dir, workdir, 1, 8, *rare))
    assert code == 0, output
    assert [line["step"] for line in content(workdir)["metrics"]] == list(range(1, 61))
    np.testing.assert_allclose(losses(workdir)[:6], losses(one_process), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_two_processes_skip_a_broken_checkpoint_together(data_dir, two_processes, tmp_path, processes):
    """What two processes saved, in a folder whose name Orbax cannot take; one or two go on from the one before."""
    workdir = tmp_path / "a[b]"
    shutil.copytree(two_processes, workdir)
    row = workdir / "rgb_baseline"
    whole = content(workdir)
    damage(row / "checkpoints" / "6")
    (row / "result.json").unlink()
    results = finish(launch(data_dir, workdir, processes, 8 // processes))
    assert {code for code, _ in results} == {0}, results
    assert [output.count("Training goes on from step 4.") for _, output in results] == [1, 0][:processes]
    assert sorted(path.name for path in (row / "checkpoints").iterdir()) == ["4", "6", "broken-6"]
    assert [line["step"] for line in content(workdir)["metrics"]] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(losses(workdir), [line["loss"] for line in whole["metrics"]], rtol=1e-4)


@pytest.mark.slow
def test_a_taught_row_on_two_processes(data_dir, shared):
    """Both compute the teacher's table, one writes it, both look up in it."""
    one, two = (taught(shared, data_dir, processes) for processes in (1, 2))
    for workdir in (one, two):
        assert len(list(workdir.rglob("lessons_*.npy"))) == 1
    np.testing.assert_allclose(losses(two), losses(one), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_others_and_the_run_goes_on(data_dir, tmp_path, lost):
    """SIGKILL to one of two in the middle of training: the other does not wait for ever, and says why it ends."""
    workdir, steps = tmp_path / "run", 20
    often = ("--config.checkpoint_every=1", f"--config.optim.steps={steps}")
    started = launch(data_dir, workdir, 2, 4, *often)
    wait_for(started[0], lambda: count_lines(workdir) >= 3)
    started[lost].kill()
    began = time.monotonic()
    started[lost].communicate()
    output, _ = started[1 - lost].communicate(timeout=ENDS_WITHIN_S + 60)
    assert time.monotonic() - began < ENDS_WITHIN_S, output
    assert started[1 - lost].returncode in AFTER_A_LOSS, output
    assert "another task died" in output, output
    assert not (workdir / "results.json").exists()
    [(code, output)] = finish(launch(data_dir, workdir, 1, 8, *often))
    assert code == 0, output
    assert [line["step"] for line in content(workdir)["metrics"]] == list(range(1, steps + 1))


@pytest.mark.slow
def test_the_same_losses_on_any_number_of_devices(data_dir, shared, tmp_path):
    """Teacher, baseline and PMD-Net, which learns from the teacher's table.

    Batch statistics and gradients are sums over the whole batch; devices only change the order of float32 sums.
    """
    on_8 = taught(shared, data_dir, 1)
    assert list(on_8.rglob("lessons_*.npy"))
    assert len(losses(on_8)) == 3 * 6
    for devices in (4, 2, 1):
        workdir = tmp_path / str(devices)
        [(code, output)] = finish(launch(data_dir, workdir, 1, devices, TAUGHT))
        assert code == 0, output
        assert list(workdir.rglob("lessons_*.npy"))
        np.testing.assert_allclose(losses(workdir), losses(on_8), rtol=1e-4, err_msg=f"{devices} devices")


@pytest.mark.slow
def test_a_run_goes_on_with_other_numbers_of_devices(data_dir, one_process, tmp_path):
    """Asked to stop on 8, 4, 2 and 1 devices, each part goes on from the last; 8 finish the run."""
    workdir, steps = tmp_path / "run", 400
    rare = ("--config.checkpoint_every=1000", f"--config.optim.steps={steps}")
    for devices in (8, 4, 2, 1):
        before = count_lines(workdir)
        started = launch(data_dir, workdir, 1, devices, *rare)
        wait_for(started[0], lambda before=before: count_lines(workdir) > before)
        started[0].terminate()
        [(code, output)] = finish(started)
        assert code == 75, output
    [(code, output)] = finish(launch(data_dir, workdir, 1, 8, *rare))
    assert code == 0, output
    assert [line["step"] for line in content(workdir)["metrics"]] == list(range(1, steps + 1))
    np.testing.assert_allclose(losses(workdir)[:6], losses(one_process), rtol=1e-4)
