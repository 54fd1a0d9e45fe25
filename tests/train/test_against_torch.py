"""The networks, the stage II step and batch norm against PyTorch, in float64, from the same numbers.

Tolerances. Both sides round at 1e-16 but add in different orders: a forward pass, and the first gradient relative to
its largest entry, agree to some 14 digits. Adam divides a gradient g by its own size, so that its update over the
learning rate is off by (error of g) / (|g| + 1e-8): 1e-15 of error and a gradient of 1e-8 make 1e-7, hence 1e-6. The
next gradient is taken where that update leads: its error is some 1e-7 · (learning rate 1e-3) · (curvature).
A ReLU or L1 norm whose argument has another sign on the other side would show as a difference of order one. With
continuous random numbers none is within rounding of its kink, except where both networks' rectified values are exactly
zero (JAX's `abs` has slope 1 there, PyTorch's 0), and there ReLU passes no gradient on.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_config

torch = pytest.importorskip("torch")

from pmd_jax.config import Config, ModelConfig  # noqa: E402
from pmd_jax.config.methods import METHODS  # noqa: E402
from pmd_jax.data.inputs import Inputs  # noqa: E402
from pmd_jax.models.network import Network, Weights, build  # noqa: E402
from pmd_jax.models.pmd_net import Prediction  # noqa: E402
from pmd_jax.train import step as steps  # noqa: E402
from pmd_jax.train.optim import optimizer  # noqa: E402
from pmd_jax.train.state import TrainState, create_state  # noqa: E402
from pmd_jax.train.step import Recipe, loss_function, train_step  # noqa: E402
from pmd_jax.train.teacher_outputs import ComputedOutputs  # noqa: E402
from reference import pmd_net_torch as reference  # noqa: E402 (it imports torch)

QUICK = {"xla_backend_optimization_level": 0}  # most of the time goes into compiling

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
    config = small_config(model=model, compute_dtype="float64")
    return replace(config, optim=replace(config.optim, learning_rate=1e-3, decay_steps=(), weight_decay=5e-4))


def pair(name: str, model: ModelConfig, seed: int) -> Pair:
    """A row's network on both sides, in float64; norms and running statistics at random, so that each number counts."""
    config, row = config_of(model), METHODS[name]
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


def made_up_inputs(samples: int = BATCH) -> Inputs:
    """What the networks and losses take, in float64 and continuous."""
    generator = np.random.default_rng(0)
    images = (generator.uniform(-1, 1, (samples, 64, 64, channels)) for channels in (3, 1))
    return Inputs(*images, generator.normal(size=(samples, 21, 3)))


def to_torch_images(images: np.ndarray) -> torch.Tensor:
    """(b, h, w, c) to (b, c, h, w)."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def assert_same_answer(ours: Prediction, theirs: reference.Answer) -> None:
    assert ours.maps is None  # these read the average
    names = [name for name in Prediction._fields if name != "maps"]
    assert {getattr(ours, name).dtype for name in names} == {jnp.dtype(jnp.float64)}
    theirs = theirs._replace(hidden=torch.stack(theirs.hidden, dim=1))
    for name in names:
        expected = getattr(theirs, name).detach().numpy()
        np.testing.assert_allclose(
            getattr(ours, name), expected, rtol=0, atol=1e-12 * abs(expected).max(), err_msg=name
        )


def assert_same_tree(ours: Any, theirs: dict[str, torch.Tensor], tolerance: float) -> None:
    """Our nested dicts against PyTorch's names, each array within `tolerance` absolutely."""
    ours = reference.to_torch(ours)
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        np.testing.assert_allclose(ours[name], expected.detach(), rtol=0, atol=tolerance, err_msg=name)


# ---- forward


@pytest.mark.parametrize(
    ("name", "model"),
    [("depth_teacher", PAPERS), ("pmd_net_joint", SMALL), ("pmd_net_refine", PAPERS)],
    ids=["depth, 3x3 stem", "joint head, 7x7 stem", "refine, 3x3 stem"],
)
def test_forward(name, model):
    """In evaluation mode by the running statistics, in training mode by the batch's."""
    network, weights, theirs = pair(name, model, seed=1)
    inputs = made_up_inputs()
    images = inputs.depth if name == "depth_teacher" else inputs.rgb

    @functools.partial(jax.jit, compiler_options=QUICK)
    def both_modes(weights: Weights, images: jax.Array) -> tuple[Prediction, Prediction]:
        return network.evaluate(weights, images), network.train(weights, images)[0]

    evaluated, trained = both_modes(weights, images)
    assert_same_answer(evaluated, theirs.eval()(to_torch_images(images)))
    assert_same_answer(trained, theirs.train()(to_torch_images(images)))


def test_forward_at_full_size():
    """ResNet-34 at the paper's width, all heads and the refine branch, on one picture."""
    network, weights, theirs = pair("pmd_net_refine", ModelConfig(), seed=1)
    images = made_up_inputs(1).rgb
    with torch.no_grad():
        expected = theirs.eval()(to_torch_images(images))
    assert expected.feature.shape == (1, 512)
    assert_same_answer(jax.jit(network.evaluate)(weights, images), expected)


