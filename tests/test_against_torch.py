"""The networks, the stage II step and batch norm against PyTorch, in float64, from the same numbers.

Tolerances. Both sides round at 1e-16 but add in different orders. A forward pass through batch norm keeps some 13
digits; the gradient, of up to a few hundred, some 12. Adam divides a gradient by its own size, so its update over the
learning rate is good to about (error of the gradient) / |gradient|: 1e-6 leaves room for gradients a million times
smaller than the largest. A ReLU or L1 norm whose argument has another sign on the other side would show as a
difference of order one; with continuous random numbers none is within rounding of its kink, except where both
networks' rectified values are exactly zero, and there ReLU passes no gradient on.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import make_columns, small_config

torch = pytest.importorskip("torch")

import reference_torch as reference  # noqa: E402 (it imports torch)

from pmd_jax.config import AugmentConfig, Config, ModelConfig  # noqa: E402
from pmd_jax.data.augment import Inputs, to_inputs  # noqa: E402
from pmd_jax.models.pmd_net import Prediction  # noqa: E402
from pmd_jax.optim import optimizer  # noqa: E402
from pmd_jax.rows import ROWS  # noqa: E402
from pmd_jax.state import Network, Weights, build, create_state  # noqa: E402
from pmd_jax.steps import Recipe, loss_function, train_step  # noqa: E402

STEPS, BATCH = 5, 4
SMALL = ModelConfig(width=4, blocks=(1, 2, 1, 1), reading="32/16/8/8")  # a stage with and stages without a plain block
PAPERS = ModelConfig(width=4, blocks=(2, 1, 1, 1), reading="64/32/16/8")


@pytest.fixture(autouse=True)
def _float64_on_one_thread():
    """For these tests alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with jax.enable_x64(True):
        yield
    torch.set_num_threads(threads)


class Pair(NamedTuple):
    """One network twice."""

    network: Network
    weights: Weights
    torch: reference.TorchPMDNet


def config_of(model: ModelConfig) -> Config:
    config = small_config(model=model, augment=AugmentConfig(), compute_dtype="float64")
    return replace(config, optim=replace(config.optim, learning_rate=1e-3, decay_steps=(), weight_decay=5e-4))


def pair(name: str, model: ModelConfig, seed: int) -> Pair:
    """A row's network on both sides, in float64; norms and running statistics at random, so that each number counts."""
    config, row = config_of(model), ROWS[name]
    network, weights = build(config, row, seed)
    generator = np.random.default_rng(seed)

    def somewhere(path: tuple, leaf: jax.Array) -> jax.Array:
        value, kind = np.asarray(leaf, np.float64), path[-1].key
        if kind in ("scale", "var"):
            value = value * generator.uniform(0.5, 1.5, value.shape)
        elif kind in ("bias", "mean"):
            value = value + generator.normal(0, 0.1, value.shape)
        return jnp.asarray(value)

    weights = Weights(*(jax.tree_util.tree_map_with_path(somewhere, tree) for tree in weights))
    theirs = reference.TorchPMDNet(
        1 if row.modality == "depth" else 3,
        width=model.width,
        blocks=model.blocks,
        reading=model.reading,
        heads=row.heads,
        refine=row.refine,
        hidden_before_relu=model.hidden_before_relu,
    )
    return Pair(network, weights, reference.carry_over(theirs, *weights))


def batch_of(count: int = BATCH, seed: int = 0):
    """Prepared samples whose labels are in float64, so that nothing after them is in float32."""
    batch = make_columns(count, seed).gather(np.arange(count))
    return batch._replace(xyz=batch.xyz.astype(np.float64))


def to_torch_images(images: Any) -> torch.Tensor:
    """(b, h, w, c) to (b, c, h, w)."""
    return torch.from_numpy(np.asarray(images, np.float64).transpose(0, 3, 1, 2).copy())


def assert_same_answer(ours: Prediction, theirs: reference.Answer) -> None:
    assert {part.dtype for part in ours} == {jnp.dtype(jnp.float64)}
    theirs = theirs._replace(hidden=torch.stack(theirs.hidden, dim=1))
    for name in Prediction._fields:
        expected = getattr(theirs, name).detach().numpy()
        np.testing.assert_allclose(getattr(ours, name), expected, rtol=0, atol=1e-10 * abs(expected).max(), err_msg=name)


def assert_same_tree(ours: Any, theirs: dict[str, torch.Tensor], tolerance: float) -> None:
    """Our nested dicts against PyTorch's names, each array within `tolerance` absolutely."""
    ours = reference.to_torch(ours)
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        np.testing.assert_allclose(ours[name], expected.detach(), rtol=0, atol=tolerance, err_msg=name)


# ---- forward


@pytest.mark.parametrize("model", [SMALL, PAPERS], ids=["7x7 stem", "3x3 stem"])
@pytest.mark.parametrize("name", ["depth_teacher", "pmd_net_joint", "pmd_net_refine"])
def test_forward(name, model):
    """In evaluation mode by the running statistics, in training mode by the batch's."""
    network, weights, theirs = pair(name, model, seed=1)
    inputs = to_inputs(batch_of())
    images = inputs.depth if name == "depth_teacher" else inputs.rgb
    assert_same_answer(jax.jit(network.evaluate)(weights, images), theirs.eval()(to_torch_images(images)))
    assert_same_answer(jax.jit(network.train)(weights, images)[0], theirs.train()(to_torch_images(images)))


