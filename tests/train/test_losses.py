"""Eq. 1–6 against numbers worked out by hand and against the paper's formulas in float64."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmd_jax.config import LossConfig
from pmd_jax.models.pmd_net import Prediction
from pmd_jax.train.losses import (
    imitation_loss,
    map_divergence,
    part_labelled_loss,
    pose_distance,
    regression_loss,
    stage_one_loss,
    stage_two_loss,
)


def random_prediction(seed: int, heads: int = 3, batch: int = 5) -> Prediction:
    """A made-up network's answer, its refined pose apart from its first."""
    generator = np.random.default_rng(seed)
    shapes = (batch, 512), (batch, heads, 64), (batch, 21, 3), (batch, 21, 3)
    return Prediction(*(jnp.asarray(generator.normal(size=shape), jnp.float32) for shape in shapes))


def random_target(seed: int = 9, batch: int = 5) -> jax.Array:
    return random_prediction(seed, batch=batch).pose


def eq1(pose: np.ndarray, target: np.ndarray) -> float:
    """Eq. 1 as printed, axis by axis, in float64; the mean over the batch."""
    difference = np.asarray(pose, np.float64) - np.asarray(target, np.float64)
    x, y, z = (np.linalg.norm(difference[..., axis], axis=1) ** 2 for axis in range(3))
    return float(np.mean((x + y + z) ** 0.5))


def eq3(student: Prediction, teacher: Prediction, lambdas: tuple[float, ...]) -> float:
    """Eq. 3 as printed, in float64; the mean over the batch. A joint head has two terms, separate heads have four."""
    pairs = [(student.feature, teacher.feature)]
    pairs += [(student.hidden[:, head], teacher.hidden[:, head]) for head in range(student.hidden.shape[1])]
    norms = [np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).sum(1).mean() for a, b in pairs]
    return float(np.dot(lambdas, norms))


# ---- by hand


def hand_made() -> tuple[Prediction, Prediction, jax.Array]:
    """Two samples whose distances are whole numbers.

    Refined pose: 3 and 1, mean 2. First pose: √(9+16+144) = 13 and 5, mean 9. Feature: 1+2+3+10 = 16 and 4·8 = 32,
    mean 24. Second last layers of X, Y, Z: 64·⅛ = 8 in each sample; 4 and 0, mean 2; 0 and 4, mean 2.
    """
    pose, first = np.zeros((2, 21, 3)), np.zeros((2, 21, 3))
    pose[0, 4, 1], pose[1, 20, 2] = -3, 1
    first[0, 2, 0], first[0, 2, 1], first[0, 17, 2], first[1, 9, 1] = 3, 4, -12, 5
    feature = np.array([[1.0, -2, 3, -10], [8, 8, -8, 8]])
    hidden = np.zeros((2, 3, 64))
    hidden[:, 0], hidden[0, 1, 5], hidden[1, 2, 63] = 0.125, -4, 4
    target = jnp.full((2, 21, 3), 0.5)
    student = Prediction(*(jnp.asarray(x, jnp.float32) for x in (feature + 2, hidden - 1, first + 0.5, pose + 0.5)))
    teacher = Prediction(jnp.full((2, 4), 2.0), jnp.full((2, 3, 64), -1.0), target, target)
    return student, teacher, target


def test_distances_by_hand():
    student, _, target = hand_made()
    np.testing.assert_allclose(pose_distance(student.pose, target), [3, 1], rtol=1e-6)
    np.testing.assert_allclose(pose_distance(student.first_pose, target), [13, 5], rtol=1e-6)


def test_stage_one_by_hand():
    student, _, target = hand_made()
    loss, metrics = stage_one_loss(student, target, LossConfig())
    assert float(loss) == pytest.approx(2)
    assert metrics.keys() == {"task/pose"}


def test_regression_by_hand():
    student, _, target = hand_made()
    assert float(regression_loss(student, target, LossConfig(beta=0.5), refine=True)) == pytest.approx(0.5 * 9 + 2)
    assert float(regression_loss(student, target, LossConfig(beta=0.5), refine=False)) == pytest.approx(2)


def test_imitation_by_hand():
    student, teacher, _ = hand_made()
    loss, metrics = imitation_loss(student, teacher, LossConfig())
    assert float(loss) == pytest.approx(24 / 16 + 5 / 16 * (8 + 2 + 2))
    assert float(metrics["distill/feature"]) == pytest.approx(24)
    assert float(metrics["distill/hidden"]) == pytest.approx(12)


