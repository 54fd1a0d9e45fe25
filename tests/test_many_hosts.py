"""What can go wrong between processes: their hosts, the devices' order, one that stops, one that fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import jax
import numpy as np
import pytest
from conftest import CACHE, make_columns, small_config
from made_up_data import write_made_up_data
from test_multiprocess import TAUGHT, finish, free_port, launch, losses
from test_run import FAST, ONE_ROW, ROOT, content, count_lines, wait_for

from pmd_jax import outputs, sharding
from pmd_jax.rows import ROWS
from pmd_jax.state import build

ORDERS = {
    "as they come": [0, 1, 2, 3, 4, 5, 6, 7],
    "interleaved": [0, 4, 1, 5, 2, 6, 3, 7],
    "any": [6, 1, 3, 0, 7, 4, 2, 5],
}
ENDS_WITHIN_S = 60


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return write_made_up_data(tmp_path_factory.mktemp("data"))


def together(
    codes: list[str], *arguments: str, devices: int = 4, wrap=lambda command: command
) -> list[subprocess.Popen]:
    """The command as two processes, each after a piece of Python of its own."""
    port = free_port()
    end = "from absl import app\nfrom pmd_jax import commands, main\n"
    end += "app.run(main.main, flags_parser=commands.parse_flags)"
    started = []
    for process, code in enumerate(codes):
        several = [f"--coordinator=127.0.0.1:{port}", "--processes=2", f"--process={process}"]
        command = [sys.executable, "-c", f"{code}\n{end}", *FAST, *arguments, *several, "--config.log_every=1"]
        started.append(
            subprocess.Popen(
                wrap(command) if process else command,
                cwd=ROOT,
                env={
                    **os.environ,
                    "JAX_PLATFORMS": "cpu",
                    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
                    "JAX_COMPILATION_CACHE_DIR": str(CACHE),
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return started


def ended(started: list[subprocess.Popen], since: float) -> tuple[set[int], str]:
    """Exit codes and all that was said; none may have gone on for long."""
    results = finish(started)
    said = "\n".join(output for _, output in results)
    assert time.monotonic() - since < ENDS_WITHIN_S + 30, said  # and the start of two processes
    return {code for code, _ in results}, said


# ---- hosts and devices


def test_devices_of_several_slices_make_one_mesh():
    """XLA numbers slices by boot id, so that every host is one; `jax.make_mesh` refuses that."""
    devices = [Mock(id=i, process_index=i // 2, slice_index=i // 2, platform="gpu") for i in range(4)]
    mesh = sharding.make_mesh(devices)
    assert mesh.devices.tolist() == devices
    assert mesh.axis_names == ("data",)


def test_two_hosts_with_boot_ids_of_their_own(data_dir, tmp_path):
    other = tmp_path / "boot_id"
    other.write_text("01234567-89ab-cdef-0123-456789abcdef\n")
    hide = f"mount --bind {other} /proc/sys/kernel/random/boot_id"
    if subprocess.run(["unshare", "-m", "sh", "-c", hide], capture_output=True).returncode:
        pytest.skip("this machine does not let a process have a boot id of its own (unshare -m, mount --bind)")
    options = (ONE_ROW, f"--config.data.data_dir={data_dir}", f"--workdir={tmp_path / 'run'}")
    started = together(
        ["", ""], *options, wrap=lambda c: ["unshare", "-m", "sh", "-c", f'{hide} && exec "$@"', "-", *c]
    )
    for code, output in finish(started):
        assert code == 0, output
    assert len(losses(tmp_path / "run")) == 6


@pytest.mark.parametrize("order", ORDERS)
def test_predictions_do_not_depend_on_the_devices_order(order):
    config = small_config()
    network, weights = build(config, ROWS["rgb_baseline"], seed=0)
    columns = make_columns(40)
    alone = outputs.predict(network, "rgb", weights, columns, 16, sharding.make_mesh(jax.devices()))
    mesh = sharding.make_mesh([jax.devices()[i] for i in ORDERS[order]])
    weights = jax.device_put(weights, sharding.replicated(mesh))
    np.testing.assert_array_equal(outputs.predict(network, "rgb", weights, columns, 16, mesh), alone)


def test_samples_that_come_back_in_another_order_are_refused():
    mesh, columns = sharding.make_mesh(jax.devices()[:2]), make_columns(8)

    def permuted(_, batch):
        return batch.index[::-1], batch.xyz

    with pytest.raises(RuntimeError, match="came back in another order"):
        list(outputs.outputs_of(jax.jit(permuted), [()], columns, 8, mesh))


SHUFFLED = """
import jax
from pmd_jax import sharding
make_mesh = sharding.make_mesh
sharding.make_mesh = lambda: make_mesh([jax.devices()[i] for i in {order}])
"""


@pytest.mark.slow
def test_a_run_on_interleaved_hosts_is_the_run_on_ordered_ones(data_dir, tmp_path):
    """As on TPU slices, where neighbours along the mesh belong to different hosts: losses, table, predictions."""
    for name in ("as they come", "interleaved"):
        options = (TAUGHT, f"--config.data.data_dir={data_dir}", f"--workdir={tmp_path / name}")
        for code, output in finish(together([SHUFFLED.format(order=ORDERS[name])] * 2, *options)):
            assert code == 0, output
    ordered, interleaved = (tmp_path / name for name in ("as they come", "interleaved"))
    np.testing.assert_allclose(losses(interleaved), losses(ordered), rtol=1e-4)
    for row in ("depth_teacher", "pmd_net"):
        ours, theirs = (np.load(folder / row / "predictions.npz") for folder in (interleaved, ordered))
        assert ours["key"].tolist() == theirs["key"].tolist()
        np.testing.assert_allclose(ours["xyz_m"], theirs["xyz_m"], atol=1e-5)
    [ours], [theirs] = (list(folder.rglob("lessons_*.npy")) for folder in (interleaved, ordered))
    for name in ("feature", "pose"):
        np.testing.assert_allclose(np.load(ours)[name], np.load(theirs)[name], rtol=1e-3, atol=1e-4)


# ---- one stops


STAGES = {  # and what tells that it has begun
    "before the first step": lambda workdir: (workdir / "samples.json").exists(),
    "between rows": lambda workdir: (workdir / "depth_teacher" / "result.json").exists(),
    "in the student's steps": lambda workdir: count_lines(workdir) > 8,
}


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "asked"), [*zip(STAGES, (0, 1, 1), strict=True)])
def test_sigterm_at_any_stage_stops_both_and_nothing_is_lost(data_dir, tmp_path, stage, asked):
    workdir = tmp_path / "run"
    started = launch(data_dir, workdir, 2, 4, TAUGHT)
    wait_for(started[asked], lambda: STAGES[stage](workdir))
    started[asked].send_signal(signal.SIGTERM)
    codes, said = ended(started, time.monotonic())
    assert codes == {75}, said
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
def test_killed_at_random_again_and_again_it_ends_bit_identical(data_dir, tmp_path):
    """SIGKILL to either process at any moment; the other one ends by itself, and both are started again."""
    often = (TAUGHT, "--config.checkpoint_every=1", "--config.optim.steps=30", "--config.teacher.optim.steps=30")
    for code, output in finish(launch(data_dir, tmp_path / "unbroken", 2, 4, *often)):
        assert code == 0, output
    workdir, draws = tmp_path / "run", np.random.default_rng(0)
    for _ in range(int(os.environ.get("KILLS", "4"))):
        started = launch(data_dir, workdir, 2, 4, *often)
        time.sleep(draws.uniform(3, 16))
        killed = started[draws.integers(2)]
        killed.kill()
        killed.communicate()
        for code, output in finish(started):
            assert code not in (2, 3, 75), output
    for code, output in finish(launch(data_dir, workdir, 2, 4, *often)):
        assert code == 0, output
    assert content(workdir) == content(tmp_path / "unbroken")


# ---- one fails


SOON = "from pmd_jax import distributed; distributed.LEAVE_WITHIN_S = 2\n"
FAULT = "from pmd_jax import run\ndef broken(*_):\n    raise RuntimeError('made up')\nrun.optimizer = broken"


@pytest.mark.parametrize("failing", [0, 1])
def test_an_exception_on_one_ends_both_at_once(data_dir, tmp_path, failing):
    codes = [SOON, SOON]
    codes[failing] = SOON + FAULT
    began = time.monotonic()
    options = (ONE_ROW, f"--config.data.data_dir={data_dir}", f"--workdir={tmp_path / 'run'}")
    exits, said = ended(together(codes, *options), began)
    assert exits == {1}, said
    assert "made up" in said
    assert f"Process {failing} ended: RuntimeError: made up" in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("--config.optim.learning_rate=0.5", "config.optim.learning_rate is 0.001 on process 0 and 0.5 on process 1"),
        ("--config.optim.steps=7", "config.optim.steps is 6 on process 0 and 7 on process 1"),
        ("--workdir=ELSEWHERE", "is not that of process 0"),
    ],
)
def test_processes_that_were_started_differently(data_dir, tmp_path, change, words):
    change = change.replace("ELSEWHERE", str(tmp_path / "elsewhere"))
    other = f"import sys; sys.argv.append({change!r})"
    within = "from pmd_jax import distributed; distributed.SHARED_WITHIN_S = 2\n"
    began = time.monotonic()
    options = (ONE_ROW, f"--config.data.data_dir={data_dir}", f"--workdir={tmp_path / 'run'}")
    rate = "--config.optim.learning_rate=0.001"
    exits, said = ended(together([within, within + other], *options, rate), began)
    assert exits == {2}, said
    assert words in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("*/*/checkpoints"))


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_on_process_0_ends_both_with_a_sentence(data_dir, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        began = time.monotonic()
        options = (ONE_ROW, f"--config.data.data_dir={data_dir}", f"--workdir={disk / 'run'}")
        exits, said = ended(together(["", ""], *options), began)
        assert exits == {2}, said
        assert "make room" in said
    finally:
        subprocess.run(["umount", str(disk)], check=True)


WAITING = """
import sys, time
from pmd_jax import distributed, joining, preemption
process = int(sys.argv[2])
distributed._SAY_AFTER_S = 1
joining.join(sys.argv[1], 2, process, 60)
with preemption.watching() as stop, distributed.together(stop):
    if process == 0:
        time.sleep(float(sys.argv[3]))
    print(distributed.broadcast({"of": process, "größe": 1.5}, "the sleep of process 0"), flush=True)
    distributed.barrier("the end")
