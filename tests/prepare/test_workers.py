"""Work over all cores: the order, the progress bar, one thread a worker, and who ends with whom."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pmd_jax.prepare import workers
from pmd_jax.prepare.workers import parallel_map
from pmd_jax.runtime.cores import usable_cores
from pmd_jax.runtime.errors import InputError

ROOT = Path(__file__).resolve().parent.parent.parent


def describe_worker(item: range) -> dict:
    """Runs in a worker."""
    square = np.ones((300, 300)) @ np.ones((300, 300))
    return {
        "item": item,
        "threads": len(os.listdir("/proc/self/task")),
        "blas": os.environ["OPENBLAS_NUM_THREADS"],
        "interrupt": signal.getsignal(signal.SIGINT),
        "blocked": signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "sum": square.sum(),
    }


def killed(item: range) -> None:
    """As the kernel does it when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


TASKS = [range(0, 32), range(32, 64), range(64, 70)]


@pytest.fixture
def bar(monkeypatch) -> io.StringIO:
    """What the progress bar writes."""
    text, real = io.StringIO(), workers.tqdm
    monkeypatch.setattr(workers, "tqdm", lambda **options: real(**options, file=text, mininterval=0))
    return text


def test_the_bar_counts_what_is_done_and_workers_have_one_thread(bar, monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    results = list(parallel_map(describe_worker, TASKS, total=70, description="Test", unit=" frames"))
    assert [result["item"] for result in results] == TASKS
    counts = [int(count) for count in re.findall(r"(\d+)/70 ", bar.getvalue())]
    assert counts[-1] == max(counts) == 70
    for result in results:
        assert result["threads"] <= 2  # its own, and the one that watches the parent
        assert (result["blas"], result["interrupt"], result["blocked"]) == ("1", signal.SIG_IGN, True)
    assert "OPENBLAS_NUM_THREADS" not in os.environ
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask


def test_a_killed_worker_is_said(bar):
    with pytest.raises(InputError, match=r"^Test: a worker process was killed, most often because memory ran out"):
        list(parallel_map(killed, TASKS, total=70, description="Test", unit=" frames"))


# ---- the command, stopped


def alive(pids: list[int]) -> list[int]:
    states = {pid: Path(f"/proc/{pid}/stat") for pid in pids}
    return [
        pid for pid, stat in states.items() if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    ]


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def workers_of(pid: int) -> list[int]:
    """Children that were told to work, by their command lines."""
    listed = subprocess.run(["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "spawn_main" in line]


@pytest.fixture
def drawing(tmp_path) -> Iterator[subprocess.Popen]:
    """The real command in a process group of its own, as its workers start."""
    command = [sys.executable, "-m", "pmd_jax.prepare", "rendered_hands", f"--data_dir={tmp_path / 'data'}"]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=ROOT, stderr=said, start_new_session=True)
    try:
        wait_until(lambda: workers_of(process.pid), "no worker")
        yield process
    finally:
        process.kill()
        process.wait()


def test_ctrl_c_reaches_the_whole_group_and_the_parent_decides(tmp_path, drawing):
    drawn = workers_of(drawing.pid)
    os.killpg(drawing.pid, signal.SIGINT)
    assert drawing.wait(timeout=60) == 130
    said = (tmp_path / "said").read_text()
    assert "stopped; nothing half-prepared was kept" in said
    assert "Traceback" not in said
    assert not alive(drawn)
    assert not list((tmp_path / "data").glob("rendered_hands/default/*"))


def test_workers_end_with_a_parent_that_is_killed(drawing):
    drawn = workers_of(drawing.pid)
    drawing.kill()
    drawing.wait(timeout=60)
    wait_until(lambda: not alive(drawn), "a worker outlives its parent")


# ---- cores


@pytest.fixture
def many_cores(monkeypatch) -> int:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    return 16


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 16), ("", 16), ("nonsense", 16)],
)
def test_a_control_groups_limit(tmp_path, many_cores, limit, expected):
    files = {"proc/self/cgroup": "0::/job/step\n", "sys/fs/cgroup/job/cpu.max": limit}
    files["sys/fs/cgroup/job/step/cpu.max"] = "max 100000"
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("300000", 3), ("-1", 16)])
def test_the_older_version_of_control_groups_seen_from_a_container(tmp_path, many_cores, quota, expected):
    """The path is the host's, and the container's own group is the mount itself."""
    group = tmp_path / "sys/fs/cgroup/cpu"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("9:name=systemd:/\n1:cpu,cpuacct:/docker/0123\n0::/\n")
    assert usable_cores(tmp_path) == expected


def test_no_control_groups_at_all(tmp_path, many_cores):
    assert usable_cores(tmp_path) == many_cores