def test_stage_two_by_hand():
    student, teacher, target = hand_made()
    loss, metrics = stage_two_loss(student, teacher, target, LossConfig(), refine=True)
    assert float(loss) == pytest.approx(5.25 + 100 * 6.5)
    assert float(metrics["task/pose"]) == pytest.approx(6.5)
    assert float(metrics["distill/loss"]) == pytest.approx(5.25)


# ---- the paper's formulas in float64


class AgainstFloat64(chex.TestCase):
    """With and without jit."""

    @chex.variants(with_jit=True, without_jit=True)
    def test_pose_distance(self):
        pose, target = random_prediction(0).pose, random_target()
        distance = self.variant(pose_distance)(pose, target)
        chex.assert_shape(distance, (5,))
        chex.assert_type(distance, jnp.float32)
        assert float(jnp.mean(distance)) == pytest.approx(eq1(pose, target), rel=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_stage_two(self):
        config = LossConfig(alpha=7.0, beta=0.3, lambda_feature=0.25, lambda_hidden=(0.5, 0.75, 1.5))

        def loss(student, teacher, target):
            return stage_two_loss(student, teacher, target, config, refine=True)

        student, teacher, target = random_prediction(0), random_prediction(1), random_target()
        ours, metrics = self.variant(loss)(student, teacher, target)
        chex.assert_shape((ours, *metrics.values()), ())
        chex.assert_type((ours, *metrics.values()), jnp.float32)
        regression = 0.3 * eq1(student.first_pose, target) + eq1(student.pose, target)
        imitation = eq3(student, teacher, (0.25, 0.5, 0.75, 1.5))
        assert float(ours) == pytest.approx(imitation + 7 * regression, rel=1e-6)


@pytest.mark.parametrize("term", range(4))
def test_each_lambda_weighs_its_own_distance(term):
    lambdas = tuple(float(i == term) for i in range(4))
    config = LossConfig(lambda_feature=lambdas[0], lambda_hidden=lambdas[1:])
    student, teacher = random_prediction(0), random_prediction(1)
    loss, _ = imitation_loss(student, teacher, config)
    assert float(loss) == pytest.approx(eq3(student, teacher, lambdas), rel=1e-6)


def test_joint_head_takes_the_sum_of_the_heads_weights():
    student, teacher = random_prediction(0, heads=1), random_prediction(1, heads=1)
    loss, _ = imitation_loss(student, teacher, LossConfig())
    assert float(loss) == pytest.approx(eq3(student, teacher, (1 / 16, 15 / 16)), rel=1e-6)


# ---- limits


def test_alpha_alone_is_the_baselines_loss():
    config = LossConfig(lambda_feature=0.0, lambda_hidden=(0.0, 0.0, 0.0))
    student, teacher, target = random_prediction(0), random_prediction(1), random_target()
    with_teacher, _ = stage_two_loss(student, teacher, target, config, refine=False)
    baseline, metrics = stage_two_loss(student, None, target, config, refine=False)
    assert float(with_teacher) == float(baseline) == pytest.approx(100 * eq1(student.pose, target), rel=1e-6)
    assert metrics.keys() == {"task/pose"}


def test_alpha_zero_is_imitation_alone():
    student, teacher, target = random_prediction(0), random_prediction(1), random_target()
    loss, _ = stage_two_loss(student, teacher, target, LossConfig(alpha=0.0), refine=True)
    assert float(loss) == pytest.approx(eq3(student, teacher, (1 / 16, 5 / 16, 5 / 16, 5 / 16)), rel=1e-6)


def test_beta_weighs_the_first_pose_and_counts_only_with_a_refine_branch():
    student, target = random_prediction(0), random_target()
    refined = regression_loss(student, target, LossConfig(beta=0.0), refine=True)
    assert float(refined) == pytest.approx(eq1(student.pose, target), rel=1e-6)
    first = regression_loss(student, target, LossConfig(beta=1e4), refine=True) / 1e4
    assert float(first) == pytest.approx(eq1(student.first_pose, target), rel=1e-3)
    assert float(regression_loss(student, target, LossConfig(beta=1e4), refine=False)) == float(refined)


# ---- gradients


def test_gradient_of_the_distance_is_the_unit_vector_of_the_error():
    pose, target = random_prediction(0).pose, random_target()
    gradient = jax.grad(lambda x: jnp.sum(pose_distance(x, target)))(pose)
    error = np.asarray(pose, np.float64) - np.asarray(target, np.float64)
    expected = error / np.sqrt((error**2).sum((1, 2), keepdims=True))
    chex.assert_trees_all_close(gradient, expected.astype(np.float32), rtol=1e-5, atol=1e-7)


def test_gradient_at_zero_error_is_zero():
    """One perfect sample beside a wrong one: where the square root's own gradient would make NaN of the batch."""
    target = random_target()
    pose = target.at[1:].add(0.5)
    gradient = jax.grad(lambda x: jnp.sum(pose_distance(x, target)))(pose)
    chex.assert_tree_all_finite(gradient)
    assert not gradient[0].any()
    assert gradient[1:].all()


def test_a_perfect_student_has_no_loss_and_a_finite_gradient():
    student = random_prediction(0)

    def loss(prediction):
        return stage_two_loss(prediction, student, student.pose, LossConfig(), refine=False)[0]

    value, gradient = jax.value_and_grad(loss)(student)
    assert float(value) == 0
    assert not gradient.pose.any()
    chex.assert_tree_all_finite(gradient)


def test_refined_pose_and_first_pose_both_get_a_gradient():
    student, teacher, target = random_prediction(0), random_prediction(1), random_target()
    gradient = jax.grad(lambda p: stage_two_loss(p, teacher, target, LossConfig(), refine=True)[0])(student)
    # Eq. 1's gradient has length one a sample: 100·β/5 and 100/5 for a batch of five.
    np.testing.assert_allclose(jnp.sqrt((gradient.first_pose**2).sum((1, 2))), 10, rtol=1e-5)
    np.testing.assert_allclose(jnp.sqrt((gradient.pose**2).sum((1, 2))), 20, rtol=1e-5)


# ---- samples without labels (beyond the paper)


@pytest.mark.parametrize("labelled", [0, 1, 3, 5])
@pytest.mark.parametrize("refine", [False, True])
def test_each_sample_has_its_own_goal_and_weight_in_any_mix(labelled, refine):
    student, teacher, target = random_prediction(0), random_prediction(1), random_target()
    target = target.at[labelled:].set(jnp.nan)
    config = LossConfig(alpha=7.0, beta=0.3, gamma=11.0)
    loss, metrics = part_labelled_loss(student, teacher, target, config, refine)

    def distance(sample: int, goal: jax.Array) -> float:
        one = slice(sample, sample + 1)
        first = 0.3 * eq1(student.first_pose[one], goal[one]) if refine else 0.0
        return eq1(student.pose[one], goal[one]) + first

    task = [distance(sample, target) for sample in range(labelled)]
    taught = [distance(sample, teacher.pose) for sample in range(labelled, 5)]
    imitation = eq3(student, teacher, (1 / 16, 5 / 16, 5 / 16, 5 / 16))
    assert float(loss) == pytest.approx(imitation + (7 * sum(task) + 11 * sum(taught)) / 5, rel=1e-5)
    for name, values in (("task/pose", task), ("distill/pose", taught)):
        expected = np.mean(values) if values else np.nan  # nothing to say
        assert float(metrics[name]) == pytest.approx(expected, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("labelled", [0, 2, 5])
def test_the_gradient_is_finite_in_any_mix(labelled):
    student, teacher, target = random_prediction(0), random_prediction(1), random_target()
    target = target.at[labelled:].set(jnp.nan)
    gradient = jax.grad(lambda p: part_labelled_loss(p, teacher, target, LossConfig(), refine=True)[0])(student)
    chex.assert_tree_all_finite(gradient)
    assert jnp.abs(gradient.pose).sum((1, 2)).all()  # each sample has something to learn from


def test_all_labelled_is_eq_5():
    student, teacher, target = random_prediction(0), random_prediction(1), random_target()
    ours, _ = part_labelled_loss(student, teacher, target, LossConfig(), refine=True)
    eq_5, _ = stage_two_loss(student, teacher, target, LossConfig(), refine=True)
    assert float(ours) == pytest.approx(float(eq_5), rel=1e-6)


# ---- beyond the paper: the sum of the joints' errors, maps and pose of the teacher


def test_the_sum_of_the_joints_errors_by_hand():
    """Errors of 3 (an axis), 5 (3 and 4) and 12 in one sample; a perfect one beside it."""
    target = jnp.zeros((2, 21, 3))
    pose = target.at[0, 1, 2].set(-3.0).at[0, 4, 0].set(3.0).at[0, 4, 1].set(4.0).at[0, 20, 0].set(12.0)
    np.testing.assert_allclose(pose_distance(pose, target, "l1"), [20 / np.sqrt(21), 0], rtol=1e-6)
    gradient = jax.grad(lambda x: jnp.sum(pose_distance(x, target, "l1")))(pose)
    expected = np.zeros((2, 21, 3))
    expected[0, 1, 2], expected[0, 4, :2], expected[0, 20, 0] = -1, (0.6, 0.8), 1
    np.testing.assert_allclose(gradient, expected / np.sqrt(21), rtol=1e-6)


def test_both_distances_are_one_where_all_joints_are_equally_far_off():
    """And so are their gradients' lengths, whatever the weights of the losses are."""
    target = random_target()
    direction = random_prediction(3).pose
    pose = target + 0.7 * direction / jnp.linalg.norm(direction, axis=-1, keepdims=True)
    np.testing.assert_allclose(pose_distance(pose, target, "l1"), pose_distance(pose, target), rtol=1e-5)
    gradient = jax.grad(lambda x: jnp.sum(pose_distance(x, target, "l1")))(random_prediction(4).pose)
    np.testing.assert_allclose(jnp.sqrt((gradient**2).sum((1, 2))), 1, rtol=1e-5)


def test_all_poses_of_all_losses_are_compared_by_the_configured_distance():
    config = LossConfig(
        distance="l1", beta=0.3, lambda_feature=0.0, lambda_hidden=(0.0,) * 3, lambda_pose=2.0, gamma=7.0
    )
    student, teacher, target = random_prediction(0), random_prediction(1), random_target()

    def by_joints(pose, goal):
        return jnp.linalg.norm(pose - goal, axis=-1).sum(-1) / np.sqrt(21)

    assert float(stage_one_loss(student, target, config)[0]) == pytest.approx(
        float(by_joints(student.pose, target).mean())
    )
    regression = by_joints(student.pose, target) + 0.3 * by_joints(student.first_pose, target)
    imitation = 2 * by_joints(student.pose, teacher.pose).mean()
    loss, metrics = stage_two_loss(student, teacher, target, config, refine=True)
    assert float(loss) == pytest.approx(float(100 * regression.mean() + imitation), rel=1e-5)
    assert float(metrics["distill/teacher_pose"]) == pytest.approx(float(imitation) / 2, rel=1e-5)
    unlabelled, _ = part_labelled_loss(student, teacher, jnp.full_like(target, jnp.nan), config, refine=True)
    taught = by_joints(student.pose, teacher.pose) + 0.3 * by_joints(student.first_pose, teacher.pose)
    assert float(unlabelled) == pytest.approx(float(7 * taught.mean() + imitation), rel=1e-5)


def random_maps(seed: int) -> jax.Array:
    logits = jnp.asarray(np.random.default_rng(seed).normal(size=(5, 3, 21, 64)), jnp.float32)
    return jax.nn.softmax(logits).reshape(5, 3, 21, 8, 8)


def test_maps_against_float64():
    ours, theirs = (np.asarray(random_maps(seed), np.float64) for seed in (0, 1))
    expected = (theirs * np.log(theirs / ours)).sum((-1, -2)).mean((1, 2))
    np.testing.assert_allclose(map_divergence(random_maps(0), random_maps(1)), expected, rtol=1e-4)
    np.testing.assert_allclose(map_divergence(random_maps(0), random_maps(0)), 0, atol=1e-6)


def test_maps_that_look_elsewhere_have_a_finite_gradient():
    """All weight on one place, and all on another."""
    logits = jnp.zeros((1, 1, 21, 64)).at[..., 3].set(200.0)
    goal = jnp.zeros((1, 1, 21, 8, 8)).at[..., 7, 7].set(1.0)

    def loss(x):
        return map_divergence(jax.nn.softmax(x).reshape(1, 1, 21, 8, 8), goal)[0]

    value, gradient = jax.value_and_grad(loss)(logits)
    assert float(value) == pytest.approx(-np.log(1e-9), rel=1e-3)
    chex.assert_tree_all_finite(gradient)


@pytest.mark.parametrize("has_maps", [True, False])
def test_maps_weigh_where_there_are_some(has_maps):
    student, teacher, target = random_prediction(0), random_prediction(1), random_target()
    if has_maps:
        student, teacher = student._replace(maps=random_maps(0)), teacher._replace(maps=random_maps(1))
    config = LossConfig(lambda_maps=3.0)
    loss, metrics = stage_two_loss(student, teacher, target, config, refine=False)
    without, _ = stage_two_loss(student, teacher, target, LossConfig(), refine=False)
    expected = 3 * float(map_divergence(random_maps(0), random_maps(1)).mean()) if has_maps else 0.0
    assert float(loss - without) == pytest.approx(expected, rel=1e-3)
    assert ("distill/maps" in metrics) == has_maps
