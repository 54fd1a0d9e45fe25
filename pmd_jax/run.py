"""The whole job: prepare data → stage I → stage II → evaluate → export → report. Finished parts are not done again."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pmd_jax import export_folder, metrics, prepare, sharding, teacher_cache
from pmd_jax.config import Config, ConfigError, config_hash, differences, from_dict, to_dict, validate
from pmd_jax.data import hand
from pmd_jax.data.augment import replace_block, sample_keys
from pmd_jax.data.pipeline import Columns, DataError, hold_out, place_joint_0, read_columns
from pmd_jax.data.unlabelled import check_teacher, place_depth_origin, take_labels_away, training_part
from pmd_jax.files import read_arrays
from pmd_jax.hardware import hardware
from pmd_jax.models.resnet import parameter_count
from pmd_jax.optim import optimizer
from pmd_jax.rows import ROWS
from pmd_jax.state import Weights, build, create_state
from pmd_jax.steps import Recipe
from pmd_jax.train import predict, stop_on_sigterm, train_row

# Where and how often to look does not change what is computed, so these may differ between a run and its continuation.
FREE_FIELDS = (
    ("data", "data_dir"),
    ("data", "manual_dir"),
    ("teacher", "cache"),  # in float32 the same to 1e-5
    ("teacher", "cache_device_mb"),
    ("tensorboard",),
    ("log_every",),
    ("checkpoint_every",),
)


def run(config: Config, workdir: Path) -> dict[str, Any]:
    """Does what of the job is not done yet in `workdir` and returns the content of results.json.

    Raises:
        InputError: whatever a user can put right; `pmd_jax.main` turns it into a sentence and an exit code.
        Preempted, Diverged: see `pmd_jax.train`.
    """
    validate(config)
    mesh = sharding.make_mesh()
    sharding.local_batch(config.eval_batch, mesh, "eval_batch")
    sharding.local_batch(config.optim.batch, mesh, "optim.batch")
    sharding.local_batch(config.teacher.optim.batch, mesh, "teacher.optim.batch")
    if config.teacher.checkpoint:  # before hours of preparation
        for row in needed_teachers(config):
            export_folder.teacher_weights(config.teacher.checkpoint, row, config, sharding.replicated(mesh))
    check_workdir(config, workdir)
    splits = read_splits(config, prepare_once(config))
    check_labels(config, splits.train)
    if jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        _write_json(workdir / "config.json", to_dict(config))
    started = _now()
    with stop_on_sigterm() as stop:
        for name in rows_to_train(config):
            if not (workdir / name / "result.json").exists():
                finish_row(name, config, mesh, splits, workdir, stop)
    results = collect_results(config, workdir, started)
    if jax.process_index() == 0:
        export_folder.copy(workdir / results["exported_row"] / "export", workdir / "export")
        write_examples(config, workdir, splits.test)
        _write_json(workdir / "results.json", results)
        from pmd_jax import report  # Matplotlib takes a second to import, and the first step need not wait for it

        report.write_report(workdir)
    return results


def needed_teachers(config: Config) -> list[str]:
    """The teacher rows that the configured rows are distilled from."""
    teachers = [ROWS[name].teacher for name in config.rows]
    return list(dict.fromkeys(name for name in teachers if name is not None))


def rows_to_train(config: Config) -> list[str]:
    """The configured rows and their teachers first, unless `config.teacher.checkpoint` has these already."""
    teachers = needed_teachers(config)
    if config.teacher.checkpoint:
        rows = [name for name in config.rows if name not in teachers]
    else:
        rows = list(dict.fromkeys([*teachers, *config.rows]))
    return sorted(rows, key=lambda name: ROWS[name].modality != "depth")


def check_workdir(config: Config, workdir: Path) -> None:
    """Compares with the configuration of the run that is there, if there is one.

    Raises:
        ConfigError: the folder is a file, or holds another configuration's run.
    """
    if workdir.exists() and not workdir.is_dir():
        raise ConfigError(f"--workdir={workdir} is a file; name a folder.")
    path = workdir / "config.json"
    if path.exists():
        try:
            there = to_dict(from_dict(json.loads(path.read_text())))  # fields that are newer than it: at their defaults
        except ValueError as error:
            raise ConfigError(f"{path} is broken ({error}); delete {workdir} or name another --workdir.") from error
        changed = differences(_fixed(to_dict(config)), _fixed(there))
        if changed:
            raise ConfigError(
                f"{workdir} holds the run of another configuration; name another --workdir or delete it:\n  "
                + "\n  ".join(changed)
            )


def _fixed(tree: dict[str, Any]) -> dict[str, Any]:
    tree = json.loads(json.dumps(tree))
    for *parents, name in FREE_FIELDS:
        branch = tree
        for parent in parents:
            branch = branch.get(parent, {})
        branch.pop(name, None)
    return tree


def prepare_once(config: Config) -> Path:
    """Prepares the data on one process while the others wait; returns the folder of the prepared splits."""
    data = config.data

    def prepared() -> Path:
        return prepare.prepare(
            data.dataset,
            data_dir=data.data_dir,
            manual_dir=data.manual_dir,
            dataset_config=data.dataset_config,
            allow_partial=data.allow_partial,
        )

    if jax.process_index() == 0:
        prepared()
    _wait_for_all("data prepared")
    return prepared()


def _wait_for_all(where: str) -> None:
    """What process 0 has written before, all may read after."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(where)


