"""What a run leaves in its folder: results.json, examples.npz, and the table for the terminal."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pmd_jax.config import Config, config_hash
from pmd_jax.config.methods import METHODS, needed_teachers
from pmd_jax.data.augment import replace_block, sample_keys
from pmd_jax.data.dataset import Columns
from pmd_jax.evaluate import metrics
from pmd_jax.evaluate.predictions import predict
from pmd_jax.models.network import Weights
from pmd_jax.runtime import digest, distributed, files
from pmd_jax.runtime.environment import hardware, versions
from pmd_jax.runtime.errors import InputError
from pmd_jax.runtime.files import read_arrays
from pmd_jax.train import continuation
from pmd_jax.train.step import Recipe


@contextmanager
def owned(workdir: Path) -> Iterator[None]:
    """The folder is there for all processes, and no other run works in it."""
    with files.locked(workdir / "lock", f"the folder {workdir}") if distributed.is_primary() else nullcontext():
        distributed.require_shared(workdir, "--workdir")
        yield


def methods_to_train(config: Config) -> list[str]:
    """The configured methods and their teachers first, unless `config.teacher.checkpoint` has these already."""
    teachers = needed_teachers(config.rows)
    if config.teacher.checkpoint:
        methods = [name for name in config.rows if name not in teachers]
    else:
        methods = list(dict.fromkeys([*teachers, *config.rows]))
    return sorted(methods, key=lambda name: METHODS[name].modality != "depth")


def validation_figures(
    recipe: Recipe, held_out: Columns, config: Config, mesh: Mesh, weights: Weights
) -> dict[str, float | str]:
    """A point of the curves: what the weights reach on the validation samples, and under which protocol."""
    predicted = predict(recipe.network, recipe.method.modality, weights, held_out, config.eval_batch, mesh)
    figures = metrics.evaluate(predicted, held_out.xyz, config.evaluation)
    named = {f"eval/{name}": figures[name] for name in ("epe_mm", metrics.auc_key(config.evaluation))}
    return {**named, "protocol": protocol(config)}


def protocol(config: Config) -> str:
    """What this configuration's figures mean."""
    return metrics.protocol_name(config.evaluation, config.data.dataset, config.data.dataset_config)


def collect_results(config: Config, workdir: Path, started: str, changes: list[dict[str, Any]]) -> dict[str, Any]:
    """results.json: every finished method and how it came about.

    Raises:
        InputError: a method's result.json cannot be read.
    """
    rows = {name: _read_result(workdir / name / "result.json") for name in methods_to_train(config)}
    students = [name for name in config.rows if METHODS[name].modality == "rgb"]
    exported = students[-1] if students else config.rows[-1]
    return {
        "dataset": f"{config.data.dataset}/{config.data.dataset_config}",
        "split": config.data.eval_split,
        "protocol": protocol(config),
        **_beside(config),
        "exported_row": exported,
        "command": " ".join(["python -m pmd_jax.main", *sys.argv[1:]]),
        "hardware": hardware(),
        "versions": versions(),
        "started": started,
        "finished": now(),
        "seed": config.seed,
        "config_hash": config_hash(config),
        **continuation.recorded(changes),
        "rows": rows,
    }


def _beside(config: Config) -> dict[str, Any]:
    """What results.json says of a second data set, and of what the students began with; nothing where there is none."""
    second, said = config.data.unlabelled, {}
    if second.dataset:
        said["unlabelled"] = {"dataset": f"{second.dataset}/{second.dataset_config}", "split": second.split}
    return said | ({"start_from": config.start_from} if config.start_from else {})


def has_result(path: Path) -> bool:
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
    """examples.npz: a few test samples with every method's prediction, and what block replacement does to a picture."""
    chosen = np.linspace(0, len(test) - 1, min(count, len(test))).astype(int)
    poses = {}
    for name in methods_to_train(config):
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
    return "\n".join([*lines, *_on_unlabelled(results["rows"], width)])


def _on_unlabelled(rows: dict[str, Any], width: int) -> list[str]:
    """The lines of a second data set, if there is one: distances to the teacher in shares of the hand's scale."""
    lines = []
    for row in rows.values():
        if (found := row.get("unlabelled")) is None:
            continue
        lines = lines or ["", f"{found['dataset']}, {found['split']} split; {found['protocol']}"]
        for name, each in (
            (row["title"], found),
            ("  before", found.get("before")),
            ("  its teacher", found.get("teacher")),
        ):
            figures = {"EPE mm": "epe_mm", "distance to the teacher": "to_teacher_scales"}
            cells = [f"{head} {each[key]:.3g}" for head, key in figures.items() if key in each] if each else []
            lines += [f"{name:{width}}  {', '.join(cells)}"] if cells else []
    return lines


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
