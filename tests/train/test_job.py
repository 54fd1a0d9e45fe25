"""The real command, in a process of its own: what it leaves, how it goes on, and what it says of bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import CACHE, make_columns, small_config
from made_up_data import write_made_up_data

from pmd_jax.config.methods import METHODS
from pmd_jax.evaluate import predictions
from pmd_jax.models.network import build
from pmd_jax.runtime import sharding
from pmd_jax.train import workdir
from pmd_jax.train.optim import optimizer
from pmd_jax.train.step import Recipe

ROOT = Path(__file__).resolve().parents[2]
TINY = ("--config=launch/smoke.py", "--config.model.width=4", "--config.data.validation=0", "--config.eval_every=0")
STEPS = ("--config.optim.steps=6", "--config.teacher.optim.steps=6", "--config.checkpoint_every=2")
ONE_DEVICE = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
ONE_ROW = "--config.rows=('rgb_baseline',)"
BATCHES = ("--config.optim.batch=16", "--config.teacher.optim.batch=16", "--config.eval_batch=16")
FAST = (*TINY, *STEPS, *BATCHES, "--config.tensorboard=False")  # to import its writer takes as long as the six steps


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return write_made_up_data(tmp_path_factory.mktemp("data"))


def start(data_dir: Path, workdir: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    """The command on one CPU device, its output kept."""
    clean = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    command = [sys.executable, "-m", "pmd_jax.main", *FAST, f"--config.data.data_dir={data_dir}"]
    return subprocess.Popen(
        [*command, f"--workdir={workdir}", *arguments],
        cwd=ROOT,
        env={
            **clean,
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": "1",
            "JAX_COMPILATION_CACHE_DIR": str(CACHE),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(data_dir: Path, workdir: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    process = start(data_dir, workdir, *arguments, **environment)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def content(workdir: Path) -> dict:
    """What a run computed, without what depends on the clock."""
    timed = {"train_seconds", "images_per_s"}
    rows = json.loads((workdir / "results.json").read_text())["rows"]
    figures = {name: {key: value for key, value in row.items() if key not in timed} for name, row in rows.items()}
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    metrics = [{key: value for key, value in line.items() if key not in timed} for line in lines]
    predictions = {name: np.load(workdir / name / "predictions.npz")["xyz_m"].tobytes() for name in rows}
    return {"figures": figures, "metrics": metrics, "predictions": predictions}


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory) -> Path:
    """An unbroken run of all three rows."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    code, output = run(data_dir, workdir)
    assert code == 0, output
    assert "PMD-Net" in output
    assert "EPE mm" in output
    return workdir


def test_a_run_leaves_what_was_promised(finished):
    results = json.loads((finished / "results.json").read_text())
    assert set(results["rows"]) == {"depth_teacher", "rgb_baseline", "pmd_net"}
    for row in results["rows"].values():
        assert row["epe_mm"] > 0
        assert 0 <= row["auc_20_50"] <= 1
        assert row["samples"] == 20  # the whole split, although 16 do not divide it
        assert row["protocol"] == results["protocol"]
    assert results["protocol"].startswith(
        "root middle MCP and scale wrist–middle MCP known, GT box, 21 joints, AUC 20–50"
    )
    for name in ("report.html", "metrics.jsonl", "config.json", "export/network.json", "export/weights"):
        assert (finished / name).exists(), name
    unfinished = [path for path in finished.rglob("*") if "tmp" in path.name or "partial" in path.name]
    assert not unfinished


def test_the_export_is_the_trained_network(finished):
    """`pmd_jax.load` on the export gives the predictions that the table was made of."""
    import pmd_jax

    predictor = pmd_jax.load(finished / "export")
    assert predictor.method == "pmd_net"
    examples = np.load(finished / "examples.npz")
    pose = predictor(examples["rgb"])
    assert pose.dtype == np.float32
    assert pose.shape == (len(examples["rgb"]), 21, 3)
    root = examples["xyz_m"][:, 9]
    scale = np.linalg.norm(examples["xyz_m"][:, 0] - root, axis=-1)
    metric = pose * scale[:, None, None] + root[:, None]
    np.testing.assert_allclose(metric, examples["pose_pmd_net"], atol=2e-6)


