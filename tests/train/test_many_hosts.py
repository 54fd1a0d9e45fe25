"""What can go wrong between processes: their hosts, the devices' order, one that fails."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import jax
import numpy as np
import pytest
from conftest import small_config
from made_up_data import write_made_up_data
from test_job import FAST, ONE_ROW, ROOT, content, count_lines, wait_for
from test_multiprocess import ENDS_WITHIN_S, TAUGHT, finish, free_port, losses, spawn, taught

from pmd_jax.config.methods import METHODS
from pmd_jax.evaluate import predictions
from pmd_jax.models.network import build
from pmd_jax.runtime import sharding
from reference.made_up_columns import make_columns

ORDERS = {
    "as they come": [0, 1, 2, 3, 4, 5, 6, 7],
    "interleaved": [0, 4, 1, 5, 2, 6, 3, 7],
    "any": [6, 1, 3, 0, 7, 4, 2, 5],
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return write_made_up_data(tmp_path_factory.mktemp("data"))


def together(
    codes: list[str], *arguments: str, devices: int = 4, wrap=lambda command: command
) -> list[subprocess.Popen]:
    """The command as two processes, each after a piece of Python of its own."""
    port = free_port()
    end = "from absl import app\nfrom pmd_jax import main\nfrom pmd_jax.runtime import cli\n"
    end += "app.run(main.main, flags_parser=cli.parse_flags)"
    started = []
    for process, code in enumerate(codes):
        several = [f"--coordinator=127.0.0.1:{port}", "--processes=2", f"--process={process}"]
        command = [sys.executable, "-c", f"{code}\n{end}", *FAST, *arguments, *several, "--config.log_every=1"]
        started.append(spawn(wrap(command) if process else command, devices))
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


def test_a_state_is_placed_without_being_compared_array_by_array(monkeypatch):
    """As `jax.device_put` would with several processes: a collective for each array."""
    mesh = sharding.make_mesh(jax.devices()[:2])
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "device_put", lambda *_: pytest.fail("compared"))
    placed = sharding.replicate(mesh, {"count": np.int32(3), "kernel": np.arange(6.0).reshape(2, 3)})
    assert {array.sharding for array in placed.values()} == {sharding.replicated(mesh)}
    assert placed["count"] == 3
    np.testing.assert_array_equal(placed["kernel"], np.arange(6.0).reshape(2, 3))


@pytest.mark.slow
def test_two_hosts_with_boot_ids_of_their_own(data_dir, tmp_path):
    """They train, one is asked to stop, both are started again, and both finish and evaluate."""
    other = tmp_path / "boot_id"
    other.write_text("01234567-89ab-cdef-0123-456789abcdef\n")
    hide = f"mount --bind {other} /proc/sys/kernel/random/boot_id"
    if subprocess.run(["unshare", "-m", "sh", "-c", hide], capture_output=True).returncode:
        pytest.skip("this machine does not let a process have a boot id of its own (unshare -m, mount --bind)")
    workdir = tmp_path / "run"
    options = (ONE_ROW, f"--config.data.data_dir={data_dir}", f"--workdir={workdir}", "--config.optim.steps=40")

    def start() -> list[subprocess.Popen]:
        return together(
            ["", ""], *options, wrap=lambda c: ["unshare", "-m", "sh", "-c", f'{hide} && exec "$@"', "-", *c]
        )

    started = start()
    wait_for(started[0], lambda: count_lines(workdir) >= 2)
    started[1].terminate()
    codes, said = ended(started, time.monotonic())
    assert codes == {75}, said
    for code, output in finish(start()):
        assert code == 0, output
    assert [line["step"] for line in content(workdir)["metrics"]] == list(range(1, 41))


@pytest.mark.parametrize("order", ORDERS)
def test_predictions_do_not_depend_on_the_devices_order(order):
    config = small_config()
    network, weights = build(config, METHODS["rgb_baseline"], seed=0)
    columns = make_columns(40)
    alone = predictions.predict(network, "rgb", weights, columns, 16, sharding.make_mesh(jax.devices()))
    mesh = sharding.make_mesh([jax.devices()[i] for i in ORDERS[order]])
    weights = jax.device_put(weights, sharding.replicated(mesh))
    np.testing.assert_array_equal(predictions.predict(network, "rgb", weights, columns, 16, mesh), alone)


def test_samples_that_come_back_in_another_order_are_refused():
    mesh, columns = sharding.make_mesh(jax.devices()[:2]), make_columns(8)

    def permuted(_, batch):
        return batch.index[::-1], batch.xyz

    with pytest.raises(RuntimeError, match="came back in another order"):
        list(predictions.outputs_of(jax.jit(permuted), [()], columns, 8, mesh))


SHUFFLED = """
import jax
from pmd_jax.runtime import sharding
make_mesh = sharding.make_mesh
sharding.make_mesh = lambda: make_mesh([jax.devices()[i] for i in {order}])
"""


@pytest.mark.slow
def test_a_run_on_interleaved_hosts_is_the_run_on_ordered_ones(data_dir, shared, tmp_path):
    """As on TPU slices, where neighbours along the mesh belong to different hosts: losses, table, predictions."""
    ordered, interleaved = taught(shared, data_dir, 2), tmp_path / "interleaved"
    options = (ONE_ROW, TAUGHT, f"--config.data.data_dir={data_dir}", f"--workdir={interleaved}")
    for code, output in finish(together([SHUFFLED.format(order=ORDERS["interleaved"])] * 2, *options)):
        assert code == 0, output
    np.testing.assert_allclose(losses(interleaved), losses(ordered), rtol=1e-4)
    for row in ("depth_teacher", "pmd_net"):
        ours, theirs = (np.load(folder / row / "predictions.npz") for folder in (interleaved, ordered))
        assert ours["key"].tolist() == theirs["key"].tolist()
        np.testing.assert_allclose(ours["xyz_m"], theirs["xyz_m"], atol=1e-5)
    [ours], [theirs] = (list(folder.rglob("lessons_*.npy")) for folder in (interleaved, ordered))
    for name in ("feature", "pose"):
        np.testing.assert_allclose(np.load(ours)[name], np.load(theirs)[name], rtol=1e-3, atol=1e-4)


# ---- one fails


SOON = "from pmd_jax.runtime import ending; ending.LEAVE_WITHIN_S = 2\n"
FAULT = "from pmd_jax.train import job\ndef broken(*_):\n    raise RuntimeError('made up')\njob.optimizer = broken"


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
    within = "from pmd_jax.runtime import distributed; distributed.SHARED_WITHIN_S = 2\n"
    began = time.monotonic()
    options = (ONE_ROW, f"--config.data.data_dir={data_dir}", f"--workdir={tmp_path / 'run'}")
    rate = "--config.optim.learning_rate=0.001"
    exits, said = ended(together([within, within + other], *options, rate), began)
    assert exits == {2}, said
    assert words in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("*/*/checkpoints"))


@pytest.mark.slow
def test_initial_weights_that_differ_end_both_and_the_array_is_named(data_dir, tmp_path):
    other = "from pmd_jax.train import job\nbuild = job.build\njob.build = lambda config, row, _: build(config, row, 9)"
    options = (ONE_ROW, f"--config.data.data_dir={data_dir}", f"--workdir={tmp_path / 'run'}")
    exits, said = ended(together(["", other], *options), time.monotonic())
    assert exits == {2}, said
    assert "The processes differ in their initial weights: .params['backbone']" in said
    assert not list(tmp_path.glob("run/*/checkpoints/*"))


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
from pmd_jax.runtime import distributed, ending, joining, key_value, preemption
process = int(sys.argv[2])
key_value._SAY_AFTER_S = 1
joining.join(sys.argv[1], 2, process, 60)
with preemption.watching() as stop, ending.together(stop):
    if process == 0:
        time.sleep(float(sys.argv[3]))
    print(distributed.broadcast({"of": process, "größe": 1.5}, "the sleep of process 0"), flush=True)
    distributed.barrier("the end")
ending.leave("", 0)
"""


@pytest.mark.slow
def test_waiting_takes_as_long_as_it_takes_and_says_so():
    """Longer than the 30 seconds that gloo gives a collective."""
    address = f"{'[::1]' if socket.has_ipv6 else '127.0.0.1'}:{free_port()}"
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
