"""Two processes with four devices each do what one with eight does, and a run goes on with another number of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import CACHE
from made_up_data import write_made_up_data
from test_run import FAST, ONE_ROW, ROOT, content, count_lines, wait_for


def launch(data_dir: Path, workdir: Path, processes: int, devices: int, *arguments: str) -> list[subprocess.Popen]:
    """The command as `processes` processes with `devices` fake devices each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for process in range(processes):
        command = [sys.executable, "-m", "pmd_jax.main", *FAST, ONE_ROW, f"--config.data.data_dir={data_dir}"]
        if processes > 1:
            command += [f"--coordinator=127.0.0.1:{port}", f"--processes={processes}", f"--process={process}"]
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "JAX_COMPILATION_CACHE_DIR": str(CACHE),
        }
        started.append(
            subprocess.Popen(
                [*command, f"--workdir={workdir}", *arguments],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return started


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


@pytest.fixture(scope="module")
def one_process(data_dir, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("one") / "run"
    [(code, output)] = finish(launch(data_dir, workdir, 1, 8, "--config.log_every=1"))
    assert code == 0, output
    return workdir


def test_two_processes_equal_one(data_dir, one_process, tmp_path):
    """The same devices in the same order: sums may be taken in another order across processes, no more."""
    workdir = tmp_path / "run"
    for code, output in finish(launch(data_dir, workdir, 2, 4, "--config.log_every=1")):
        assert code == 0, output
    np.testing.assert_allclose(losses(workdir), losses(one_process), rtol=1e-4)
    assert len(losses(workdir)) == 6  # written once, by process 0


def test_a_run_of_two_processes_goes_on_with_one(data_dir, one_process, tmp_path):
    """SIGTERM to one: both save at the same step and leave with the code for it; one process finishes the run."""
    workdir = tmp_path / "run"
    rare = ("--config.log_every=1", "--config.checkpoint_every=1000", "--config.optim.steps=60")
    started = launch(data_dir, workdir, 2, 4, *rare)
    wait_for(started[0], lambda: count_lines(workdir) >= 1)
    started[1].terminate()  # one is asked, both stop
    results = finish(started)
    assert {code for code, _ in results} == {75}, results
    [(code, output)] = finish(launch(data_dir, workdir, 1, 8, *rare))
    assert code == 0, output
    assert [line["step"] for line in content(workdir)["metrics"]] == list(range(1, 61))
    np.testing.assert_allclose(losses(workdir)[:6], losses(one_process), rtol=1e-4)