distributed.leave("", 0)
"""


@pytest.mark.slow
def test_waiting_takes_as_long_as_it_takes_and_says_so():
    """Longer than the 30 seconds that gloo gives a collective."""
    address = f"127.0.0.1:{free_port()}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "http_proxy": "http://127.0.0.1:9", "XLA_FLAGS": ""}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WAITING, address, str(process), "35"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in (0, 1)
    ]
    (first, _), (second, said) = finish(started)
    assert (first, second) == (0, 0), said
    assert "Process 1 waits for the sleep of process 0" in said
    assert "{'of': 0, 'größe': 1.5}" in said


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


def test_other_samples_under_an_unfinished_run_are_refused(data_dir, tmp_path):
    """Data that were prepared anew: one table must not hold rows of two data sets."""
    workdir = tmp_path / "run"
    [(code, output)] = finish(launch(data_dir, workdir, 1, 8))
    assert code == 0, output
    samples = json.loads((workdir / "samples.json").read_text())
    assert set(samples) == {"data set", "train", "test"}
    assert samples["test"].startswith("20 samples, 20 labels, keys ")
    shutil.rmtree(workdir / "rgb_baseline")
    fewer = write_made_up_data(tmp_path / "fewer", labelled=frozenset(f"made_up/train/{i:06d}" for i in range(50)))
    [(code, output)] = finish(launch(fewer, workdir, 1, 8))
    assert code == 2, output
    assert "was begun with other samples" in output
    assert "72 samples, 50 labels" in output
    assert not (workdir / "rgb_baseline").exists()