def test_the_same_command_again_does_nothing_twice(data_dir, finished):
    before = content(finished)
    code, output = run(data_dir, finished)
    assert code == 0, output
    assert content(finished) == before


def test_a_run_killed_at_several_steps_ends_with_the_same_bits(data_dir, finished, tmp_path):
    """SIGKILL as soon as a number of lines are logged, then again further on, at no step in particular."""
    workdir, options = tmp_path / "run", (ONE_ROW, "--config.log_every=1", "--config.tensorboard=True")
    for lines in (1, 3, 5):
        process = start(data_dir, workdir, *options)
        kill_when(process, lambda lines=lines: count_lines(workdir) >= lines)
    code, output = run(data_dir, workdir, *options)
    assert code == 0, output
    assert len(list((workdir / "tensorboard" / "rgb_baseline").iterdir())) == 4  # one a start
    ours, theirs = content(workdir), content(finished)
    assert ours["predictions"]["rgb_baseline"] == theirs["predictions"]["rgb_baseline"]
    assert ours["figures"]["rgb_baseline"] == theirs["figures"]["rgb_baseline"]
    assert [line["step"] for line in ours["metrics"]] == [1, 2, 3, 4, 5, 6]  # no line lost, none twice


def test_a_run_killed_inside_a_save_goes_on_from_the_one_before(data_dir, finished, tmp_path):
    workdir = tmp_path / "run"
    process = start(data_dir, workdir, ONE_ROW)
    folder = workdir / "rgb_baseline" / "checkpoints"
    kill_when(process, lambda: any("tmp" in path.name for path in folder.glob("*")))
    code, output = run(data_dir, workdir, ONE_ROW)
    assert code == 0, output
    predictions = content(finished)["predictions"]["rgb_baseline"]
    assert content(workdir)["predictions"]["rgb_baseline"] == predictions
    assert not any("tmp" in path.name for path in folder.glob("*"))


def test_sigterm_saves_and_has_its_own_exit_code(data_dir, finished, tmp_path):
    workdir = tmp_path / "run"
    rare = (ONE_ROW, "--config.log_every=1", "--config.checkpoint_every=1000")
    process = start(data_dir, workdir, *rare)
    wait_for(process, lambda: count_lines(workdir) >= 1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert "run the same command again" in output
    saved = [path.name for path in workdir.glob("*/checkpoints/*") if path.name.isdigit()]
    assert saved
    code, output = run(data_dir, workdir, *rare)
    assert code == 0, output
    predictions = content(finished)["predictions"]["rgb_baseline"]
    assert content(workdir)["predictions"]["rgb_baseline"] == predictions


def count_lines(workdir: Path) -> int:
    path = workdir / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def wait_for(process: subprocess.Popen, condition) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "nothing happened in four minutes"
        time.sleep(0.001)


def kill_when(process: subprocess.Popen, condition) -> None:
    wait_for(process, condition)
    process.kill()
    process.communicate()


def shows_our_trace(output: str) -> bool:
    """Whether an error came out as a trace through our code in place of a sentence.

    Where Orbax fails, a thread of its event loop may print a trace of its own at exit, now and then; that is not ours.
    """
    return "pmd_jax/main.py" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.optim.lerning_rate=1"], ["lerning_rate"]),
        (["--config.optim.steps=many"], ["steps", "many"]),
        (["--config.augment.block_size=33"], ["block_size = 33", "1 to 32"]),
        (["--config.rows=('pmd_net','pdm_net')"], ["pdm_net", "rgb_baseline"]),
        (["--config.teacher.checkpoint=no/such/run"], ["no/such/run", "depth_teacher"]),
        (["--config.data.train_samples=73"], ["73", "72 samples"]),
    ],
)
def test_a_bad_configuration_is_one_sentence(data_dir, tmp_path, arguments, words):
    code, output = run(data_dir, tmp_path / "run", *arguments)
    assert code == 2, output
    assert "Traceback" not in output
    assert all(word in output for word in words), output
    assert not list((tmp_path / "run").glob("*/checkpoints"))


