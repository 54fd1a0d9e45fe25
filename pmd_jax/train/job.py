"""The whole job: prepare data → stage I → stage II → evaluate → export → report. Finished parts are not done again."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from pmd_jax.config import Config, to_dict, validate
from pmd_jax.config.methods import METHODS, Method
from pmd_jax.data import cropping
from pmd_jax.data.labels import training_subset
from pmd_jax.evaluate import metrics
from pmd_jax.evaluate.predictions import predict
from pmd_jax.models import saved_model
from pmd_jax.models.network import Weights, build
from pmd_jax.models.resnet import parameter_count
from pmd_jax.runtime import digest, distributed, ending, files, preemption, sharding
from pmd_jax.runtime.environment import code_digest, versions
from pmd_jax.runtime.preemption import Stop
from pmd_jax.train import continuation, pictures
from pmd_jax.train.loop import TrainingTask, TrainResult, train_method
from pmd_jax.train.optim import optimizer
from pmd_jax.train.splits import (
    SAMPLES_FILE,
    Splits,
    check_augmentation,
    check_labels,
    check_same,
    check_seen,
    describe,
    prepare_once,
    prepare_unlabelled,
    read_splits,
)
from pmd_jax.train.start import Start, read_start
from pmd_jax.train.state import create_state
from pmd_jax.train.step import Recipe
from pmd_jax.train.teacher import Teachers
from pmd_jax.train.workdir import (
    collect_results,
    has_result,
    methods_to_train,
    now,
    owned,
    protocol,
    validation_figures,
    write_examples,
)


@dataclass(frozen=True)
class Job:
    """What all methods of a run share."""

    config: Config
    workdir: Path
    mesh: Mesh
    teachers: Teachers
    splits: Splits
    stop: Stop
    start: Start | None = None  # what the students begin with


def run(config: Config, workdir: Path, *, new_schedule: bool = False) -> dict[str, Any]:
    """Does what of the job is not done yet in `workdir` and returns the content of results.json.

    One run works in a folder at a time; another one waits for it.

    Args:
        new_schedule: the run that is there goes on with this configuration's schedule (`continuation.SCHEDULE`).

    Raises:
        InputError: whatever a user can put right; `pmd_jax.main` turns it into a sentence and an exit code.
        Preempted, Diverged: see `pmd_jax.train.loop`.
    """
    validate(config)
    with preemption.watching() as stop, ending.together(stop):
        distributed.require_same("code, versions or configuration", fingerprint(config))
        mesh = sharding.make_mesh()
        sharding.check_batch(config.eval_batch, mesh, "eval_batch")
        sharding.check_batch(config.optim.batch, mesh, "optim.batch")
        sharding.check_batch(config.teacher.optim.batch, mesh, "teacher.optim.batch")
        teachers, start = Teachers(config, workdir, mesh), read_start(config, mesh)  # before hours of preparation
        if distributed.is_primary():
            continuation.check_workdir(config, workdir, methods_to_train(config), new_schedule)
        folder, second = prepare_once(config), prepare_unlabelled(config)
        splits = read_splits(config, folder, second)
        check_labels(config, splits, teachers)
        check_seen(config, splits)
        check_augmentation(config, splits.train)
        samples = describe(folder, splits, second)
        if start is not None:
            samples["weights to start from"] = start.digest
        distributed.require_same("prepared samples", samples)
        job = Job(config, workdir, mesh, teachers, splits, stop, start)
        with owned(workdir):
            started = now()
            missing, changes = _begin(job, samples, new_schedule)
            with stop.at_looks():
                for name in distributed.broadcast(missing, "what is finished"):
                    finish_method(job, name, continuation.of_method(changes, name))
            return _report(job, started, changes)


def fingerprint(config: Config) -> dict[str, Any]:
    """What must be the same on all processes, by name: code, libraries, and every field but where the data lie."""
    fields = to_dict(config)
    for name in ("data_dir", "manual_dir"):
        del fields["data"][name]
    return {"code": code_digest(), **versions(), **_flat(fields, "config")}


def _flat(tree: dict[str, Any], where: str) -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{where}.{name}") if isinstance(value, dict) else {f"{where}.{name}": value}
    return flat


def _begin(job: Job, samples: dict[str, Any], new_schedule: bool) -> tuple[list[str], list[dict[str, Any]]]:
    """Records in the run's folder what it is of. Process 0 alone looks there: on others nothing is returned.

    Returns:
        The methods that are not finished, and the changes of the schedule.

    Raises:
        ConfigError: another configuration's run, or other samples', is there.
    """
    config, workdir = job.config, job.workdir
    missing, changes = [], []
    if distributed.is_primary():
        # Again: another run may have been here meanwhile.
        changes = continuation.check_workdir(config, workdir, methods_to_train(config), new_schedule)
        check_same(workdir, samples)
        missing = [name for name in methods_to_train(config) if not has_result(workdir / name / "result.json")]
        devices = job.mesh.devices.size
        if missing:
            continuation.check_devices(workdir, devices)
        else:  # nothing is computed here
            devices = continuation.recorded_devices(workdir) or devices
        beside = {**continuation.recorded(changes), "devices": devices}
        files.write_json(workdir / "config.json", {**to_dict(config), **beside})
        files.write_json(workdir / SAMPLES_FILE, samples)
    return missing, changes


def finish_method(job: Job, name: str, changes: list[dict[str, Any]]) -> None:
    """Trains, exports and evaluates one method; `<workdir>/<name>/result.json` is written last.

    Args:
        changes: of the method's schedule, for the record.
    """
    method, config, folder = METHODS[name], job.config, job.workdir / name
    task = _task(job, name)
    trained = train_method(task, config, job.mesh, job.workdir, job.stop)
    weights = trained.state.best_weights
    # Only a teacher's labels matter to others: a student is the end of the line.
    labels = task.columns.key if method.modality == "depth" else ()
    margin = cropping.crop_margin(task.columns.uv[task.columns.has_label])
    saved_model.save(folder / "export", name, config, weights, labels, margin)
    test = job.splits.test
    predicted = predict(task.recipe.network, method.modality, weights, test, config.eval_batch, job.mesh)
    beside = _on_start(job, method) | _on_unlabelled(job, task, weights)
    job.stop.check(f"after the training of {name}")
    if distributed.is_primary():
        with files.replacing(folder / "predictions.npz") as partial, partial.open("wb") as file:
            np.savez_compressed(file, xyz_m=predicted, key=test.key.astype(str))
        result = _result(task, trained, predicted, job)
        digest.write_json(folder / "result.json", {**result, **beside, **continuation.recorded(changes)})
    distributed.barrier(f"the results of {name}")


def _task(job: Job, name: str) -> TrainingTask:
    """What is to be trained for a method. Its teacher, where it has one, is finished."""
    config, method = job.config, METHODS[name]
    optim = config.teacher.optim if method.modality == "depth" else config.optim
    network, weights = build(config, method, config.seed)
    if job.start is not None and method.modality == "rgb":
        weights = jax.tree.map(jnp.array, job.start.weights)  # a copy: the step takes away what it is given
    origin = config.data.depth_origin
    recipe = Recipe(method, network, optimizer(optim), config.loss, config.augment, optim.ema, origin)
    part = training_subset(method, job.splits.train)
    teacher = job.teachers.of(method)
    outputs = None if teacher is None else teacher.outputs_of(method, part, config, job.mesh, job.workdir, job.stop)
    curve = None
    if job.splits.validation is not None and config.eval_every > 0:
        curve = functools.partial(validation_figures, recipe, job.splits.validation, config, job.mesh)
    state = create_state(weights, recipe.optimizer, optim.ema)
    return TrainingTask(name, recipe, state, outputs, part, optim, curve)


def _on_start(job: Job, method: Method) -> dict[str, Any]:
    """What the network that a student began with reaches on the run's own test samples; nothing where there is none."""
    if job.start is None or method.modality != "rgb":
        return {}
    start, test = job.start, job.splits.test
    predicted = predict(start.network, "rgb", start.weights, test, job.config.eval_batch, job.mesh)
    named = {"source": start.source, "title": start.title, "digest": start.digest}
    return {"start": {**named, **metrics.evaluate(predicted, test.xyz, job.config.evaluation)}}


