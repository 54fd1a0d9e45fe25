"""Where the backbone rounds: norms and parameters stay float32, float32 convolutions ask for float32 products."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.extend.core import jaxprs_in_params

from pmd_jax.models import dtypes
from pmd_jax.models.pmd_net import PMDNet
from pmd_jax.models.resnet import batch_norm


def norm_of(dtype: jnp.dtype) -> nnx.BatchNorm:
    """A norm whose numbers have more digits than bfloat16."""
    norm = batch_norm(8, dtype, nnx.Rngs(0))
    generator = np.random.default_rng(1)
    for name, (low, high) in {"scale": (0.5, 1.5), "bias": (-1, 1), "mean": (-9, 9), "var": (0.1, 3)}.items():
        getattr(norm, name)[...] = jnp.asarray(generator.uniform(low, high, 8), jnp.float32)
    return norm


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_norm_computes_in_float32_and_rounds_once(mode):
    """In bfloat16 it says what float32 says of the same numbers, rounded, and has its statistics to the bit."""
    x = jnp.asarray(np.random.default_rng(0).normal(3, 2, (4, 5, 5, 8)), jnp.bfloat16)
    half, single = norm_of(jnp.bfloat16), norm_of(jnp.float32)
    getattr(half, mode)()
    getattr(single, mode)()
    said, expected = half(x), single(x.astype(jnp.float32))
    assert said.dtype == jnp.bfloat16
    np.testing.assert_array_equal(said, expected.astype(jnp.bfloat16))
    chex.assert_trees_all_equal(*(nnx.to_pure_dict(nnx.state(norm, nnx.BatchStat)) for norm in (half, single)))


def products(jaxpr) -> list[tuple[str, object]]:
    """Name and precision of all products of float32 matrices or pictures, those of inner programs too."""
    found = []
    for equation in jaxpr.eqns:
        is_product = equation.primitive in (lax.conv_general_dilated_p, lax.dot_general_p)
        if is_product and equation.invars[0].aval.dtype == jnp.float32:
            found.append((equation.primitive.name, equation.params["precision"]))
        for inner in jaxprs_in_params(equation.params):
            found += products(inner)
    return found


def gradient_of_network(dtype: jnp.dtype):
    """The program of a network's gradient."""
    model = PMDNet(3, width=4, blocks=(1, 1, 1, 1), reading="32/16/8/8", dtype=dtype, rngs=nnx.Rngs(0))
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params, images):
        return nnx.merge(graph, params, rest, copy=True)(images).pose.sum()

    return jax.make_jaxpr(jax.grad(loss))(params, jnp.zeros((2, 64, 64, 3))).jaxpr


def test_float32_means_float32_in_every_product():
    found = products(gradient_of_network(jnp.float32))
    assert {name for name, _ in found} == {"conv_general_dilated", "dot_general"}
    assert {precision for _, precision in found} == {(lax.Precision.HIGHEST,) * 2}


def test_bfloat16_products_are_left_to_the_device_and_heads_stay_float32():
    found = products(gradient_of_network(jnp.bfloat16))
    assert {name for name, _ in found} == {"dot_general"}
    assert {precision for _, precision in found} == {(lax.Precision.HIGHEST,) * 2}
    assert dtypes.precision_of(jnp.dtype(jnp.bfloat16)) is None


def test_a_precision_that_was_chosen_holds():
    with jax.default_matmul_precision("tensorfloat32"):
        found = products(gradient_of_network(jnp.float32))
    convolutions = {precision for name, precision in found if name == "conv_general_dilated"}
    assert convolutions == {(lax.Precision.HIGH,) * 2}
