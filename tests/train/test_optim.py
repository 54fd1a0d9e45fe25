"""The optimiser against PyTorch's formulas written in NumPy, and the schedules at their borders."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pmd_jax.config import OptimConfig
from pmd_jax.train.optim import optimizer, schedule

STEPS = 5


def torch_adam(params: np.ndarray, gradients: np.ndarray, config: OptimConfig) -> np.ndarray:
    """`torch.optim.Adam(weight_decay=…)`, or `AdamW` if decoupled, at a constant rate, in float64."""
    beta1, beta2, epsilon = 0.9, 0.999, 1e-8
    params, m, v = params.copy(), np.zeros_like(params), np.zeros_like(params)
    for t, gradient in enumerate(gradients, start=1):
        if config.decoupled:
            params -= config.learning_rate * config.weight_decay * params
        else:
            gradient = gradient + config.weight_decay * params
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        corrected_m, corrected_v = m / (1 - beta1**t), v / (1 - beta2**t)
        params -= config.learning_rate * corrected_m / (np.sqrt(corrected_v) + epsilon)
    return params


def ours(params: np.ndarray, gradients: np.ndarray, config: OptimConfig) -> np.ndarray:
    with jax.enable_x64(True):
        transformation = optimizer(config)
        tree = {"bias": jnp.asarray(params[:3]), "kernel": jnp.asarray(params[3:])}
        state = transformation.init(tree)
        for gradient in gradients:
            gradient_tree = {"bias": jnp.asarray(gradient[:3]), "kernel": jnp.asarray(gradient[3:])}
            updates, state = transformation.update(gradient_tree, state, tree)
            tree = optax.apply_updates(tree, updates)
        assert tree["kernel"].dtype == jnp.float64
        return np.concatenate([tree["bias"], tree["kernel"]])


def problem() -> tuple[np.ndarray, np.ndarray]:
    """Parameters, and gradients of five steps, small enough that the weight decay matters."""
    generator = np.random.default_rng(0)
    return generator.normal(size=12), generator.normal(0, 1e-2, (STEPS, 12))


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 5e-4, 0.1])
def test_five_steps_as_in_pytorch(decoupled, weight_decay):
    config = OptimConfig(learning_rate=0.05, weight_decay=weight_decay, decoupled=decoupled)
    params, gradients = problem()
    expected = torch_adam(params, gradients, config)
    assert abs(expected - params).max() > 0.1
    np.testing.assert_allclose(ours(params, gradients, config), expected, atol=1e-6)


def test_l2_and_decoupled_differ_and_decay_every_parameter():
    """L2 passes Adam's division, so a parameter without a gradient moves by the whole learning rate."""
    params, gradients = problem()
    still = np.zeros_like(gradients[:1])
    l2 = ours(params, still, OptimConfig(learning_rate=0.05, weight_decay=0.1))
    np.testing.assert_allclose(l2, params - 0.05 * np.sign(params), atol=1e-6)
    decoupled = ours(params, still, OptimConfig(learning_rate=0.05, weight_decay=0.1, decoupled=True))
    np.testing.assert_allclose(decoupled, params * (1 - 0.05 * 0.1), atol=1e-9)


def rates(config: OptimConfig, steps: list[int]) -> list[float]:
    rate = schedule(config)
    return [float(rate(jnp.int32(step))) for step in steps]


def test_default_schedule_is_the_papers_for_rhd():
    """60K iterations at 1e-4 (steps 0 … 59,999), then a tenth."""
    found = rates(OptimConfig(), [0, 59_999, 60_000, 89_999])
    assert found == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5], rel=1e-6)


def test_several_drops():
    config = OptimConfig(learning_rate=1.0, decay_steps=(10, 20), decay_factor=0.5, steps=30)
    assert rates(config, [9, 10, 19, 20, 29]) == pytest.approx([1, 0.5, 0.5, 0.25, 0.25])


def test_no_drop():
    assert rates(OptimConfig(learning_rate=1.0, decay_steps=()), [0, 89_999]) == pytest.approx([1, 1])


def test_warm_up_begins_at_zero_and_leaves_the_drop_where_it_is():
    config = OptimConfig(learning_rate=1.0, warmup_steps=10, decay_steps=(20,), steps=30)
    assert rates(config, [0, 5, 9, 10, 19, 20]) == pytest.approx([0, 0.5, 0.9, 1, 1, 0.1])


@pytest.mark.parametrize("warmup", [0, 100])
def test_cosine_ends_at_zero(warmup):
    config = OptimConfig(learning_rate=2.0, schedule="cosine", steps=300, warmup_steps=warmup)
    middle = (300 + warmup) // 2
    assert rates(config, [warmup, middle, 300]) == pytest.approx([2, 1, 0], abs=1e-6)
    falling = rates(config, list(range(warmup, 301, 20)))
    assert all(a > b for a, b in itertools.pairwise(falling))


def test_the_optimiser_follows_its_schedule():
    """Under a constant gradient and no decay Adam's first updates are the learning rate itself."""
    config = OptimConfig(learning_rate=0.1, weight_decay=0.0, decay_steps=(2,), decay_factor=0.1, steps=4)
    params = np.zeros(12)
    path = [ours(params, np.ones((count, 12)), config)[0] for count in range(5)]
    np.testing.assert_allclose(np.diff(path), [-0.1, -0.1, -0.01, -0.01], rtol=1e-5)