def _on_unlabelled(job: Job, task: TrainingTask, weights: Weights) -> dict[str, Any]:
    """What a trained method says of the second data set's pictures; nothing where there is none."""
    shown, method = pictures.pictures_of(job.splits), task.recipe.method
    if shown is None:
        return {}
    trained = task.recipe.network, method.modality, weights
    poses = pictures.poses_on(shown, trained, job.start, job.teachers.of(method), job.config, job.mesh)
    if distributed.is_primary():
        pictures.write_poses(job.workdir / task.name, poses, shown)
    return {"unlabelled": pictures.figures(poses, shown, job.splits, job.config)}


def _result(
    task: TrainingTask, trained: TrainResult, predicted_m: Float[np.ndarray, "n 21 3"], job: Job
) -> dict[str, Any]:
    """A method's result.json."""
    config, has_label = job.config, task.columns.has_label
    return {
        "title": task.recipe.method.title,
        "protocol": protocol(config),
        **metrics.evaluate(predicted_m, job.splits.test.xyz, config.evaluation),
        "parameters": parameter_count(trained.state.params),
        "labels": int(has_label.sum()),
        "without_labels": int((~has_label).sum()),
        "steps": task.optim.steps,
        "train_seconds": round(trained.seconds, 1),
        "images_per_s": round(trained.images_per_s, 1),
        "seed": config.seed,
    }


def _report(job: Job, started: str, changes: list[dict[str, Any]]) -> dict[str, Any]:
    """Gathers what the methods left, on process 0; the content of results.json on every process."""
    results, workdir = {}, job.workdir
    if distributed.is_primary():
        results = collect_results(job.config, workdir, started, changes)
        saved_model.copy(workdir / results["exported_row"] / "export", workdir / "export")
        write_examples(job.config, workdir, job.splits.test)
        if (shown := pictures.pictures_of(job.splits)) is not None:
            pictures.write_examples(workdir, results["exported_row"], shown)
        digest.write_json(workdir / "results.json", results)
        from pmd_jax.viz import report  # Matplotlib takes a second to import, and the first step need not wait for it

        report.write_report(workdir)
    return distributed.broadcast(results, "the report")
