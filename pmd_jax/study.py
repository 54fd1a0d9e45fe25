"""A table of the paper over several seeds.

    python -m pmd_jax.study --config=launch/paper/table2.py:rendered --seeds=3

Every run has its own folder under runs/study, named after what it computes, so tables share their runs and the rows of
a seed their teacher. What is finished is not done again: the same command goes on after a stop. Each finished run goes
into results/<data set>/<study>.json at once; `--render` makes RESULTS.md and the figures of these files alone.

Several devices of a machine: `--jobs=4`. Several machines: start the command once on each with `--task=0 --tasks=4`,
`--task=1 --tasks=4`, …; the tasks of a Slurm array find their number themselves.
"""

from __future__ import annotations

import base64
import copy
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags
from ml_collections import config_flags

from pmd_jax import commands, digest, results_page, study_jobs, study_results
from pmd_jax.config import Config
from pmd_jax.files import given_path, locked, read_arrays
from pmd_jax.rows import ROWS
from pmd_jax.studies import Run, Study, identity, plan, resolve
from pmd_jax.study_results import StudyError

CONFIG = config_flags.DEFINE_config_file("config", None, "A study of launch/paper/; --config.base.optim.steps=100.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Train with the seeds 0 to this, exclusive.", lower_bound=1)
ROWS_ONLY = flags.DEFINE_list("rows", [], "These rows of the study only.")
RENDER = flags.DEFINE_bool("render", False, "Make RESULTS.md and the figures of the JSON files, and train nothing.")
RUNS = flags.DEFINE_string("runs", "runs/study", "Where the runs are kept.")
RESULTS = flags.DEFINE_string("results", "results", "Where the JSON files and figures are kept.")
PAGE = flags.DEFINE_string("page", "RESULTS.md", "The page that shows them.")
TASK = flags.DEFINE_integer("task", int(os.environ.get("SLURM_ARRAY_TASK_ID", "0")), "Which task this is, from 0.")
TASKS = flags.DEFINE_integer("tasks", int(os.environ.get("SLURM_ARRAY_TASK_COUNT", "1")), "How many share the work.")
JOBS = flags.DEFINE_integer("jobs", 1, "Processes on this machine, one for each device or core.", lower_bound=1)

EXAMPLES = 3  # hands in Figure 7
PER_RUN = ("samples", "labels", "without_labels", "parameters", "steps", "train_seconds", "images_per_s", "protocol")


class Folders(NamedTuple):
    """Where a study's files live: its runs, its results, and the lock of the latter."""

    runs: Path
    results: Path

    @property
    def lock(self) -> Path:
        return self.runs / "lock"


def run_group(
    study: Study, group: list[Run], folders: Folders, command: str, train: Callable[[Config, Path], dict[str, Any]]
) -> None:
    """Does what of a group is not in the results yet, and records each run as it ends.

    Args:
        train: `pmd_jax.run.run`.

    Raises:
        InputError, Preempted, Diverged: see `pmd_jax.run.run`.
    """
    path = folders.results / f"{study.name}.json"
    missing = [run for run in group if not _is_recorded(study, path, run)]
    times = _times(missing) if missing and study.figure == "ms_per_image" else {}
    for run in missing:
        figures = study_results.find(folders.results, identity(run.config), run.config.seed, study.figure)
        if run.variant in times:
            figures = times[run.variant]
        elif figures is None:
            figures = _figures(run.config, finish(run, folders.runs, train))
        with locked(folders.lock):
            study_results.record(study, path, command, run.variant, run.config.seed, figures)


def finish(run: Run, runs: Path, train: Callable[[Config, Path], dict[str, Any]]) -> dict[str, Any]:
    """Trains a run, after its teacher where it has one, and returns its results.json."""
    folder = run_folder(runs, run.config)
    if (folder / "results.json").exists():  # written last
        try:
            return digest.read_json(folder / "results.json")
        except digest.Damaged as error:  # it is put together from the rows' results, which are there
            print(f"{error}; it is made again.", file=sys.stderr, flush=True)
    config = run.config
    if run.teacher is not None:
        finish(Run(run.teacher.name, run.teacher, None), runs, train)
        config = copy.deepcopy(config)
        config.teacher.checkpoint = str(run_folder(runs, run.teacher))
    return train(config, folder)


def run_folder(runs: Path, config: Config) -> Path:
    return runs / f"{config.rows[0]}_{identity(config)}" / f"seed_{config.seed}"


def _is_recorded(study: Study, path: Path, run: Run) -> bool:
    row = study_results.read(path)["rows"].get(run.variant, {})
    return str(run.config.seed) in row.get(study.figure, {})


def _figures(config: Config, results: Mapping[str, Any]) -> dict[str, Any]:
    """What of a run's results.json goes into the study's file."""
    row = results["rows"][config.rows[0]]
    accuracy = {key: value for key, value in row.items() if key.startswith(("epe_", "auc_", "error_per_axis", "pck"))}
    described = {key: results[key] for key in ("dataset", "split", "hardware", "versions")}
    return {**accuracy, **{key: row[key] for key in PER_RUN}, **described}


