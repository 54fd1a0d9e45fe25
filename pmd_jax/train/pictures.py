"""What a run says of the second data set's own pictures: poses before and after, the teacher's, and figures of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from pmd_jax.config import Config
from pmd_jax.config.backbones import CROP_SIZE_PX
from pmd_jax.data import cropping, hand
from pmd_jax.data.cropping import CropBox
from pmd_jax.data.dataset import Columns
from pmd_jax.evaluate import metrics
from pmd_jax.evaluate.predictions import predict_poses
from pmd_jax.models.description import describe
from pmd_jax.models.network import Network, Weights
from pmd_jax.runtime import files
from pmd_jax.runtime.files import read_arrays
from pmd_jax.train.splits import Splits
from pmd_jax.train.start import Start
from pmd_jax.train.teacher import Teacher

POSES_FILE, EXAMPLES_FILE = "unlabelled.npz", "unlabelled_examples.npz"
LOOKED_AT = 2000  # of the pairs, evenly spread, where there is no test split
SHOWN = 6  # evenly spread, and as many where student and teacher disagree most
SCALE_M = 0.09  # of a hand whose size nobody knows, to draw it
_CAMERA = np.array([[150.0, 0, 31.5], [0, 150.0, 31.5], [0, 0, 1]])  # of a crop without one, to draw it

Poses = dict[str, Float[np.ndarray, "n 21 3"]]  # root-relative, hand scales: "after", and "before" and "teacher" if any


def pictures_of(splits: Splits) -> Columns | None:
    """The pictures that are looked at: the test split, else some of the pairs; None without a second data set."""
    pairs = splits.unlabelled
    if splits.unlabelled_test is not None or pairs is None:
        return splits.unlabelled_test
    return pairs.take(np.unique(np.linspace(0, len(pairs) - 1, min(LOOKED_AT, len(pairs))).astype(int)))


def poses_on(
    pictures: Columns,
    network: tuple[Network, str, Weights],
    start: Start | None,
    teacher: Teacher | None,
    config: Config,
    mesh: Mesh,
) -> Poses:
    """What the networks say of the pictures, on every process.

    Args:
        network: the trained one, its modality, its weights.
        start: what it began with. teacher: its own.
    """
    networks = {"after": network}
    if start is not None and network[1] == "rgb":
        networks["before"] = start.network, "rgb", start.weights
    if teacher is not None:
        networks["teacher"] = teacher.network, "depth", teacher.weights
    return {name: predict_poses(*each, pictures, config.eval_batch, mesh) for name, each in networks.items()}


def figures(poses: Poses, pictures: Columns, splits: Splits, config: Config) -> dict[str, Any]:
    """A method's figures on the second data set, as JSON types.

    Those of the trained network stand at the top: its distance to the teacher and, where pictures have joints, what
    `metrics.evaluate` says. Those of the network that it began with, and of its teacher, stand below their names.
    """
    second = config.data.unlabelled
    by_network = {name: _figures_of(name, poses, pictures, config) for name in poses}
    return {
        "dataset": f"{second.dataset}/{second.dataset_config}",
        "split": "test" if splits.unlabelled_test is not None else second.split,
        "pictures": len(pictures),
        "protocol": metrics.protocol_name(config.evaluation, second.dataset, second.dataset_config),
        **by_network.pop("after"),
        **by_network,
    }


def _figures_of(name: str, poses: Poses, pictures: Columns, config: Config) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if name != "teacher" and "teacher" in poses:
        apart = distance(poses[name], poses["teacher"])
        found = {"to_teacher_scales": float(apart.mean()), "to_teacher_median_scales": float(np.median(apart))}
    labelled = pictures.has_label
    if labelled.any():
        true_m = pictures.xyz[labelled]
        predicted_m = hand.denormalise(hand.normalise(true_m)._replace(pose=poses[name][labelled]))
        found |= metrics.evaluate(predicted_m, true_m, config.evaluation)
    return found


def distance(ours: Float[np.ndarray, "n 21 3"], theirs: Float[np.ndarray, "n 21 3"]) -> Float[np.ndarray, " n"]:
    """The mean distance of two poses' joints."""
    return np.linalg.norm(ours.astype(np.float64) - theirs, axis=-1).mean(1)


def write_poses(folder: Path, poses: Poses, pictures: Columns) -> None:
    """A method's unlabelled.npz."""
    with files.replacing(folder / POSES_FILE) as partial, partial.open("wb") as file:
        named: dict[str, Any] = {f"pose_{name}": pose for name, pose in poses.items()}
        np.savez_compressed(file, key=pictures.key.astype(str), **named)


# ---- for the report


def write_examples(workdir: Path, method: str, pictures: Columns) -> None:
    """unlabelled_examples.npz: some pictures with all poses in metres, where the camera sees them."""
    saved = read_arrays(workdir / method / POSES_FILE, "delete result.json beside it and run again")
    poses = {name: saved[f"pose_{name}"] for name in ("before", "after", "teacher") if f"pose_{name}" in saved}
    evenly = np.linspace(0, len(pictures) - 1, min(SHOWN, len(pictures))).astype(int)
    apart = distance(poses["after"], poses["teacher"]) if "teacher" in poses else np.zeros(0)
    chosen = np.concatenate([evenly, np.argsort(-apart, kind="stable")[:SHOWN]])
    shown, margin = pictures.take(chosen), describe(workdir / method / "export").crop_margin
    drawn: dict[str, Any] = _placed({name: pose[chosen] for name, pose in poses.items()}, shown, margin)
    with files.replacing(workdir / EXAMPLES_FILE) as partial, partial.open("wb") as file:
        pixels = {"rgb": shown.rgb, "depth": shown.depth, "K": _cameras(shown)}
        np.savez_compressed(file, **pixels, key=shown.key.astype(str), evenly=len(evenly), **drawn)


def _placed(poses: Poses, shown: Columns, margin: float) -> Poses:
    """Poses in metres in the camera frame, "true" among them where all pictures have joints.

    Without joints the root is where the teacher's pose fills the crop as hands do, and the hand is `SCALE_M` large.
    """
    if shown.has_label.all():
        normalised = hand.normalise(shown.xyz)
        return {name: hand.denormalise(normalised._replace(pose=pose)) for name, pose in poses.items()} | {
            "true": shown.xyz
        }
    reference = poses.get("teacher", poses["after"])
    box = CropBox(0, 0, CROP_SIZE_PX)
    roots = [
        cropping.solve_root_translation(pose, box, K, margin=margin)
        for pose, K in zip(reference, _cameras(shown), strict=True)
    ]
    return {name: (pose + np.array(roots)[:, None]) * SCALE_M for name, pose in poses.items()}


def _cameras(shown: Columns) -> Float[np.ndarray, "n 3 3"]:
    known = np.all(shown.K[:, [0, 1], [0, 1]] > 0, axis=1)
    return np.where(known[:, None, None], shown.K, _CAMERA)
