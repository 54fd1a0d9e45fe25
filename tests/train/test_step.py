"""The training step: what it changes, what it leaves alone, and that spreading it over devices changes nothing."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_config
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import AxisType, Mesh

from pmd_jax.config import Config, LossConfig
from pmd_jax.config.methods import METHODS
from pmd_jax.config.presets import with_fields
from pmd_jax.data import hand
from pmd_jax.data.inputs import Batch, to_inputs
from pmd_jax.data.ray_frame import from_ray
from pmd_jax.evaluate.predictions import predict_step
from pmd_jax.models.network import build
from pmd_jax.runtime import sharding
from pmd_jax.train.compiled_step import CompiledStep
from pmd_jax.train.optim import optimizer
from pmd_jax.train.state import TrainState, create_state
from pmd_jax.train.step import Recipe, loss_function, train_step
from pmd_jax.train.teacher_outputs import ComputedOutputs
from reference.made_up_columns import make_columns

GOLDEN = Path(__file__).parents[1] / "golden" / "one_step_metrics.json"


def make(name: str, config: Config | None = None) -> tuple[Recipe, TrainState, ComputedOutputs | None]:
    """A method's recipe, first state and (made-up) teacher."""
    config = config or small_config()
    method = METHODS[name]
    network, weights = build(config, method, seed=1)
    recipe = Recipe(method, network, optimizer(config.optim), config.loss, config.augment, config.optim.ema)
    state = create_state(weights, recipe.optimizer, config.optim.ema)
    if method.teacher is None:
        return recipe, state, None
    teacher_network, teacher = build(config, METHODS[method.teacher], seed=2)
    return recipe, state, ComputedOutputs(teacher, teacher_network)


def mesh_of(axis_type: AxisType, devices: int = 8) -> Mesh:
    """As `sharding.make_mesh`, which knows Auto alone: the step must compute the same under Explicit."""
    return Mesh(np.asarray(jax.devices()[:devices]), (sharding.DATA,), axis_types=(axis_type,))


def batch_of(count: int = 16, seed: int = 0) -> Batch:
    return make_columns(count, seed).gather(np.arange(count))


@functools.cache
def one_step(name: str, loss: LossConfig | None = None) -> tuple[TrainState, dict]:
    recipe, state, teacher = make(name, small_config() if loss is None else small_config(loss=_unfreeze(loss)))
    return jax.jit(functools.partial(train_step, recipe))(state, teacher, batch_of(), jnp.int32(0))


class FrozenLoss(LossConfig):
    """Hashable, to be a cache's key."""

    def __hash__(self):
        return hash((self.alpha, self.beta, self.gamma, self.lambda_feature, self.lambda_hidden))


def _unfreeze(loss: LossConfig) -> LossConfig:
    return LossConfig(loss.alpha, loss.beta, loss.gamma, loss.lambda_feature, loss.lambda_hidden)


NO_DISTILLATION = FrozenLoss(lambda_feature=0.0, lambda_hidden=(0.0, 0.0, 0.0))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_a_step(name):
    state, metrics = one_step(name)
    assert int(state.step) == 1
    assert np.isnan(metrics.pop("distill/pose", np.nan))  # all samples have labels, so there is nothing to say
    chex.assert_tree_all_finite((state, metrics))
    chex.assert_trees_all_equal_shapes_and_dtypes(state, make(name)[1])
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state.params))


def test_teacher_is_left_bitwise_unchanged_and_out_of_the_gradient():
    recipe, state, teacher = make("pmd_net")
    before = jax.tree.map(np.array, teacher)
    step = jax.jit(functools.partial(train_step, recipe), donate_argnames="state")
    for _ in range(2):
        state, _ = step(state, teacher, batch_of(), jnp.int32(0))
    chex.assert_trees_all_equal(jax.tree.map(np.array, teacher), before)
    # The gradient has the student's tree, so the optimiser and the checkpoint hold nothing of the teacher.
    shapes = jax.eval_shape(functools.partial(_gradients, recipe), state, teacher, batch_of())
    chex.assert_trees_all_equal_structs(shapes, state.params)
    saved = sum(leaf.size for leaf in jax.tree.leaves(state))
    student = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    statistics = sum(leaf.size for leaf in jax.tree.leaves(state.batch_stats))
    assert saved == 3 * student + statistics + 3  # parameters, two moments, statistics, three counters


