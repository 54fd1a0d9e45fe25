"""The study runner on made-up data: the form of its files, going on after SIGKILL, and the page made of the files."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import CACHE
from made_up_data import write_made_up_data

from pmd_jax.config import Config, validate
from pmd_jax.config.methods import METHODS
from pmd_jax.config.presets import DATASETS, paper
from pmd_jax.runtime import digest
from pmd_jax.runtime.errors import InputError
from pmd_jax.study import result_files, results_page, runner, statistics
from pmd_jax.study.definitions import Run, Study, identity, plan, resolve, teacher_of
from pmd_jax.study.label_efficiency import label_free, label_steps, label_weights, labels
from pmd_jax.study.paper_tables import SWEEPS, TABLES, table1, table2
from pmd_jax.study.plus import plus
from pmd_jax.study.teacher_start import teacher_start

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAPER = sorted((ROOT / "launch" / "paper").glob("*.py"))
TABLE_2 = "--config=launch/paper/table2.py:rendered"
TINY = {
    "data.dataset_config": "smoke",
    "data.train_samples": 0,
    "data.validation": 0,
    "model.width": 4,
    "optim.steps": 4,
    "optim.batch": 16,
    "optim.warmup_steps": 1,
    "teacher.optim.steps": 4,
    "teacher.optim.batch": 16,
    "teacher.optim.warmup_steps": 1,
    "eval_batch": 20,
    "checkpoint_every": 2,
    "log_every": 1,
    "tensorboard": False,
}


def load(path: Path, *dataset: str) -> Study | Config:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*dataset)


def start(folder: Path, data_dir: Path | None, *arguments: str, rows: str = "rgb_baseline,pmd_net") -> subprocess.Popen:
    tiny = [f"--config.base.{name}={value}" for name, value in TINY.items()] if data_dir else []
    data = [f"--config.base.data.data_dir={data_dir}", f"--rows={rows}", "--seeds=2"] if data_dir else []
    places = [f"--runs={folder}/runs", f"--results={folder}/results", f"--page={folder}/RESULTS.md"]
    clean = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS" and not key.startswith("SLURM")}
    return subprocess.Popen(
        [sys.executable, "-m", "pmd_jax.study", *arguments, *tiny, *data, *places],
        cwd=ROOT,
        env={**clean, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "JAX_COMPILATION_CACHE_DIR": str(CACHE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(folder: Path, data_dir: Path | None, *arguments: str) -> tuple[int, str]:
    process = start(folder, data_dir, *arguments)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def rows_of(folder: Path, timed: bool = False) -> dict:
    """The rows of table 2, without what depends on the clock."""
    rows = json.loads((folder / "results" / "rendered" / "table2.json").read_text())["rows"]
    clock = () if timed else ("train_seconds", "images_per_s")
    return {name: {key: v for key, v in row.items() if key not in clock} for name, row in rows.items()}


def everything(folder: Path) -> dict[str, bytes]:
    files = [folder / "RESULTS.md", *(folder / "results").rglob("*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.is_file()}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return write_made_up_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    code, output = run(folder, data_dir, TABLE_2)
    assert code == 0, output
    return folder


# ---- the command


def test_the_form_that_others_read(finished):
    rows = rows_of(finished, timed=True)
    assert list(rows) == ["rgb_baseline", "pmd_net"]
    for row in rows.values():
        assert list(row["epe_mm"]) == ["0", "1"]
        assert all(value > 0 for value in row["epe_mm"].values())
        assert [len(value) for value in row["epe_per_joint_mm"].values()] == [21, 21]
        assert [len(value) for value in row["error_per_axis_mm"].values()] == [3, 3]
        assert row.keys() >= {"title", "config_hash", "protocol", "hardware", "versions", "split", "auc_20_50", "pck"}
    tree = json.loads((finished / "results" / "rendered" / "table2.json").read_text())
    assert tree["command"].startswith(f"python -m pmd_jax.study {TABLE_2} --config.base.")
    assert "--config.base.data.dataset_config=smoke" in tree["command"]
    assert "data_dir" not in tree["command"]
    assert rows["pmd_net"]["epe_mm"]["0"] != rows["pmd_net"]["epe_mm"]["1"]


def test_one_teacher_a_seed(finished):
    runs = sorted(path.parent.name for path in (finished / "runs" / "rendered").glob("*/seed_*"))
    kinds = [name.rsplit("_", 1)[0] for name in runs]
    assert kinds == ["depth_teacher"] * 2 + ["pmd_net"] * 2 + ["rgb_baseline"] * 2
    assert not list((finished / "runs" / "rendered").glob("pmd_net_*/seed_*/depth_teacher"))


def test_a_second_start_does_nothing(finished, data_dir):
    before = everything(finished)
    runs = {path: path.stat().st_mtime_ns for path in (finished / "runs").rglob("results.json")}
    code, output = run(finished, data_dir, TABLE_2)
    assert code == 0, output
    assert everything(finished) == before
    assert {path: path.stat().st_mtime_ns for path in (finished / "runs").rglob("results.json")} == runs


def test_killed_and_started_again_gives_the_same_table(finished, data_dir, tmp_path):
    """SIGKILL within the first run and after the second, at no step in particular."""
    for count in (1, 3):
        process = start(tmp_path, data_dir, TABLE_2)
        deadline = time.monotonic() + 240
        while len(list(tmp_path.glob("runs/rendered/*/*/metrics.jsonl"))) < count and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        process.kill()
        process.communicate()
        assert time.monotonic() < deadline, "nothing happened in four minutes"
    code, output = run(tmp_path, data_dir, TABLE_2)
    assert code == 0, output
    assert rows_of(tmp_path) == rows_of(finished)


def test_two_jobs_give_the_same_table(finished, data_dir, tmp_path):
    code, output = run(tmp_path, data_dir, TABLE_2, "--jobs=2")
    assert code == 0, output
    ours, theirs = rows_of(tmp_path), rows_of(finished)
    for name, row in theirs.items():
        assert ours[name]["epe_mm"] == pytest.approx(row["epe_mm"], rel=1e-4)  # one core adds in another order than two
    runs = sorted(path.name for path in tmp_path.glob("runs/rendered/*/*"))
    assert runs == ["seed_0"] * 3 + ["seed_1"] * 3


def test_two_jobs_on_a_fresh_data_folder_take_turns(tmp_path):
    """Both want the same split, which is not there: one prepares it, the other waits, and both train on it."""
    data_dir = tmp_path / "data"
    process = start(tmp_path, data_dir, TABLE_2, "--jobs=2", rows="rgb_baseline")
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert output.count("Waiting for the preparation of rendered_hands/smoke: process") == 1
    assert [path.name for path in (data_dir / "rendered_hands" / "smoke").iterdir()] == ["1.0.0"]
    samples = {path.read_text() for path in (tmp_path / "runs").rglob("samples.json")}
    assert len(samples) == 1
    assert "512 samples" in samples.pop()
    assert list(rows_of(tmp_path)["rgb_baseline"]["epe_mm"]) == ["0", "1"]


def test_two_jobs_stop_when_they_are_asked(data_dir, tmp_path):
    process = start(tmp_path, data_dir, TABLE_2, "--jobs=2", "--config.base.optim.steps=100000")
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("runs/rendered/*/*/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output


def test_the_page_again_from_the_files_alone(finished, tmp_path):
    """Another process, another folder, the JSON files alone: the same bytes."""
    for path in (finished / "results").rglob("*.json"):
        copied = tmp_path / path.relative_to(finished)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(path.read_bytes())
    results_page.write(tmp_path / "results", tmp_path / "RESULTS.md")
    once = everything(tmp_path)
    assert once == everything(finished)
    assert {"results/rendered/figure6.svg", "results/rendered/figure7.png"} <= once.keys()
    code, output = run(tmp_path, None, "--render")
    assert code == 0, output
    assert everything(tmp_path) == once


def test_the_page_says_what_was_measured_and_how_to_measure_the_rest(finished):
    page = (finished / "RESULTS.md").read_text()
    epe_mm = rows_of(finished)["rgb_baseline"]["epe_mm"]
    mean, half = statistics.interval(epe_mm.values())
    line = next(line for line in page.splitlines() if line.startswith("| RGB baseline | 20.83 | 9.62 |"))
    assert f"| {mean:.2f} ± {half:.2f} |" in line
    assert line.count("not measured") == 4
    assert "    python -m pmd_jax.study --config=launch/paper/table2.py:stb --seeds=3\n" in page
    assert "| PMD-Net + Refine | 16.45 | 6.92 | not measured |" in page
    for link in ("figure6.svg", "figure7.png", "per_joint.svg"):
        assert f"(results/rendered/{link})" in page


def test_figures_of_another_configuration_are_not_mixed_in(finished, data_dir):
    before = everything(finished)
    code, output = run(finished, data_dir, TABLE_2, "--config.base.loss.alpha=10")
    assert code == 2
    assert "of another configuration" in output
    assert everything(finished) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config=launch/paper/table2.py:mars"], ["mars", "rhd, stb, rendered"]),
        (["--config=launch/smoke.py"], ["must name a study"]),
        ([TABLE_2, "--rows=pdm_net"], ["pdm_net", "pmd_net_refine"]),
        ([TABLE_2, "--task=3", "--tasks=3"], ["--task=3", "from 0"]),
        ([TABLE_2, "--config.base.optim.lerning_rate=1"], ["lerning_rate"]),
    ],
)
def test_a_bad_command_is_one_sentence(tmp_path, arguments, words):
    code, output = run(tmp_path, None, *arguments)
    assert code == 2, output
    assert "Traceback" not in output
    assert all(word in output for word in words), output
    assert not (tmp_path / "results").exists()


# ---- configurations


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_every_launch_file_resolves(path, dataset):
    loaded = load(path, dataset)
    if isinstance(loaded, Config):
        validate(loaded)
        assert loaded.name == f"{dataset}_{loaded.rows[-1]}"
        assert loaded.teacher.optim is not loaded.optim
    else:
        assert loaded.name == path.stem
        assert loaded.dataset == dataset
        for name in loaded.variants:
            validate(resolve(loaded, name, seed=3))
    command = "study" if isinstance(loaded, Study) else "main"
    assert f"python -m pmd_jax.{command} --config=launch/paper/{path.name}:rendered" in path.read_text()


def test_every_study_has_its_launch_file():
    assert {make.__name__ for make in (*TABLES, *SWEEPS)} <= {path.stem for path in PAPER}


def test_the_papers_hyper_parameters():
    """Section 4.2."""
    for dataset, rate, drop, block, flips in (("rhd", 1e-4, 60_000, 5, True), ("stb", 7e-5, 10_000, 14, False)):
        config = paper(dataset)
        for optim in (config.optim, config.teacher.optim):
            assert (optim.learning_rate, optim.decay_steps, optim.weight_decay) == (rate, (drop,), 5e-4)
        augment = config.augment
        assert (augment.block_size, augment.flip_horizontal, augment.flip_vertical) == (block, flips, flips)
        assert (config.loss.alpha, config.loss.lambda_feature) == (100, 1 / 16)


def test_no_data_set_of_that_name():
    with pytest.raises(InputError, match=r"'mars'.*choose from rhd, stb"):
        paper("mars")


def test_tables_share_runs_and_teachers():
    first, second = table1("stb"), table2("stb")
    assert identity(resolve(first, "vanilla", 0)) == identity(resolve(second, "pmd_net", 4))
    assert identity(resolve(first, "beta_0_5", 0)) == identity(resolve(second, "pmd_net_refine", 0))
    teachers = {identity(teacher) for name in first.variants if (teacher := teacher_of(resolve(first, name, 0)))}
    assert teachers == {identity(resolve(second, "depth_teacher", 0))}
    joint = teacher_of(resolve(second, "pmd_net_joint", 0))
    assert joint is not None
    assert joint.rows == ("depth_teacher_joint",)


def test_where_things_lie_and_how_the_teacher_is_asked_names_no_other_run():
    config = resolve(table2("rendered"), "pmd_net", 0)
    name = identity(config)
    config.teacher.cache, config.teacher.cache_device_mb, config.teacher.checkpoint = "off", 0, "elsewhere"
    config.data.data_dir, config.log_every = "elsewhere", 7
    assert identity(config) == name
    config.teacher.optim.steps += 1
    assert identity(config) != name


def test_a_teacher_that_starts_apart_is_another_one_and_so_are_its_students():
    same, apart = (
        {row: resolve(teacher_start("rendered"), f"{row}/{start}", 0) for row in ("depth_teacher", "pmd_net")}
        for start in ("same", "apart")
    )
    assert not {identity(config) for config in same.values()} & {identity(config) for config in apart.values()}
    for configs in (same, apart):
        its_teacher = teacher_of(configs["pmd_net"])
        assert its_teacher is not None
        assert identity(its_teacher) == identity(configs["depth_teacher"])
    # Table 2's rows: they are not trained twice, and the baseline is the same beside either.
    table, study = table2("rendered"), teacher_start("rendered")
    for ours, row in (("rgb_baseline", "rgb_baseline"), ("pmd_net/same", "pmd_net"), ("depth_teacher/same",) * 2):
        assert identity(resolve(study, ours, 0)) == identity(resolve(table, row.split("/")[0], 0))
    baseline = resolve(study, "rgb_baseline", 0)
    baseline.teacher.start = "apart"
    assert identity(baseline) == identity(resolve(study, "rgb_baseline", 0))


def test_a_teacher_is_trained_with_what_its_students_show_it():
    config = resolve(table2("rendered"), "pmd_net", 0)
    plain = teacher_of(config)
    config.augment.colour, config.augment.light = 1.0, 0.2
    assert teacher_of(config) == plain  # RGB alone
    for field, value in {"rotation_deg": 30.0, "scale": 1.2, "shift": 0.1, "background": 0.5}.items():
        setattr(config.augment, field, value)
        teacher = teacher_of(config)
        assert teacher is not None
        assert getattr(teacher.augment, field) == value


def test_committed_figures_are_of_their_studies():
    """The hashes in results/ name configurations; see `config_hash`."""
    makers = (*TABLES, *SWEEPS, labels, label_steps, label_weights, label_free, teacher_start, plus)
    studies = [make(dataset) for make in makers for dataset in DATASETS]
    paths = [ROOT / "results" / study.dataset / f"{study.name}.json" for study in studies]
    assert sum(path.is_file() for path in paths) > 8
    for study, path in zip(studies, paths, strict=True):
        result_files.check_rows(study, path)


def test_every_run_has_one_task_and_every_teacher_too():
    study = table2("rendered")
    groups = plan(study, seeds=3, only=[])
    runs = [(run.variant, run.config.seed) for group in groups for run in group]
    assert sorted(runs) == sorted((name, seed) for name in study.variants for seed in range(3))
    taught = [{(identity(run.teacher), run.config.seed) for run in group if run.teacher} for group in groups]
    assert sum(map(len, taught)) == len(set().union(*taught)) == 6  # with and without sub-networks, three seeds
    assert [run.variant for run in plan(study, 1, ["pmd_net"])[0]] == ["pmd_net"]


@pytest.mark.parametrize("make", [*TABLES, *SWEEPS, plus], ids=lambda make: make.__name__)
def test_variants_differ(make):
    study = make("rendered")
    assert len({identity(resolve(study, name, 0)) for name in study.variants}) == len(study.variants)
    assert all(variant.row in METHODS for variant in study.variants.values())


def test_a_change_of_no_field():
    study = table2("rhd")
    study.variants["pmd_net"] = replace(study.variants["pmd_net"], changes={"loss.delta": 1})
    with pytest.raises(InputError, match=r"loss\.delta"):
        resolve(study, "pmd_net", 0)


# ---- the number of labels


def test_labels_of_all_rows_and_their_teachers():
    study = labels("rendered")
    named = {name.split("/")[0] for name in study.variants}
    assert named == {"rgb_baseline", "pmd_net", "pmd_net_unlabelled", "depth_teacher"}
    assert "pmd_net_unlabelled/all" not in study.variants
    for count in ("250", "1000", "3000"):
        taught = [resolve(study, f"{row}/{count}", 1) for row in ("pmd_net", "pmd_net_unlabelled")]
        teachers = {identity(teacher) for config in taught if (teacher := teacher_of(config))}
        assert teachers == {identity(resolve(study, f"depth_teacher/{count}", 1))}
        assert {config.data.labelled for config in taught} == {float(count)}
    steps = {resolve(study, name, 0).optim.steps for name in study.variants if "depth" not in name}
    assert len(steps) == 1
    assert study.base.teacher.optim.steps in steps
    assert steps == {3 * paper("rendered").optim.steps}  # the tables' schedule ends before few labels do


def test_labels_stand_below_their_row_in_the_file_and_on_the_page(tmp_path):
    study, path = labels("rendered"), tmp_path / "rendered" / "labels.json"
    described = {"hardware": {"devices": "none"}, "versions": {"jax": "0"}}
    epe_mm = {"rgb_baseline/3000": 25.0, "pmd_net_unlabelled/3000": 20.0, "rgb_baseline/all": 21.0}
    for name, value in epe_mm.items():
        for seed in (0, 1):
            figures = {"epe_mm": value + seed, **described}
            result_files.record(study, path, "a command", name, seed, figures)
    rows = json.loads(path.read_text())["rows"]
    assert rows["rgb_baseline"]["3000"]["epe_mm"] == {"0": 25.0, "1": 26.0}
    assert rows["pmd_net_unlabelled"].keys() == {"3000"}
    assert result_files.read(path)["rows"]["rgb_baseline/all"]["epe_mm"] == {"0": 21.0, "1": 22.0}
    result_files.check_rows(study, path)
    results_page.write(tmp_path, tmp_path / "RESULTS.md")
    page = (tmp_path / "RESULTS.md").read_text()
    mean, half = statistics.interval([100 * (20 / 25 - 1), 100 * (21 / 26 - 1)])
    assert f"| {mean:+.1f} ± {half:.1f} (2 seeds) |" in page
    assert "with 3,000 labels, against the RGB baseline with all labels: -4.7 ± " in page
    assert (tmp_path / "rendered" / "labels.svg").is_file()


def test_what_inputs_without_joints_cost_is_taken_to_the_same_networks_first_line(tmp_path):
    study, path = label_free("rendered"), tmp_path / "rendered" / "label_free.json"
    described = {"hardware": {"devices": "none"}, "versions": {"jax": "0"}}
    epe_mm = {"depth_joints": 20.0, "depth_map": 23.5, "rgb_joints": 30.0, "rgb_mask": 30.25}
    for name, value in epe_mm.items():
        result_files.record(study, path, "a command", name, 0, {"epe_mm": value, **described})
    results_page.write(tmp_path, tmp_path / "RESULTS.md")
    page = (tmp_path / "RESULTS.md").read_text()
    assert "depth from the map | 23.50 (one seed) | +3.50 (one seed) |" in page
    assert "RGB baseline, box around the hand's pixels | 30.25 (one seed) | +0.25 (one seed) |" in page
    # It is a row of another study, and is not trained twice.
    assert identity(resolve(study, "rgb_joints", 0)) == identity(resolve(table2("rendered"), "rgb_baseline", 0))


@pytest.mark.parametrize("dataset", ["rendered", "rhd"])
def test_the_longer_and_the_counted_labels_share_their_runs(dataset):
    lasting, counted = label_steps(dataset), labels(dataset)
    times = counted.base.optim.steps // paper(dataset).optim.steps
    assert lasting.base.optim.steps == paper(dataset).optim.steps
    assert resolve(lasting, "pmd_net/3", 0).optim.steps == 3 * lasting.base.optim.steps
    for row in ("rgb_baseline", "pmd_net_unlabelled", "depth_teacher"):
        assert identity(resolve(lasting, f"{row}/{times}", 0)) == identity(resolve(counted, f"{row}/3000", 0))


def test_what_the_same_start_is_worth_on_the_page(tmp_path):
    """PMD-Net is 2 and 4 mm below its baseline beside a teacher of the same start, 1 mm each beside one drawn apart."""
    study, path = teacher_start("rendered"), tmp_path / "rendered" / "teacher_start.json"
    described = {"hardware": {"devices": "none"}, "versions": {"jax": "0"}}
    epe_mm = {"rgb_baseline": (30, 32), "pmd_net/same": (28, 28), "pmd_net/apart": (29, 31)}
    for name, values in epe_mm.items():
        for seed, value in enumerate(values):
            result_files.record(study, path, "a command", name, seed, {"epe_mm": value, **described})
    results_page.write(tmp_path, tmp_path / "RESULTS.md")
    page = (tmp_path / "RESULTS.md").read_text()
    half = statistics.interval([1, 3])[1]
    assert f"| PMD-Net | 28.00 ± 0.00 (2 seeds) | 30.00 ± {half:.2f} (2 seeds) | +2.00 ± {half:.2f} (2 seeds) |" in page
    assert f"| PMD-Net minus RGB baseline | -3.00 ± {half:.2f} (2 seeds) | -1.00 ± 0.00 (2 seeds) |  |" in page
    assert "| Depth teacher | – | – | – |" in page
    assert "a command --seeds=2" in page


# ---- files and figures


def test_the_interval_is_students():
    """Five values with mean 3 and standard deviation √2.5: t(0.975; 4) = 2.776445."""
    mean, half = statistics.interval([1, 2, 3, 4, 5])
    assert mean == 3
    assert half == pytest.approx(2.776445 * np.sqrt(2.5 / 5), rel=1e-6)


def test_a_damaged_results_file_is_made_again(tmp_path, capsys):
    """What lies beside it is whole or refused by the run itself; the study takes no number of a damaged file."""
    config, made = Config(rows=("rgb_baseline",)), []

    def train(_, folder):
        made.append(folder)
        return {"rows": "anew"}

    folder = runner.run_folder(tmp_path, config)
    folder.mkdir(parents=True)
    digest.write_json(folder / "results.json", {"rows": "whole"})
    one = Run("rgb_baseline", config, None)
    assert runner.finish(one, tmp_path, train) == {"rows": "whole"}
    (folder / "results.json").write_text((folder / "results.json").read_text().replace("whole", "other"))
    assert runner.finish(one, tmp_path, train) == {"rows": "anew"}
    assert made == [folder]
    assert "results.json is not what was saved" in capsys.readouterr().err


def test_a_row_measured_elsewhere_is_not_trained_again(tmp_path):
    """Table 1's vanilla line is Table 2's PMD-Net."""
    first, second = table1("stb"), table2("stb")
    result_files.record(second, tmp_path / "table2.json", "a command", "pmd_net", 1, {"epe_mm": 7.5, "samples": 3000})
    known = identity(resolve(first, "vanilla", 1))
    assert result_files.find(tmp_path, known, 1, "epe_mm") == {"epe_mm": 7.5, "samples": 3000}
    assert result_files.find(tmp_path, known, 0, "epe_mm") is None


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "table2.json"
    for text in ("{", '{"rows": {"pmd_net": 3}}', "[]"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"table2\.json holds no results"):
            result_files.read(path)


def test_times_of_three_structures(tmp_path):
    """Nothing is trained; the smallest network stands for the structures."""
    from pmd_jax.predict.latency import ms_per_image

    config = paper("rendered", "pmd_net_refine")
    config.model.width = 4
    times = ms_per_image({"pmd_net_refine": config}, rounds=1)
    assert 0 < times["pmd_net_refine"] < 1000
