"""The whole job: prepare data → stage I → stage II → evaluate → export → report. Finished parts are not done again."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from pmd_jax.config import Config, to_dict, validate
from pmd_jax.config.methods import METHODS, needed_teachers
from pmd_jax.data import cropping
from pmd_jax.data.labels import training_subset
from pmd_jax.evaluate import metrics
from pmd_jax.evaluate.predictions import predict
from pmd_jax.models import saved_model
from pmd_jax.models.network import build
from pmd_jax.models.resnet import parameter_count
from pmd_jax.runtime import digest, distributed, files, preemption, sharding
from pmd_jax.runtime.environment import code_digest, versions
from pmd_jax.runtime.preemption import Stop
from pmd_jax.train import continuation, teacher_cache
from pmd_jax.train import teacher as teacher_module
from pmd_jax.train.loop import train_method
from pmd_jax.train.optim import optimizer
from pmd_jax.train.splits import (
    SAMPLES_FILE,
    Splits,
    check_labels,
    check_same,
    check_seen,
    describe,
    prepare_once,
    read_splits,
)
from pmd_jax.train.state import create_state
from pmd_jax.train.step import Recipe
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
    with preemption.watching() as stop, distributed.together(stop):
        distributed.require_same("code, versions or configuration", fingerprint(config))
        mesh = sharding.make_mesh()
        sharding.check_batch(config.eval_batch, mesh, "eval_batch")
        sharding.check_batch(config.optim.batch, mesh, "optim.batch")
        sharding.check_batch(config.teacher.optim.batch, mesh, "teacher.optim.batch")
        if config.teacher.checkpoint:  # before hours of preparation
            for row in needed_teachers(config.rows):
                teacher_module.teacher_weights(config.teacher.checkpoint, row, config, sharding.replicated(mesh))
        if distributed.is_primary():
            continuation.check_workdir(config, workdir, methods_to_train(config), new_schedule)
        folder = prepare_once(config)
        splits = read_splits(config, folder)
        check_labels(config, splits.train)
        check_seen(config, splits)
        samples = describe(folder, splits)
        distributed.require_same("prepared samples", samples)
        with owned(workdir):
            return _run_here(config, workdir, mesh, splits, samples, stop, new_schedule)


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


def _run_here(
    config: Config,
    workdir: Path,
    mesh: Mesh,
    splits: Splits,
    samples: dict[str, Any],
    stop: Stop,
    new_schedule: bool,
) -> dict[str, Any]:
    """The job in a folder of its own. Raises as `run`."""
    started = now()
    missing, changes = [], []
    if distributed.is_primary():
        # Again: another run may have been here meanwhile.
        changes = continuation.check_workdir(config, workdir, methods_to_train(config), new_schedule)
        check_same(workdir, samples)
        files.write_json(workdir / "config.json", {**to_dict(config), **continuation.recorded(changes)})
        files.write_json(workdir / SAMPLES_FILE, samples)
        missing = [name for name in methods_to_train(config) if not has_result(workdir / name / "result.json")]
    with stop.at_looks():
        for name in distributed.broadcast(missing, "what is finished"):
            finish_method(name, config, mesh, splits, workdir, stop, continuation.of_row(changes, name))
    results = {}
    if distributed.is_primary():
        results = collect_results(config, workdir, started, changes)
        saved_model.copy(workdir / results["exported_row"] / "export", workdir / "export")
        write_examples(config, workdir, splits.test)
        digest.write_json(workdir / "results.json", results)
        from pmd_jax.viz import report  # Matplotlib takes a second to import, and the first step need not wait for it

        report.write_report(workdir)
    return distributed.broadcast(results, "the report")


def finish_method(
    name: str, config: Config, mesh: Mesh, splits: Splits, workdir: Path, stop: Stop, changes: list[dict[str, Any]]
) -> None:
    """Trains, exports and evaluates one row; `<workdir>/<name>/result.json` is written last.

    Args:
        changes: of the row's schedule, for the record.
    """
    row = METHODS[name]
    optim = config.teacher.optim if row.modality == "depth" else config.optim
    network, weights = build(config, row, config.seed)
    teacher_network, teacher = None, None
    part = training_subset(row, splits.train)
    if row.teacher is not None:
        teacher_network, _ = build(config, METHODS[row.teacher], config.seed)
        source = config.teacher.checkpoint or workdir / row.teacher / "export"
        teacher = teacher_module.teacher_weights(source, row.teacher, config, sharding.replicated(mesh))
        if teacher_cache.pays(config, len(part)):
            its_export = teacher_module.teacher_folder(source, row.teacher, config)
            home = teacher_cache.home(its_export, workdir / row.teacher)
            teacher = teacher_cache.lessons(teacher_network, teacher, part, config, home, mesh, stop)
    recipe = Recipe(row, network, teacher_network, optimizer(optim), config.loss, config.augment)
    state = create_state(weights, recipe.optimizer)

    curve = None
    if splits.validation is not None and config.eval_every > 0:
        curve = functools.partial(validation_figures, recipe, splits.validation, config, mesh)
    state, seconds, images_per_s = train_method(
        recipe,
        state,
        teacher,
        part,
        curve,
        name=name,
        config=config,
        optim=optim,
        mesh=mesh,
        workdir=workdir,
        stop=stop,
    )
    # Only a teacher's labels matter to others: a student is the end of the line.
    labels = part.key if row.modality == "depth" else ()
    margin = cropping.crop_margin(part.uv[part.has_label])
    saved_model.save(workdir / name / "export", name, config, state.weights, labels, margin)
    predicted = predict(network, row.modality, state.weights, splits.test, config.eval_batch, mesh)
    stop.check(f"after the training of {name}")
    if distributed.is_primary():
        with files.replacing(workdir / name / "predictions.npz") as partial, partial.open("wb") as file:
            np.savez_compressed(file, xyz_m=predicted, key=splits.test.key.astype(str))
        result = {
            "title": row.title,
            "protocol": protocol(config),
            **metrics.evaluate(predicted, splits.test.xyz, config.evaluation),
            "parameters": parameter_count(state.params),
            "labels": int(part.has_label.sum()),
            "without_labels": int((~part.has_label).sum()),
            "steps": optim.steps,
            "train_seconds": round(seconds, 1),
            "images_per_s": round(images_per_s, 1),
            "seed": config.seed,
            **continuation.recorded(changes),
        }
        digest.write_json(workdir / name / "result.json", result)
    distributed.barrier(f"the results of {name}")