def _gradients(recipe, state, teacher, batch):
    inputs = to_inputs(batch)
    taught = teacher.outputs(batch.index, None, inputs.depth)
    return jax.grad(lambda p: loss_function(p, state.batch_stats, taught, inputs, recipe)[0])(state.params)


def test_no_distillation_weight_is_the_baseline_bit_for_bit():
    with_teacher, _ = one_step("pmd_net", NO_DISTILLATION)
    baseline, _ = one_step("rgb_baseline")
    chex.assert_trees_all_equal(with_teacher, baseline)


def test_distillation_changes_the_update():
    with_teacher, metrics = one_step("pmd_net")
    baseline, _ = one_step("rgb_baseline")
    assert float(metrics["distill/loss"]) > 0
    kernel = with_teacher.params["backbone"]["stem"]["kernel"] - baseline.params["backbone"]["stem"]["kernel"]
    assert float(jnp.abs(kernel).max()) > 0


def test_alpha_zero_leaves_only_the_imitation():
    _, metrics = one_step("pmd_net", FrozenLoss(alpha=0.0))
    assert float(metrics["loss"]) == pytest.approx(float(metrics["distill/loss"]), rel=1e-6)


def test_beta_zero_leaves_only_the_refined_pose():
    _, plain = one_step("pmd_net_refine", FrozenLoss(beta=0.0))
    _, both = one_step("pmd_net_refine", FrozenLoss(beta=2.0))
    first = (float(both["task/pose"]) - float(plain["task/pose"])) / 2
    assert first > 0
    _, half = one_step("pmd_net_refine", FrozenLoss(beta=0.5))
    assert float(half["task/pose"]) == pytest.approx(float(plain["task/pose"]) + 0.5 * first, rel=1e-5)


@pytest.mark.parametrize(
    ("devices", "axis_type", "packed"),
    [(1, AxisType.Auto, False), (1, AxisType.Explicit, True), (8, AxisType.Auto, True), (8, AxisType.Explicit, False)],
)
def test_sharded_step_equals_the_plain_one(devices, axis_type, packed):
    """Batch norm's sums run in another order on eight devices: float32 differs in the last digits, no more.

    The loop's own form of the step, with a state of many arrays (CPUs) and of few (accelerators).
    """
    recipe, state, teacher = make("pmd_net_refine_replace")
    mesh = mesh_of(axis_type, devices)
    whole, batch = sharding.replicated(mesh), batch_of()
    with jax.set_mesh(mesh):
        state, teacher, seed = jax.device_put((state, teacher, jnp.int32(0)), whole)
        loop = CompiledStep(recipe, mesh, state, batch, packed)
        rows = sharding.global_array(mesh, loop.batch.pack(batch).rows)
        carry = loop.begin(state)
        assert len(jax.tree.leaves(carry)) == 9 or not packed
        carry, vector = loop.step(carry, loop.teach(teacher), rows, seed)
        sharded = loop.state(carry)
    names = loop.names
    plain, metrics = one_step("pmd_net_refine_replace")
    *values, bad_step, _ = np.asarray(vector)
    assert bad_step == 0
    for name, value in zip(names, values, strict=True):
        assert float(metrics[name]) == pytest.approx(float(value), rel=2e-5), name
    # Adam's first update is lr·sign(g): a gradient near zero may flip, so the moments are compared, not the weights.
    for ours, theirs in zip(jax.tree.leaves(plain.opt_state), jax.tree.leaves(sharded.opt_state), strict=True):
        scale = float(jnp.abs(ours).max()) + 1e-12
        np.testing.assert_allclose(np.asarray(theirs), np.asarray(ours), atol=1e-3 * scale)


@contextmanager
def no_compilation_cache():
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
        compilation_cache.reset_cache()


