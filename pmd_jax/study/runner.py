"""A table of the paper over several seeds.

    python -m pmd_jax.study --config=launch/paper/table2.py:rendered --seeds=3

Every run has its own folder under runs/study, named after what it computes, so tables share their runs and the rows of
a seed their teacher. What is finished is not done again: the same command goes on after a stop. Each finished run goes
into results/<data set>/<study>.json at once; `--render` makes RESULTS.md and the figures of these files alone.

Several devices of a machine: `--jobs=4`. Several machines: start the command once on each with `--task=0 --tasks=4`,
`--task=1 --tasks=4`, …; the tasks of a Slurm array find their number themselves.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pmd_jax.config import Config
from pmd_jax.config.backbones import CROP_SIZE_PX
from pmd_jax.config.methods import METHODS
from pmd_jax.runtime import digest
from pmd_jax.runtime.files import locked, read_arrays
from pmd_jax.study import result_files
from pmd_jax.study.definitions import Run, Study, identity, resolve

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
        train: `pmd_jax.train.job.run`.

    Raises:
        InputError, Preempted, Diverged: see `pmd_jax.train.job.run`.
    """
    path = folders.results / f"{study.name}.json"
    missing = [run for run in group if not _is_recorded(study, path, run)]
    times = _times(missing) if missing and study.figure == "ms_per_image" else {}
    for run in missing:
        figures = result_files.find(folders.results, identity(run.config), run.config.seed, study.figure)
        if run.variant in times:
            figures = times[run.variant]
        elif figures is None:
            figures = _figures(run.config, finish(run, folders.runs, train))
        with locked(folders.lock):
            result_files.record(study, path, command, run.variant, run.config.seed, figures)


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
    row = result_files.read(path)["rows"].get(run.variant, {})
    return str(run.config.seed) in row.get(study.figure, {})


def _figures(config: Config, results: Mapping[str, Any]) -> dict[str, Any]:
    """What of a run's results.json goes into the study's file."""
    row = results["rows"][config.rows[0]]
    accuracy = {key: value for key, value in row.items() if key.startswith(("epe_", "auc_", "error_per_axis", "pck"))}
    described = {key: results[key] for key in ("dataset", "split", "hardware", "versions")}
    return {**accuracy, **{key: row[key] for key in PER_RUN}, **described}


def _times(runs: list[Run]) -> dict[str, dict[str, Any]]:
    from pmd_jax.predict.latency import ms_per_image
    from pmd_jax.runtime.environment import hardware, versions

    measured = ms_per_image({run.variant: run.config for run in runs})
    used = {name: versions()[name] for name in ("jax", "flax")}
    described = {"protocol": f"one crop of {CROP_SIZE_PX} px, median", "hardware": hardware(), "versions": used}
    return {name: {"ms_per_image": ms, **described} for name, ms in measured.items()}


def record_examples(study: Study, folders: Folders) -> None:
    """figure7.json: a few test hands with the poses of `study.poses`, where seed 0's runs of all of them lie here."""
    poses, hands = {}, {}
    for name in study.poses:
        config = resolve(study, name, 0)
        path = run_folder(folders.runs, config) / "examples.npz"
        if not path.is_file():
            return
        saved = read_arrays(path)
        chosen = np.linspace(0, len(saved["rgb"]) - 1, EXAMPLES).astype(int)
        row = study.variants[name].row
        poses[METHODS[row].title] = saved[f"pose_{row}"][chosen]
        hands = {key: saved[key][chosen] for key in result_files.HAND_ARRAYS}
    if poses:
        with locked(folders.lock):
            result_files.record_poses(folders.results / result_files.POSES, hands, poses)


def record_imitation(study: Study, folders: Folders, seeds: int) -> None:
    """imitation.json: what of the teacher's layers the student took over, for each seed whose runs lie here."""
    if study.probe is None:
        return
    from pmd_jax.models import saved_model
    from pmd_jax.runtime import sharding
    from pmd_jax.study import layer_probe
    from pmd_jax.train.splits import prepare_once, read_splits

    path, splits = folders.results / result_files.LAYERS, None
    for seed in range(seeds):
        configs = [resolve(study, name, seed) for name in study.probe]
        exports = [run_folder(folders.runs, config) / config.rows[0] / "export" for config in configs]
        if result_files.has_imitation(path, seed) or not all(folder.is_dir() for folder in exports):
            continue
        if splits is None:
            _, student_config, _ = configs
            splits = read_splits(student_config, prepare_once(student_config))
        held_out = splits.test if splits.validation is None else splits.validation
        teacher, student, baseline = (saved_model.read(folder) for folder in exports)
        shares = layer_probe.measure(teacher, student, baseline, splits.train, held_out, sharding.make_mesh())
        with locked(folders.lock):
            result_files.record_imitation(path, seed, shares)
