"""Convolutions as matrix products: the folded network's answers, and which layers change."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pmd_jax.models.fold import fold
from pmd_jax.models.pmd_net import PMDNet
from pmd_jax.models.products import AlongRows, Gathered, as_products


def layer(channels: int, out: int, stride: int) -> nnx.Conv:
    bias = nnx.initializers.normal(1.0)
    return nnx.Conv(channels, out, (3, 3), strides=stride, padding=((1, 1), (1, 1)), bias_init=bias, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("kind", "side", "stride"), [(AlongRows, 8, 1), (Gathered, 8, 1), (Gathered, 8, 2), (Gathered, 7, 1)]
)
def test_a_layer_says_what_the_convolution_says(kind, side, stride):
    conv, x = layer(5, 6, stride), jnp.asarray(np.random.default_rng(0).standard_normal((2, side, side, 5), np.float32))
    np.testing.assert_allclose(kind(conv)(x), conv(x), atol=2e-5 * float(jnp.abs(conv(x)).max()))


def test_rows_must_be_whole_tiles():
    with pytest.raises(ValueError, match="whole tiles"):
        AlongRows(layer(2, 2, 1))(jnp.zeros((1, 6, 6, 2)))


def network(width: int) -> PMDNet:
    model = PMDNet(3, width=width, blocks=(1, 1, 1, 1), rngs=nnx.Rngs(0))
    model.eval()
    return fold(model)


def test_a_network_of_full_width_gives_the_same_pose():
    x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)), jnp.float32)
    apply = nnx.jit(lambda model, x: model(x).pose)
    expected = apply(network(64), x)
    changed = as_products(network(64))
    kinds = [(type(block.conv1).__name__, type(block.conv2).__name__) for block in changed.backbone.blocks]
    assert kinds == [("AlongRows", "AlongRows"), *[("Gathered", "AlongRows")] * 2, ("Gathered", "Gathered")]
    np.testing.assert_allclose(apply(changed, x), expected, atol=2e-5 * float(jnp.abs(expected).max()))


def test_narrow_networks_and_other_platforms_stay_as_they_are(monkeypatch):
    assert isinstance(as_products(network(8)).backbone.blocks[0].conv1, nnx.Conv)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert isinstance(as_products(network(64)).backbone.blocks[0].conv1, nnx.Conv)