def test_in_bfloat16_the_devices_sums_are_float32(tmp_path):
    """Read in the program that XLA's partitioner makes: later the CPU's compiler turns sums of bfloat16 into float32.

    As many sums as in float32 and all of that dtype: those of the convolutions' gradients, too.
    """
    recipe, state, teacher = make("rgb_baseline", small_config(compute_dtype="bfloat16"))
    loop = CompiledStep(recipe, sharding.make_mesh(jax.devices()[:2]), state, batch_of())
    lowered = loop.step.lower(loop.begin(state), teacher, loop.batch.pack(batch_of()).rows, jnp.int32(0))
    with no_compilation_cache():  # a program that is found there is not dumped
        dump = {"xla_dump_to": str(tmp_path), "xla_dump_hlo_pass_re": "dce"}
        lowered.compile(compiler_options={**dump, "xla_backend_optimization_level": 0})
    program = min(tmp_path.glob("*.spmd-cleanup.after_dce.*.txt"))
    sums = re.findall(r"= (.*?) all-reduce(?:-start)?\(", program.read_text())
    summed = Counter(dtype for shapes in sums for dtype in re.findall(r"(\w+)\[", shapes))
    convolutions = sum(leaf.ndim == 4 for leaf in jax.tree.leaves(state.params))
    assert summed.keys() == {"f32"}
    assert summed["f32"] > convolutions > 0


def test_one_trace_a_step_function():
    recipe, state, teacher = make("pmd_net")
    mesh = sharding.make_mesh(jax.devices()[:1])
    state, teacher = jax.device_put((state, teacher), sharding.replicated(mesh))

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(state, teacher, batch, seed):
        return train_step(recipe, state, teacher, batch, seed)

    for seed in range(3):
        state, _ = step(state, teacher, sharding.global_array(mesh, batch_of(seed=seed)), jnp.int32(0))
    assert step._cache_size() == 1


def test_predictions_are_placed_with_the_true_root_and_scale():
    """`predict_step` undoes the normalisation: root plus scale times the network's pose, in metres."""
    recipe, state, _ = make("rgb_baseline")
    batch = batch_of()
    predicted = np.asarray(predict_step(recipe.network, recipe.method.modality, state.weights, batch))
    assert predicted.dtype == np.float32
    pose = np.asarray(recipe.network.evaluate(state.weights, to_inputs(batch).rgb).pose)
    root = batch.xyz[:, 9]
    scale = np.linalg.norm(batch.xyz[:, 0] - root, axis=-1)
    np.testing.assert_allclose(predicted, pose * scale[:, None, None] + root[:, None], rtol=1e-5, atol=1e-6)


def test_targets_and_predictions_in_the_axes_of_the_crops_ray():
    """One step learns from turned targets, and what is predicted is turned back."""
    config = with_fields(small_config(), {"model.target_frame": "ray"})
    recipe, state, _ = make("rgb_baseline", config)
    batch = batch_of()
    pose = np.asarray(recipe.network.evaluate(state.weights, to_inputs(batch).rgb).pose)
    expected = hand.denormalise(hand.normalise(batch.xyz)._replace(pose=from_ray(pose, batch.K, 64)))
    predicted = predict_step(recipe.network, recipe.method.modality, state.weights, batch)
    np.testing.assert_allclose(predicted, expected, rtol=1e-5, atol=1e-6)
    losses = []
    for each in (config, small_config()):
        recipe, state, _ = make("rgb_baseline", each)
        losses.append(float(train_step(recipe, state, None, batch, jnp.int32(0))[1]["task/pose"]))
    assert losses[0] != losses[1]


@pytest.mark.parametrize("name", ["depth_teacher", "pmd_net_refine_replace"])
def test_golden_metrics_of_one_step(name):
    _, metrics = one_step(name)
    ours = {key: float(value) for key, value in metrics.items()}
    golden = json.loads(GOLDEN.read_text())[name]
    assert ours.keys() == golden.keys()
    for key, value in ours.items():
        assert value == pytest.approx(golden[key], rel=1e-4), (
            f"{name}: {key} is {value}, was {golden[key]}. If the mathematics was meant to change, run "
            "`python tests/train/test_step.py` to rewrite the golden values, and say why in the commit."
        )


if __name__ == "__main__":
    rows = ("depth_teacher", "pmd_net_refine_replace")
    content = {name: {key: float(value) for key, value in one_step(name)[1].items()} for name in rows}
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(content, indent=2) + "\n")