@pytest.fixture(params=["ascii", "latin-1"])
def locale(request, tmp_path) -> tuple[str, dict[str, str]]:
    """An encoding that is not UTF-8, and the environment of a user who has it."""
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    if request.param == "ascii":
        return "ascii", {**plain, "LC_ALL": "C"}
    name = "en_US.ISO-8859-1"  # few machines have it: made here
    made = shutil.which("localedef") and subprocess.run(
        ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(tmp_path / name)], capture_output=True
    )
    if not made or made.returncode:
        pytest.skip("this machine cannot make the locale en_US.ISO-8859-1 (localedef)")
    environment = {**plain, "LC_ALL": name, "LOCPATH": str(tmp_path)}
    asked = [sys.executable, "-c", "import locale; print(locale.getencoding())"]
    said = subprocess.run(asked, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    assert said.stdout == "ISO-8859-1\n"
    return "latin-1", environment


def test_another_locale_odd_names_and_a_tilde(data_dir, finished, tmp_path, locale):
    """What is written, said and read again does not hang on the locale or on a folder's name."""
    encoding, environment = locale
    environment |= {"HOME": str(tmp_path), "PYTHONWARNDEFAULTENCODING": "1"}  # Python tells who relies on the locale
    (tmp_path / "data").symlink_to(data_dir)
    changes = ["--workdir=~/größe[1]", "--config.data.data_dir=~/data", ONE_ROW]
    code, output = run(data_dir, tmp_path, *changes, **environment)
    assert code == 0, output
    assert "EPE mm" in output
    assert not [line for line in output.splitlines() if "EncodingWarning" in line and f"{ROOT}/pmd_jax" in line]
    workdir = tmp_path / "größe[1]"
    predictions = content(finished)["predictions"]["rgb_baseline"]
    assert content(workdir)["predictions"]["rgb_baseline"] == predictions
    results = json.loads((workdir / "results.json").read_text(encoding="utf-8"))
    assert results["rows"]["rgb_baseline"]["protocol"].count("wrist–middle MCP") == 1  # the dash is no letter of theirs
    # The name's bytes, which that locale has no letters for, or others.
    assert "größe[1]" in results["command"].encode(encoding, "surrogateescape").decode()
    assert "wrist–middle MCP" in (workdir / "report.html").read_text(encoding="utf-8")
    code, output = run(data_dir, tmp_path, *changes, **environment)
    assert code == 0, output


def test_evaluations_are_compiled_once_for_each_network():
    """What a run calls for the points of a row's curve, and for its figures at the end: other weights, other splits.

    JAX says a function's name with each compilation; that of `predictions.compile_outputs` is "step".
    """
    compiled = []

    def listen(event: str, _: float, fun_name: str = "", **_more) -> None:
        if event.endswith("/backend_compile_duration") and fun_name == "jit(step)":
            compiled.append(fun_name)

    config, mesh = small_config(), sharding.make_mesh(jax.devices()[:1])
    predictions._compiled.cache_clear()
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for number, name in enumerate(("depth_teacher", "rgb_baseline"), start=1):
            for seed in range(3):  # a row builds its network once, and the study once a run
                network, weights = build(config, METHODS[name], seed)
                recipe = Recipe(METHODS[name], network, optimizer(config.optim), config.loss, config.augment)
                weights = jax.device_put(weights, sharding.replicated(mesh))
                workdir.validation_figures(recipe, make_columns(20), config, mesh, weights)
                predictions.predict(network, METHODS[name].modality, weights, make_columns(35), config.eval_batch, mesh)
            assert len(compiled) == number
        predictions.predict(network, "rgb", weights, make_columns(20), 8, mesh)  # another shape
        assert len(compiled) == 3
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_a_damaged_result_is_refused_before_anything_is_trained(data_dir, finished, tmp_path):
    """One digit of a figure is another one; the next start must not put it into the table."""
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    shutil.rmtree(workdir / "pmd_net")
    path = workdir / "rgb_baseline" / "result.json"
    path.write_text(path.read_text().replace('"samples": 20', '"samples": 21'))
    code, output = run(data_dir, workdir)
    assert code == 2, output
    assert f"{path} is not what was saved" in output
    assert "delete" in output
    assert not (workdir / "pmd_net").exists()


def test_a_batch_that_the_devices_cannot_share(data_dir, tmp_path):
    code, output = run(data_dir, tmp_path / "run", JAX_NUM_CPU_DEVICES="3")
    assert code == 2
    assert "not divisible by the 3 devices" in output
    assert "choose 15 or 18" in output
    assert not (tmp_path / "run").exists()


def test_the_workdir_of_another_configuration(data_dir, finished):
    code, output = run(data_dir, finished, "--config.seed=5")
    assert code == 2
    assert "config.seed: 5 here, 0 there" in output


def test_a_workdir_that_is_a_file(data_dir, tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    code, output = run(data_dir, path)
    assert code == 2
    assert "is a file" in output
    assert path.read_text() == "mine"


def test_a_teacher_of_another_shape_names_every_path(data_dir, finished, tmp_path):
    code, output = run(data_dir, tmp_path / "run", f"--config.teacher.checkpoint={finished}", "--config.model.width=6")
    assert code == 2
    assert "backbone/stem/kernel: (7, 7, 1, 4) float32 in the checkpoint, (7, 7, 1, 6) float32" in output
    assert not (tmp_path / "run").exists()


def lessons(workdir: Path) -> dict[str, int]:
    """The teacher's tables in a run's folder, with the time of each."""
    return {path.name: path.stat().st_mtime_ns for path in workdir.rglob("lessons_*")}


def test_a_finished_teacher_is_used(data_dir, finished, tmp_path):
    """The teacher row is not trained again, its table is not made again, and the student gets the same bits from it."""
    before = lessons(finished)
    assert len(before) == 1
    rows = "--config.rows=('depth_teacher','pmd_net')"
    code, output = run(data_dir, tmp_path / "run", rows, f"--config.teacher.checkpoint={finished}")
    assert code == 0, output
    assert not (tmp_path / "run" / "depth_teacher").exists()
    assert lessons(finished) == before
    ours = np.load(tmp_path / "run" / "pmd_net" / "predictions.npz")["xyz_m"]
    np.testing.assert_array_equal(ours, np.load(finished / "pmd_net" / "predictions.npz")["xyz_m"])


def test_a_truncated_teacher(data_dir, finished, tmp_path):
    broken = tmp_path / "teacher"
    shutil.copytree(finished / "depth_teacher" / "export", broken)
    for path in broken.rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.write_bytes(path.read_bytes()[:100])
    code, output = run(data_dir, tmp_path / "run", f"--config.teacher.checkpoint={broken}")
    assert code == 2, output
    assert "broken or truncated" in output
    assert not shows_our_trace(output)


def test_divergence_keeps_the_last_good_checkpoint_and_another_schedule_goes_on(data_dir, tmp_path):
    workdir = tmp_path / "run"
    job = ("--config.rows=('depth_teacher',)", "--config.checkpoint_every=3", "--config.teacher.optim.decay_steps=(3,)")
    code, output = run(data_dir, workdir, *job, "--config.teacher.optim.decay_factor=1e30")
    assert code == 3, output
    assert "the loss of step" in output
    assert "a lower --config.teacher.optim.learning_rate and with --new_schedule" in output
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] is None  # flushed, and honest
    folder = workdir / "depth_teacher" / "checkpoints"
    assert [path.name for path in folder.iterdir() if path.name.isdigit()] == ["3"]
    code, output = run(data_dir, workdir, *job, "--config.teacher.optim.decay_factor=0.1", "--new_schedule")
    assert code == 0, output
    fields = {"teacher.optim.decay_factor": {"from": 1e30, "to": 0.1}}
    changes = [{"row": "depth_teacher", "step": 3, "fields": fields}]
    config, results = (json.loads((workdir / name).read_text()) for name in ("config.json", "results.json"))
    assert config["schedule_changes"] == results["schedule_changes"] == changes
    assert config["teacher"]["optim"]["decay_factor"] == 0.1
    assert results["rows"]["depth_teacher"]["schedule_changes"] == [{"step": 3, "fields": fields}]
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert all(line["loss"] is not None for line in lines)  # what was done again is there once


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_while_saving(data_dir, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        code, output = run(data_dir, disk / "run")
        assert code == 2, output
        assert not shows_our_trace(output)
        assert "make room" in output
        assert not [path for path in disk.rglob("*") if "orbax-checkpoint-tmp" in path.name]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