class Splits(NamedTuple):
    """The samples to train on, to watch (if any), and to evaluate on at the end."""

    train: Columns
    validation: Columns | None
    test: Columns


def read_splits(config: Config, folder: Path) -> Splits:
    """The prepared splits with joint 0 where the protocol wants it, in training as in evaluation: it sets the scale."""

    def read(split: str) -> Columns:
        return place_joint_0(read_columns(folder, split), config.evaluation.joint_0)

    def placed(columns: Columns) -> Columns:
        return place_depth_origin(columns, config.data.depth_origin)

    train, validation = hold_out(read("train"), config.data)
    train = placed(take_labels_away(train, config.data.labelled, config.seed))
    validation = None if validation is None else placed(validation)
    test = validation if config.data.eval_split == "validation" else placed(read("test"))
    assert test is not None  # validate() made sure of it
    if not test.has_label.all():
        raise DataError(f"The test split of {folder} has samples without joints, which no figure can be made of.")
    return Splits(train, validation, test)


def check_labels(config: Config, train: Columns) -> None:
    """Before anything is trained: each row has the samples it needs, and no teacher knows labels that they do without.

    Raises:
        InputError: see `training_part` and `check_teacher`.
    """
    for name in config.rows:
        training_part(ROWS[name], train)
    for row in needed_teachers(config) if config.teacher.checkpoint else ():
        check_teacher(
            config.teacher.checkpoint, export_folder.teacher_labels(config.teacher.checkpoint, row, config), train
        )


def finish_row(name: str, config: Config, mesh: Mesh, splits: Splits, workdir: Path, stop: threading.Event) -> None:
    """Trains, exports and evaluates one row; `<workdir>/<name>/result.json` is written last."""
    row = ROWS[name]
    optim = config.teacher.optim if row.modality == "depth" else config.optim
    network, weights = build(config, row, config.seed)
    teacher_network, teacher = None, None
    part = training_part(row, splits.train)
    if row.teacher is not None:
        teacher_network, _ = build(config, ROWS[row.teacher], config.seed)
        source = config.teacher.checkpoint or workdir / row.teacher / "export"
        teacher = export_folder.teacher_weights(source, row.teacher, config, sharding.replicated(mesh))
        if teacher_cache.pays(config, len(part)):
            its_export = export_folder.teacher_folder(source, row.teacher, config)
            home = teacher_cache.home(its_export, workdir / row.teacher)
            teacher = teacher_cache.lessons(teacher_network, teacher, part, config, home, mesh, stop)
    recipe = Recipe(row, network, teacher_network, optimizer(optim), config.loss, config.augment)
    state = create_state(weights, recipe.optimizer)

    curve = None
    if splits.validation is not None and config.eval_every > 0:
        curve = functools.partial(validation_figures, recipe, splits.validation, config, mesh)
    state, seconds, images_per_s = train_row(
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
    margin = hand.crop_margin(part.uv[part.has_label])
    export_folder.save(workdir / name / "export", name, config, state.weights, labels, margin)
    predicted = predict(recipe, state.weights, splits.test, config.eval_batch, mesh)
    if jax.process_index() == 0:
        np.savez_compressed(workdir / name / "predictions.npz", xyz_m=predicted, key=splits.test.key.astype(str))
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
        }
        _write_json(workdir / name / "result.json", result)
    _wait_for_all(f"{name} finished")


