"""`python -m pmd_jax.study`: its flags, and this task's share of the work."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from pmd_jax.runtime import cli
from pmd_jax.runtime.files import given_path, locked
from pmd_jax.runtime.launch_files import define_config
from pmd_jax.study import jobs, result_files, results_page
from pmd_jax.study.definitions import Study, plan
from pmd_jax.study.result_files import StudyError
from pmd_jax.study.runner import Folders, record_examples, record_imitation, run_group

CONFIG = define_config("A study of launch/paper/; --config.base.optim.steps=100.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Train with the seeds 0 to this, exclusive.", lower_bound=1)
ROWS_ONLY = flags.DEFINE_list("rows", [], "These rows of the study only.")
RENDER = flags.DEFINE_bool("render", False, "Make RESULTS.md and the figures of the JSON files, and train nothing.")
RUNS = flags.DEFINE_string("runs", "runs/study", "Where the runs are kept.")
RESULTS = flags.DEFINE_string("results", "results", "Where the JSON files and figures are kept.")
PAGE = flags.DEFINE_string("page", "RESULTS.md", "The page that shows them.")
TASK = flags.DEFINE_integer("task", int(os.environ.get("SLURM_ARRAY_TASK_ID", "0")), "Which task this is, from 0.")
TASKS = flags.DEFINE_integer("tasks", int(os.environ.get("SLURM_ARRAY_TASK_COUNT", "1")), "How many share the work.")
JOBS = flags.DEFINE_integer("jobs", 1, "Processes on this machine, one for each device or core.", lower_bound=1)


def run_study(study: Study, folders: Folders) -> None:
    """This task's share of a study. Raises as `run_group`."""
    from pmd_jax.train import job

    if not 0 <= TASK.value < TASKS.value:
        raise StudyError(f"--task={TASK.value} of --tasks={TASKS.value}: tasks count from 0; start a Slurm array at 0.")
    result_files.check_rows(study, folders.results / f"{study.name}.json")
    for group in plan(study, SEEDS.value, ROWS_ONLY.value)[TASK.value :: TASKS.value]:
        run_group(study, group, folders, study_command(), job.run)
    record_examples(study, folders)
    record_imitation(study, folders, SEEDS.value)


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
        return jobs.spread(JOBS.value, TASK.value, TASKS.value)
    return cli.exit_code(job)


def _train(study: Study, results: Path, page: Path) -> None:
    cli.set_up_jax()
    folders = Folders(given_path(RUNS.value) / study.dataset, results / study.dataset)
    run_study(study, folders)
    with locked(folders.lock):
        results_page.write(results, page)
    print(f"{folders.results / study.name}.json\n{page}")