@pytest.mark.parametrize("reading", ["64/32/16/8", "32/16/8/8"])
def test_forward_at_full_size(reading):
    """ResNet-34 at the paper's width, all heads and the refine branch, on one picture."""
    network, weights, theirs = pair("pmd_net_refine", ModelConfig(reading=reading), seed=1)
    images = to_inputs(batch_of(1)).rgb
    with torch.no_grad():
        expected = theirs.eval()(to_torch_images(images))
    assert expected.feature.shape == (1, 512)
    assert_same_answer(jax.jit(network.evaluate)(weights, images), expected)


# ---- the stage II step


class Lesson(NamedTuple):
    """Both sides of a student with its teacher, and the batch that they see."""

    recipe: Recipe
    student: Pair
    teacher: Pair
    inputs: Inputs

    def torch_loss(self) -> torch.Tensor:
        """Eq. 5 of the PyTorch networks: the student in training mode, the teacher frozen."""
        row, loss = self.recipe.row, self.recipe.loss
        hidden = loss.lambda_hidden if row.heads == "separate" else (sum(loss.lambda_hidden),)
        with torch.no_grad():
            imitated = self.teacher.torch.eval()(to_torch_images(self.inputs.depth))
        return reference.stage_two_loss(
            self.student.torch.train()(to_torch_images(self.inputs.rgb)),
            imitated,
            torch.from_numpy(np.array(self.inputs.target)),
            weights=(loss.lambda_feature, *hidden),
            alpha=loss.alpha,
            beta=loss.beta if row.refine else None,
        )


def lesson(name: str, model: ModelConfig) -> Lesson:
    config, row = config_of(model), ROWS[name]
    student, teacher = pair(name, model, seed=1), pair(row.teacher, model, seed=2)
    recipe = Recipe(row, student.network, teacher.network, optimizer(config.optim), config.loss, config.augment)
    return Lesson(recipe, student, teacher, to_inputs(batch_of()))


CASES = [
    ("pmd_net", PAPERS),
    ("pmd_net_refine", SMALL),
    ("pmd_net_joint", replace(SMALL, hidden_before_relu=True)),
]
each_case = pytest.mark.parametrize(("name", "model"), CASES, ids=["separate", "refine", "joint, before ReLU"])


@each_case
def test_gradient(name, model):
    taught = lesson(name, model)

    @jax.jit
    def ours(weights: Weights, teacher: Weights, inputs: Inputs):
        imitated = taught.teacher.network.evaluate(teacher, inputs.depth)
        differentiate = jax.value_and_grad(loss_function, has_aux=True)
        return differentiate(weights.params, weights.batch_stats, imitated, inputs, taught.recipe)

    (loss, _), gradient = ours(taught.student.weights, taught.teacher.weights, taught.inputs)
    expected = taught.torch_loss()
    expected.backward()
    gradients = {key: parameter.grad for key, parameter in taught.student.torch.named_parameters()}
    largest = max(float(value.abs().max()) for value in gradients.values())
    assert largest > 1
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-12)
    assert_same_tree(gradient, gradients, tolerance=1e-11 * largest)


@each_case
def test_five_steps(name, model):
    """Our training step against `torch.optim.Adam(weight_decay=5e-4)`: each update over the learning rate to 1e-6."""
    taught, batch = lesson(name, model), batch_of()
    optim = config_of(model).optim
    adam = torch.optim.Adam(taught.student.torch.parameters(), lr=optim.learning_rate, weight_decay=optim.weight_decay)
    step = jax.jit(functools.partial(train_step, taught.recipe))
    state = create_state(taught.student.weights, taught.recipe.optimizer)
    samples = count_norm_samples(taught.student.torch)
    for _ in range(STEPS):
        before = state.params
        state, metrics = step(state, taught.teacher.weights, batch, jnp.int32(0))
        torch_before = {key: value.detach().clone() for key, value in taught.student.torch.named_parameters()}
        adam.zero_grad()
        loss = taught.torch_loss()
        loss.backward()
        adam.step()
        np.testing.assert_allclose(metrics["loss"], loss.item(), rtol=1e-9)
        ours = jax.tree.map(lambda new, old: (new - old) / optim.learning_rate, state.params, before)
        theirs = {
            key: (value.detach() - torch_before[key]) / optim.learning_rate
            for key, value in taught.student.torch.named_parameters()
        }
        assert_same_tree(ours, theirs, tolerance=1e-6)
    assert max(float(value.abs().max()) for value in theirs.values()) > 0.1
    assert_same_statistics(state.batch_stats, taught, samples)


def count_norm_samples(model: reference.TorchPMDNet) -> dict[str, int]:
    """Over how many numbers (pictures × pixels) each norm averages; filled in by the model's next pass."""
    samples = {}

    def note(name, _module, arguments):
        samples[name] = arguments[0].numel() // arguments[0].shape[1]

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_pre_hook(functools.partial(note, name))
    return samples


def assert_same_statistics(batch_stats: Any, taught: Lesson, samples: dict[str, int]) -> None:
    """Running statistics after five steps from the same start.

    PyTorch's variances are n / (n − 1) times Flax's: it normalises by the biased variance but keeps the unbiased one.
    The running value is 0.9⁵ · start + (a sum linear in the batches' variances), so the factor is taken off the sum.
    """
    start = reference.to_torch(taught.student.weights.batch_stats)
    expected = {key: value.clone() for key, value in taught.student.torch.named_buffers() if "running" in key}
    for name, count in samples.items():
        key = f"{name}.running_var"
        kept = 0.9**STEPS * start[key]
        assert not torch.allclose(expected[key], reference.to_torch(batch_stats)[key], rtol=1e-5)
        expected[key] = kept + (expected[key] - kept) * (count - 1) / count
    for key, value in reference.to_torch(batch_stats).items():
        assert not torch.allclose(value, start[key])
    assert_same_tree(batch_stats, expected, tolerance=1e-8)