def validation_figures(
    recipe: Recipe, held_out: Columns, config: Config, mesh: Mesh, weights: Weights
) -> dict[str, float | str]:
    """A point of the curves: what the weights reach on the validation samples, and under which protocol."""
    predicted = predict(recipe, weights, held_out, config.eval_batch, mesh)
    figures = metrics.evaluate(predicted, held_out.xyz, config.evaluation)
    named = {f"eval/{name}": figures[name] for name in ("epe_mm", metrics.auc_key(config.evaluation))}
    return {**named, "protocol": protocol(config)}


def protocol(config: Config) -> str:
    """What this configuration's figures mean."""
    return metrics.protocol_name(config.evaluation, config.data.dataset, config.data.dataset_config)


def collect_results(config: Config, workdir: Path, started: str) -> dict[str, Any]:
    """results.json: every finished row and how it came about."""
    rows = {name: json.loads((workdir / name / "result.json").read_text()) for name in rows_to_train(config)}
    students = [name for name in config.rows if ROWS[name].modality == "rgb"]
    exported = students[-1] if students else config.rows[-1]
    return {
        "dataset": f"{config.data.dataset}/{config.data.dataset_config}",
        "split": config.data.eval_split,
        "protocol": protocol(config),
        "exported_row": exported,
        "command": " ".join(["python -m pmd_jax.main", *sys.argv[1:]]),
        "hardware": hardware(),
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "flax", "optax", "orbax-checkpoint")},
        "started": started,
        "finished": _now(),
        "seed": config.seed,
        "config_hash": config_hash(config),
        "rows": rows,
    }


def write_examples(config: Config, workdir: Path, test: Columns, count: int = 12) -> None:
    """examples.npz: a few test samples with every row's prediction, and what block replacement does to a picture."""
    chosen = np.linspace(0, len(test) - 1, min(count, len(test))).astype(int)
    poses = {}
    for name in rows_to_train(config):
        poses[f"pose_{name}"] = read_arrays(
            workdir / name / "predictions.npz", "delete result.json beside it and run again: it is evaluated anew"
        )["xyz_m"][chosen]
    samples = test.take(chosen)
    pictures = jnp.asarray(samples.rgb[:6])
    shown = config.augment.__class__(block_size=config.augment.block_size, block_probability=1.0)
    replaced, blocks = replace_block(pictures, sample_keys(config.seed, jnp.int32(0), jnp.arange(len(pictures))), shown)
    partial = workdir / "examples.partial.npz"
    np.savez_compressed(
        partial,
        rgb=samples.rgb,
        depth=samples.depth,
        uv=samples.uv,
        xyz_m=samples.xyz,
        K=samples.K,
        key=samples.key.astype(str),
        occlusion_before=np.asarray(pictures),
        occlusion_after=np.asarray(replaced),
        occlusion_block=np.asarray(blocks),
        **poses,
    )
    os.replace(partial, workdir / "examples.npz")


def table(results: dict[str, Any]) -> str:
    """The final table for the terminal."""
    width = max(len(row["title"]) for row in results["rows"].values())
    auc, auc_range = metrics.find_auc(next(iter(results["rows"].values())))
    auc_head = f"AUC {auc_range}"
    lines = [
        f"{results['dataset']}, {results['split']} split; {results['protocol']}",
        f"{'':{width}}  EPE mm  median  {auc_head}  labels  without  parameters  images/s",
    ]
    for row in results["rows"].values():
        # Rows that an earlier version finished have no counts.
        labels, without = (f"{row[name]:,}" if name in row else "–" for name in ("labels", "without_labels"))
        lines.append(
            f"{row['title']:{width}}  {row['epe_mm']:6.2f}  {row['epe_median_mm']:6.2f}  {row[auc]:{len(auc_head)}.3f}"
            f"  {labels:>6}  {without:>7}  {row['parameters']:10,}  {row['images_per_s']:8.0f}"
        )
    return "\n".join(lines)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    os.replace(partial, path)