# ---- the stage II step


class Ready(NamedTuple):
    """A batch that is a network's inputs already."""

    inputs: Inputs
    index: jax.Array


class Lesson(NamedTuple):
    """Both sides of a student with its teacher, and the batch that they see."""

    recipe: Recipe
    student: Pair
    teacher: Pair
    inputs: Inputs

    def torch_loss(self) -> torch.Tensor:
        """Eq. 5 of the PyTorch networks: the student in training mode, the teacher frozen."""
        method, loss = self.recipe.method, self.recipe.loss
        hidden = loss.lambda_hidden if method.heads == "separate" else (sum(loss.lambda_hidden),)
        with torch.no_grad():
            imitated = self.teacher.torch.eval()(to_torch_images(self.inputs.depth))
        return reference.stage_two_loss(
            self.student.torch.train()(to_torch_images(self.inputs.rgb)),
            imitated,
            torch.from_numpy(self.inputs.target),
            weights=(loss.lambda_feature, *hidden),
            alpha=loss.alpha,
            beta=loss.beta if method.refine else None,
        )


def lesson(name: str, model: ModelConfig) -> Lesson:
    config, method = config_of(model), METHODS[name]
    student, teacher = pair(name, model, seed=1), pair(method.teacher, model, seed=2)
    recipe = Recipe(method, student.network, optimizer(config.optim), config.loss, config.augment)
    return Lesson(recipe, student, teacher, made_up_inputs())


@pytest.mark.parametrize(
    ("name", "model"),
    [("pmd_net", PAPERS), ("pmd_net_refine", SMALL), ("pmd_net_joint", replace(SMALL, hidden_before_relu=True))],
    ids=["separate heads", "refine", "joint head, before ReLU"],
)
def test_five_steps(name, model, monkeypatch):
    """Gradients, updates and running statistics of our training step and of `torch.optim.Adam(weight_decay=5e-4)`."""
    # Augmentation rounds pictures to float32, compiled and not by another last digit: hand the step its inputs ready.
    monkeypatch.setattr(steps, "training_inputs", lambda batch, *_: batch.inputs)
    taught = lesson(name, model)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def ours(state: TrainState, teacher: Weights, inputs: Inputs):
        imitated = taught.teacher.network.evaluate(teacher, inputs.depth)
        gradient, _ = jax.grad(loss_function, has_aux=True)(*state.weights, imitated, inputs, taught.recipe)
        batch, outputs = Ready(inputs, jnp.arange(BATCH)), ComputedOutputs(teacher, taught.teacher.network)
        return *train_step(taught.recipe, state, outputs, batch, jnp.int32(0)), gradient

    optim = config_of(model).optim
    parameters = dict(taught.student.torch.named_parameters())
    adam = torch.optim.Adam(parameters.values(), lr=optim.learning_rate, weight_decay=optim.weight_decay)
    state = create_state(taught.student.weights, taught.recipe.optimizer)
    samples = count_norm_samples(taught.student.torch)
    for step in range(STEPS):
        before = state.params
        state, metrics, gradient = ours(state, taught.teacher.weights, taught.inputs)
        loss, gradients, updates = torch_step(taught, adam)
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-12 if step == 0 else 1e-9, err_msg="loss")
        largest = max(float(value.abs().max()) for value in gradients.values())
        assert largest > 1
        assert_same_tree(gradient, gradients, tolerance=largest * (1e-13 if step == 0 else 1e-9))
        ratio = jax.tree.map(lambda new, old: (new - old) / optim.learning_rate, state.params, before)
        assert_same_tree(ratio, updates, tolerance=1e-6)
        assert max(float(value.abs().max()) for value in updates.values()) > 0.9
    assert_same_statistics(state.batch_stats, taught, samples)


def torch_step(taught: Lesson, adam: torch.optim.Adam) -> tuple[float, dict, dict]:
    """The loss, its gradients, and the updates over the learning rate."""
    parameters = dict(taught.student.torch.named_parameters())
    before = {key: value.detach().clone() for key, value in parameters.items()}
    adam.zero_grad()
    loss = taught.torch_loss()
    loss.backward()
    gradients = {key: value.grad.clone() for key, value in parameters.items()}
    adam.step()
    rate = adam.param_groups[0]["lr"]
    return loss.item(), gradients, {key: (value.detach() - before[key]) / rate for key, value in parameters.items()}


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

    PyTorch normalises by the biased variance, as Flax does, but keeps the unbiased one, n / (n − 1) times as large. The
    running value is 0.9⁵ · start + (a sum linear in the batches' variances), so the factor is taken off the sum.
    """
    start = reference.to_torch(taught.student.weights.batch_stats)
    expected = {key: value.clone() for key, value in taught.student.torch.named_buffers() if "running" in key}
    for name, count in samples.items():
        key = f"{name}.running_var"
        kept = 0.9**STEPS * start[key]
        expected[key] = kept + (expected[key] - kept) * (count - 1) / count
    for key, value in reference.to_torch(batch_stats).items():
        assert not torch.allclose(value, start[key])
    assert_same_tree(batch_stats, expected, tolerance=1e-8)
