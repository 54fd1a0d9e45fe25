"""The whole job: prepare data → stage I → stage II → evaluate → export → report. Finished parts are not done again."""

from __future__ import annotations

import datetime
import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pmd_jax import (
    continuation,
    digest,
    distributed,
    export_folder,
    files,
    metrics,
    preemption,
    sharding,
    teacher_cache,
)
from pmd_jax.config import Config, config_hash, to_dict, validate
from pmd_jax.data import hand
from pmd_jax.data.augment import replace_block, sample_keys
from pmd_jax.data.pipeline import Columns
from pmd_jax.data.unlabelled import training_part
from pmd_jax.errors import InputError
from pmd_jax.files import read_arrays
from pmd_jax.hardware import code_digest, hardware, versions
from pmd_jax.models.resnet import parameter_count
from pmd_jax.optim import optimizer
from pmd_jax.outputs import predict
from pmd_jax.preemption import Stop
from pmd_jax.rows import ROWS, needed_teachers
from pmd_jax.splits import (
    SAMPLES_FILE,
    Splits,
    check_labels,
    check_same,
    check_seen,
    describe,
    prepare_once,
    read_splits,
)
from pmd_jax.state import Weights, build, create_state
from pmd_jax.steps import Recipe
from pmd_jax.train import train_row


def run(config: Config, workdir: Path, *, new_schedule: bool = False) -> dict[str, Any]:
    """Does what of the job is not done yet in `workdir` and returns the content of results.json.

    One run works in a folder at a time; another one waits for it.

    Args:
        new_schedule: the run that is there goes on with this configuration's schedule (`continuation.SCHEDULE`).

    Raises:
        InputError: whatever a user can put right; `pmd_jax.main` turns it into a sentence and an exit code.
        Preempted, Diverged: see `pmd_jax.train`.
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
                export_folder.teacher_weights(config.teacher.checkpoint, row, config, sharding.replicated(mesh))
        if distributed.is_primary():
            continuation.check_workdir(config, workdir, rows_to_train(config), new_schedule)
        folder = prepare_once(config)
        splits = read_splits(config, folder)
        check_labels(config, splits.train)
        check_seen(config, splits)
        samples = describe(folder, splits)
        distributed.require_same("prepared samples", samples)
        with _own(workdir):
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


@contextmanager
def _own(workdir: Path) -> Iterator[None]:
    """The folder is there for all processes, and no other run works in it."""
    with files.locked(workdir / "lock", f"the folder {workdir}") if distributed.is_primary() else nullcontext():
        distributed.require_shared(workdir, "--workdir")
        yield


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
    started = _now()
    missing, changes = [], []
    if distributed.is_primary():
        # Again: another run may have been here meanwhile.
        changes = continuation.check_workdir(config, workdir, rows_to_train(config), new_schedule)
        check_same(workdir, samples)
        files.write_json(workdir / "config.json", {**to_dict(config), **continuation.recorded(changes)})
        files.write_json(workdir / SAMPLES_FILE, samples)
        missing = [name for name in rows_to_train(config) if not _has_result(workdir / name / "result.json")]
    with stop.at_looks():
        for name in distributed.broadcast(missing, "what is finished"):
            finish_row(name, config, mesh, splits, workdir, stop, continuation.of_row(changes, name))
    results = {}
    if distributed.is_primary():
        results = collect_results(config, workdir, started, changes)
        export_folder.copy(workdir / results["exported_row"] / "export", workdir / "export")
        write_examples(config, workdir, splits.test)
        digest.write_json(workdir / "results.json", results)
        from pmd_jax import report  # Matplotlib takes a second to import, and the first step need not wait for it

        report.write_report(workdir)
    return distributed.broadcast(results, "the report")


def rows_to_train(config: Config) -> list[str]:
    """The configured rows and their teachers first, unless `config.teacher.checkpoint` has these already."""
    teachers = needed_teachers(config.rows)
    if config.teacher.checkpoint:
        rows = [name for name in config.rows if name not in teachers]
    else:
        rows = list(dict.fromkeys([*teachers, *config.rows]))
    return sorted(rows, key=lambda name: ROWS[name].modality != "depth")


def finish_row(
    name: str, config: Config, mesh: Mesh, splits: Splits, workdir: Path, stop: Stop, changes: list[dict[str, Any]]
) -> None:
    """Trains, exports and evaluates one row; `<workdir>/<name>/result.json` is written last.

    Args:
        changes: of the row's schedule, for the record.
    """
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


def validation_figures(
    recipe: Recipe, held_out: Columns, config: Config, mesh: Mesh, weights: Weights
) -> dict[str, float | str]:
    """A point of the curves: what the weights reach on the validation samples, and under which protocol."""
    predicted = predict(recipe.network, recipe.row.modality, weights, held_out, config.eval_batch, mesh)
    figures = metrics.evaluate(predicted, held_out.xyz, config.evaluation)
    named = {f"eval/{name}": figures[name] for name in ("epe_mm", metrics.auc_key(config.evaluation))}
    return {**named, "protocol": protocol(config)}


def protocol(config: Config) -> str:
    """What this configuration's figures mean."""
    return metrics.protocol_name(config.evaluation, config.data.dataset, config.data.dataset_config)


def collect_results(config: Config, workdir: Path, started: str, changes: list[dict[str, Any]]) -> dict[str, Any]:
    """results.json: every finished row and how it came about.

    Raises:
        InputError: a row's result.json cannot be read.
    """
    rows = {name: _read_result(workdir / name / "result.json") for name in rows_to_train(config)}
    students = [name for name in config.rows if ROWS[name].modality == "rgb"]
    exported = students[-1] if students else config.rows[-1]
    return {
        "dataset": f"{config.data.dataset}/{config.data.dataset_config}",
        "split": config.data.eval_split,
        "protocol": protocol(config),
        "exported_row": exported,
        "command": " ".join(["python -m pmd_jax.main", *sys.argv[1:]]),
        "hardware": hardware(),
        "versions": versions(),
        "started": started,
        "finished": _now(),
        "seed": config.seed,
        "config_hash": config_hash(config),
        **continuation.recorded(changes),
        "rows": rows,
    }


def _has_result(path: Path) -> bool:
    """Whether a row is finished. Raises as `_read_result`: before hours of training, not after."""
    return path.exists() and bool(_read_result(path))


def _read_result(path: Path) -> dict[str, Any]:
    try:
        return digest.read_json(path)
    except (OSError, digest.Damaged) as error:
        # Not evaluated anew unasked: where the row's checkpoints are gone, that would train it from the beginning.
        raise InputError(
            f"{error}; delete {path} and run again: the row's last checkpoint is evaluated anew."
        ) from error


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
    with files.replacing(workdir / "examples.npz") as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
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
