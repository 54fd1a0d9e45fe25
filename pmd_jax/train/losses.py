"""Eq. 1–6 of the paper, each a function named after what it is. Distances are per sample; batches take the mean."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pmd_jax.config import LossConfig
from pmd_jax.models.pmd_net import Prediction

Scalar = Float[Array, ""]
Metrics = dict[str, Scalar]


def pose_distance(pose: Float[Array, "b 21 3"], target: Float[Array, "b 21 3"], kind: str = "l2") -> Float[Array, " b"]:
    """How far a pose is from its target, in hand scales.

    "l2" is Eq. 1: the square root of the squared errors summed over joints and axes. "l1" (beyond the paper) is the sum
    of the joints' Euclidean errors, what EPE is the mean of, so that a joint that cannot be seen does not outweigh the
    others; errors of a Laplace distribution around each joint make it a log-likelihood. It is divided by √21: where all
    joints are equally far off it is Eq. 1, its gradient is as long, and so α, β, γ and the weight decay mean the same.

    The gradient at zero error is zero, where the square root's own would be infinite.
    """
    squared = (pose - target) ** 2
    if kind == "l1":
        return jnp.sum(_root(jnp.sum(squared, axis=2)), axis=1) / math.sqrt(pose.shape[1])
    return _root(jnp.sum(squared, axis=(1, 2)))


def _root(squared: Array) -> Array:
    """The square root, its gradient at zero taken to be zero."""
    is_zero = squared == 0
    return jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, squared)))


def map_divergence(maps: Float[Array, "b n 21 h w"], goal: Float[Array, "b n 21 h w"]) -> Float[Array, " b"]:
    """Kullback–Leibler divergence of the student's maps from the teacher's, the mean over a sample's maps, in nats.

    Unlike the L1 distance of Eq. 3 it pulls also where the student is sure of another place.
    """
    tiny = 1e-9  # a place in 64 that neither looks at; the logarithm stays finite
    terms = goal * (jnp.log(goal + tiny) - jnp.log(maps + tiny))
    return jnp.mean(jnp.sum(terms, axis=(-1, -2)), axis=(1, 2))


def regression_loss(
    prediction: Prediction,
    target: Float[Array, "b 21 3"],
    config: LossConfig,
    refine: bool,
    reduce: Callable[[Float[Array, " b"]], Array] = jnp.mean,
) -> Array:
    """Eq. 4, or Eq. 6 where there is a refine branch: β · (first pose) + (refined pose).

    Args:
        reduce: what becomes of the distances of a batch, before they are weighed; `per_sample` leaves them.
    """
    answer = reduce(pose_distance(prediction.pose, target, config.distance))
    if not refine:
        return answer
    return config.beta * reduce(pose_distance(prediction.first_pose, target, config.distance)) + answer


def per_sample(distances: Float[Array, " b"]) -> Float[Array, " b"]:
    """As they are: the caller of `regression_loss` reduces."""
    return distances


def imitation_loss(student: Prediction, teacher: Prediction, config: LossConfig) -> tuple[Scalar, Metrics]:
    """Eq. 3: weighted L1 distances of the features and of each head's second last layer.

    A joint head has one second last layer; it takes the three heads' weight together (docs/paper.md). Beyond the paper:
    the teacher's maps and its pose, where they weigh anything. A teacher of another width has another feature, which
    then weighs nothing (`pmd_jax.train.teacher`).
    """
    metrics, of_feature = {}, 0.0
    if student.feature.shape == teacher.feature.shape:
        metrics["distill/feature"] = jnp.mean(jnp.sum(jnp.abs(student.feature - teacher.feature), axis=-1))
        of_feature = config.lambda_feature * metrics["distill/feature"]
    hidden = jnp.mean(jnp.sum(jnp.abs(student.hidden - teacher.hidden), axis=-1), axis=0)
    weights = jnp.asarray(config.lambda_hidden if hidden.shape[0] == 3 else [sum(config.lambda_hidden)])
    loss = of_feature + jnp.sum(weights * hidden)
    metrics["distill/hidden"] = jnp.sum(hidden)
    if config.lambda_maps > 0 and student.maps is not None:
        assert teacher.maps is not None, "looked up in a table, which holds none"
        metrics["distill/maps"] = jnp.mean(map_divergence(student.maps, teacher.maps))
        loss += config.lambda_maps * metrics["distill/maps"]
    if config.lambda_pose > 0:
        metrics["distill/teacher_pose"] = jnp.mean(pose_distance(student.pose, teacher.pose, config.distance))
        loss += config.lambda_pose * metrics["distill/teacher_pose"]
    return loss, metrics


def stage_one_loss(
    prediction: Prediction, target: Float[Array, "b 21 3"], config: LossConfig
) -> tuple[Scalar, Metrics]:
    """Eq. 2: what the depth teacher is trained with."""
    loss = jnp.mean(pose_distance(prediction.pose, target, config.distance))
    return loss, {"task/pose": loss}


def stage_two_loss(
    student: Prediction, teacher: Prediction | None, target: Float[Array, "b 21 3"], config: LossConfig, refine: bool
) -> tuple[Scalar, Metrics]:
    """Eq. 5: L_dis + α · L_reg. Without a teacher (the RGB baseline) L_dis is zero.

    α stays with the baseline, for the L2 of the optimiser acts through the scale of the loss: a baseline trained with
    the plain L_reg would be decayed α times as hard as PMD-Net.
    """
    regression = regression_loss(student, target, config, refine)
    metrics = {"task/pose": regression}
    loss = config.alpha * regression
    if teacher is not None:
        imitation, parts = imitation_loss(student, teacher, config)
        loss = imitation + loss
        metrics |= {"distill/loss": imitation, **parts}
    return loss, metrics


def part_labelled_loss(
    student: Prediction, teacher: Prediction, target: Float[Array, "b 21 3"], config: LossConfig, refine: bool
) -> tuple[Scalar, Metrics]:
    """Eq. 5 or 6 where only some samples have labels, those whose target is not NaN (beyond the paper).

    L_dis needs no label and is over all. L_reg has the teacher's pose for a goal where there is no label, and weighs it
    γ where a label weighs α. The sum is divided by the whole batch, so that a sample weighs the same in any mix: a mean
    over the labelled alone would make much of one that is alone in its batch.
    """
    has_label = jnp.isfinite(target).all((1, 2))
    goal = jnp.where(has_label[:, None, None], target, teacher.pose)
    distance = regression_loss(student, goal, config, refine, per_sample)
    imitation, parts = imitation_loss(student, teacher, config)
    loss = imitation + jnp.mean(jnp.where(has_label, config.alpha, config.gamma) * distance)
    task, taught = _mean_of(distance, has_label), _mean_of(distance, ~has_label)
    return loss, {"task/pose": task, "distill/loss": imitation, **parts, "distill/pose": taught}


def _mean_of(values: Float[Array, " b"], chosen: Bool[Array, " b"]) -> Scalar:
    """NaN where none is chosen: a batch without such a sample has nothing to say of them."""
    return jnp.sum(jnp.where(chosen, values, 0.0)) / jnp.sum(chosen)