def _times(runs: list[Run]) -> dict[str, dict[str, Any]]:
    from pmd_jax.hardware import hardware, versions
    from pmd_jax.timing import ms_per_image

    measured = ms_per_image({run.variant: run.config for run in runs})
    used = {name: versions()[name] for name in ("jax", "flax")}
    described = {"protocol": "one crop of 64 px, median", "hardware": hardware(), "versions": used}
    return {name: {"ms_per_image": ms, **described} for name, ms in measured.items()}


def record_examples(study: Study, folders: Folders) -> None:
    """figure7.json: a few test hands with the poses of baseline and PMD-Net, where seed 0's runs lie here."""
    poses, shared = {}, {}
    for name in ("rgb_baseline", "pmd_net"):
        config = resolve(study, name, 0)
        path = run_folder(folders.runs, config) / "examples.npz"
        if not path.is_file():
            return
        saved = read_arrays(path)
        chosen = np.linspace(0, len(saved["rgb"]) - 1, EXAMPLES).astype(int)
        poses[ROWS[name].title] = saved[f"pose_{name}"][chosen]
        shared = {key: saved[key][chosen] for key in ("rgb", "depth", "K", "xyz_m")}
    tree = {key: encode(array) for key, array in shared.items()}
    with locked(folders.lock):
        named = {title: encode(pose) for title, pose in poses.items()}
        study_results.write_json(folders.results / "figure7.json", {**tree, "poses": named})


def record_imitation(study: Study, folders: Folders) -> None:
    """imitation.json: what of the teacher's layers PMD-Net took over, for each seed whose runs lie here."""
    from pmd_jax import export_folder, imitation, sharding
    from pmd_jax.splits import prepare_once, read_splits

    path, splits = folders.results / "imitation.json", None
    for seed in range(SEEDS.value):
        configs = {name: resolve(study, name, seed) for name in ("depth_teacher", "pmd_net", "rgb_baseline")}
        exports = [run_folder(folders.runs, config) / name / "export" for name, config in configs.items()]
        if study_results.has_imitation(path, seed) or not all(folder.is_dir() for folder in exports):
            continue
        if splits is None:
            splits = read_splits(configs["pmd_net"], prepare_once(configs["pmd_net"]))
        held_out = splits.test if splits.validation is None else splits.validation
        teacher, student, baseline = (export_folder.read(folder) for folder in exports)
        shares = imitation.measure(teacher, student, baseline, splits.train, held_out, sharding.make_mesh())
        with locked(folders.lock):
            study_results.record_imitation(path, seed, shares)


def encode(array: np.ndarray) -> dict[str, Any]:
    """An array as JSON types; `results_figures.decode` is the inverse."""
    array = array.astype(array.dtype.newbyteorder("<"))
    data = base64.b64encode(array.tobytes()).decode()
    return {"dtype": array.dtype.str, "shape": list(array.shape), "base64": data}


def run_study(study: Study, folders: Folders) -> None:
    """This task's share of a study. Raises as `run_group`."""
    from pmd_jax import run as job

    if not 0 <= TASK.value < TASKS.value:
        raise StudyError(f"--task={TASK.value} of --tasks={TASKS.value}: tasks count from 0; start a Slurm array at 0.")
    study_results.check_rows(study, folders.results / f"{study.name}.json")
    for group in plan(study, SEEDS.value, ROWS_ONLY.value)[TASK.value :: TASKS.value]:
        run_group(study, group, folders, study_command(), job.run)
    if study.name == "table2":
        record_examples(study, folders)
        record_imitation(study, folders)


def study_command() -> str:
    """The command that gives this study, without what does not change its figures."""
    flag = flags.FLAGS["config"]
    changes = config_flags.get_override_values(flag).items()
    kept = [f"--config.{name}={value}" for name, value in changes if not name.endswith("_dir")]
    return shlex.join(["python", "-m", "pmd_jax.study", f"--config={config_flags.get_config_filename(flag)}", *kept])


def main(argv: list[str]) -> int:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments {argv[1:]}; options begin with --.")
    results, page = given_path(RESULTS.value), given_path(PAGE.value)

    def job() -> None:
        if RENDER.value:
            results_page.write(results, page)
            return
        study = CONFIG.value
        if not isinstance(study, Study):
            raise StudyError("--config must name a study of launch/paper/ (table1.py, say); pmd_jax.main trains rows.")
        _train(study, results, page)

    if JOBS.value > 1 and not RENDER.value:
        return study_jobs.spread(JOBS.value, TASK.value, TASKS.value)
    return commands.exit_code(job)


def _train(study: Study, results: Path, page: Path) -> None:
    commands.set_up_jax()
    folders = Folders(given_path(RUNS.value) / study.dataset, results / study.dataset)
    run_study(study, folders)
    with locked(folders.lock):
        results_page.write(results, page)
    print(f"{folders.results / study.name}.json\n{page}")


if __name__ == "__main__":
    app.run(main, flags_parser=commands.parse_flags)
