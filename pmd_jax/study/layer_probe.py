"""What of the teacher's layers an RGB network can have, and what of them the labels already say.

Distillation can only pay where the teacher knows something that (a) the student can see and (b) the labels do not tell
it. Each layer of Eq. 3 is approximated in three ways, and the share of it that the approximation explains is measured
in the loss's own norm, on samples that no network was trained on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from pmd_jax.config.methods import METHODS
from pmd_jax.data import hand
from pmd_jax.data.dataset import Columns
from pmd_jax.data.inputs import images_of, to_inputs
from pmd_jax.evaluate.predictions import compile_outputs, outputs_of
from pmd_jax.models import saved_model
from pmd_jax.models.network import build

FIT_SAMPLES = 8000  # of the training split, for the two fitted approximations
RIDGE = 1e-3  # of the mean square of the inputs

Layers = dict[str, Float[np.ndarray, "n units"]]


def explained(target: Float[np.ndarray, "n u"], approximation: Float[np.ndarray, "n u"]) -> float:
    """1 − the L1 distance (Eq. 3) over that of the best constant, each unit's median: 1 is perfect, 0 is no better."""
    constant = np.abs(target - np.median(target, axis=0)).sum()
    return float(1 - np.abs(target - approximation).sum() / constant)


def ridge(
    inputs: Float[np.ndarray, "m i"], targets: Float[np.ndarray, "m u"], new_inputs: Float[np.ndarray, "n i"]
) -> Float[np.ndarray, "n u"]:
    """Linear ridge regression with a bias, fitted to the first pair and applied to `new_inputs`."""
    mean, spread = inputs.mean(0), inputs.std(0) + 1e-9
    x, new_x = (inputs - mean) / spread, (new_inputs - mean) / spread
    gram = x.T @ x + RIDGE * len(x) * np.eye(x.shape[1])
    return new_x @ np.linalg.solve(gram, x.T @ (targets - targets.mean(0))) + targets.mean(0)


def quadratic(pose: Float[np.ndarray, "n 21 3"]) -> Float[np.ndarray, "n q"]:
    """The 63 coordinates of the normalised pose and all their products."""
    flat = pose.reshape(len(pose), -1)
    rows, columns = np.triu_indices(flat.shape[1])
    return np.concatenate([flat, flat[:, rows] * flat[:, columns]], axis=1)


def layers_of(exported: saved_model.SavedModel, columns: Columns, mesh: Mesh) -> Layers:
    """The layers that Eq. 3 compares, of a trained network on every sample: feature, and each head before its ReLU."""
    config = replace(exported.config, model=replace(exported.config.model, hidden_before_relu=True))
    method = METHODS[exported.method]
    network, _ = build(config, method, seed=0)

    def layers(weights, batch):
        prediction = network.evaluate(weights, images_of(to_inputs(batch), method.modality))
        return prediction.feature, prediction.hidden

    said = outputs_of(compile_outputs(layers, mesh), [exported.weights], columns, config.eval_batch, mesh)
    pairs = [pair for (pair,) in said]
    feature, hidden = (np.concatenate(part).astype(np.float64) for part in zip(*pairs, strict=True))
    heads = ("X", "Y", "Z") if hidden.shape[1] == 3 else ("XYZ",)
    return {"feature": feature, **{name: hidden[:, index] for index, name in enumerate(heads)}}


def measure(
    teacher: saved_model.SavedModel,
    student: saved_model.SavedModel,
    baseline: saved_model.SavedModel,
    fit: Columns,
    held_out: Columns,
    mesh: Mesh,
) -> dict[str, dict[str, float]]:
    """The explained share of each of the teacher's layers, by three approximations.

    Args:
        teacher, student, baseline: trained networks with the same heads; the baseline saw no teacher.
        fit: training samples; the first `FIT_SAMPLES` are used.
        held_out: the samples to measure on.

    Returns:
        layer → {"student": the student's own layer; "baseline": a linear map of the baseline's feature; "labels": a
        quadratic map of the true normalised pose}; layers are the feature, and each head before and after its ReLU.
    """
    fit = fit.take(np.arange(min(FIT_SAMPLES, len(fit))))
    truth, truth_fit = (layers_of(teacher, columns, mesh) for columns in (held_out, fit))
    answer = layers_of(student, held_out, mesh)
    seen, seen_fit = (layers_of(baseline, columns, mesh)["feature"] for columns in (held_out, fit))
    pose, pose_fit = (quadratic(hand.normalise(columns.xyz).pose) for columns in (held_out, fit))
    shares = {}
    for name, target in truth.items():
        ways = {
            "student": answer[name],
            "baseline": ridge(seen_fit, truth_fit[name], seen),
            "labels": ridge(pose_fit, truth_fit[name], pose),
        }
        shares[name] = {way: explained(target, value) for way, value in ways.items()}
        if name != "feature":
            after = {way: explained(_relu(target), _relu(value)) for way, value in ways.items()}
            shares[f"{name}, after ReLU"] = after
    return shares


def _relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0)
