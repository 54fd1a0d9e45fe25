"""Convolutions in parts of rows: the folded network's answers, and which networks change."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pmd_jax.models.fold_batch_norm import fold
from pmd_jax.models.pmd_net import PMDNet
from pmd_jax.models.row_parts import InRowParts, in_row_parts


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "side", "stride"), [(3, 8, 1), (3, 16, 2), (3, 15, 2), (1, 16, 2), (7, 32, 2)])
def test_a_layer_says_what_the_convolution_says(kernel, side, stride, parts):
    padding, bias = ((kernel // 2, kernel // 2),) * 2, nnx.initializers.normal(1.0)
    conv = nnx.Conv(5, 6, (kernel, kernel), strides=stride, padding=padding, bias_init=bias, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, side, side, 5), np.float32))
    np.testing.assert_allclose(InRowParts(conv, parts)(x), conv(x), atol=1e-6 * float(jnp.abs(conv(x)).max()))


def network(width: int) -> PMDNet:
    model = PMDNet(3, width=width, blocks=(1, 1, 1, 1), rngs=nnx.Rngs(0))
    model.eval()
    return fold(model)


def test_a_network_of_full_width_gives_the_same_pose():
    x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)), jnp.float32)
    apply = nnx.jit(lambda model, x: model(x).pose)
    expected, changed = apply(network(64), x), in_row_parts(network(64), parts=2)
    convolutions = [module for _, module in nnx.iter_modules(changed) if isinstance(module, nnx.Conv | InRowParts)]
    assert convolutions
    assert all(isinstance(module, InRowParts) for module in convolutions)
    np.testing.assert_allclose(apply(changed, x), expected, atol=2e-6 * float(jnp.abs(expected).max()))


def test_narrow_networks_one_core_and_other_platforms_stay_as_they_are(monkeypatch):
    assert isinstance(in_row_parts(network(8), parts=2).backbone.stem, nnx.Conv)
    assert isinstance(in_row_parts(network(64), parts=1).backbone.stem, nnx.Conv)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert isinstance(in_row_parts(network(64), parts=2).backbone.stem, nnx.Conv)
