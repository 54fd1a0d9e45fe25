"""Winograd's convolutions against XLA's: values and gradients, for every shape the rules pick."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, Mesh

from pmd_jax.models import winograd
from pmd_jax.runtime import sharding

BOUND = 5e-5  # of the largest value; measured: 10⁻⁵ at most


def operands(batch: int, side: int, channels: int, out: int, kernel: int = 3, stride: int = 1):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, side, side, channels), np.float32)
    w = 0.1 * rng.standard_normal((kernel, kernel, channels, out), np.float32)
    gradient = rng.standard_normal((batch, side // stride, side // stride, out), np.float32)
    return jnp.asarray(x), jnp.asarray(w), jnp.asarray(gradient)


def plain(x, w):
    """The same by XLA."""
    return lax.conv_general_dilated(x, w, (1, 1), winograd.SAME, dimension_numbers=winograd.DIMENSIONS)


def value_and_gradients(function, x, w, gradient):
    @jax.jit
    def run(x, w, gradient):
        y, pull_back = jax.vjp(function, x, w)
        return y, *pull_back(gradient)

    return run(x, w, gradient)


def assert_close(ours, theirs):
    for mine, its in zip(ours, theirs, strict=True):
        assert mine.shape == its.shape
        assert float(jnp.abs(mine - its).max()) < BOUND * float(jnp.abs(its).max())


@pytest.mark.parametrize(
    ("batch", "side", "channels", "out"),
    [(2, 64, 64, 64), (1, 32, 128, 128), (3, 16, 256, 256), (1, 32, 64, 96)],
)
def test_a_3x3_convolution_and_its_gradients_are_those_of_xla(batch, side, channels, out):
    x, w, gradient = operands(batch, side, channels, out)
    assert winograd.fits(x.shape, w.shape)
    assert_close(value_and_gradients(winograd.conv3x3, x, w, gradient), value_and_gradients(plain, x, w, gradient))


def test_a_strided_projection_and_its_gradients_are_those_of_xla():
    x, w, gradient = operands(2, 32, 64, 128, kernel=1, stride=2)

    def by(function):
        options = {"dimension_numbers": winograd.DIMENSIONS}
        return value_and_gradients(lambda x, w: function(x, w, (2, 2), ((0, 0), (0, 0)), **options), x, w, gradient)

    assert_close(by(winograd.conv_general_dilated), by(lax.conv_general_dilated))


@pytest.mark.parametrize(("side", "channels"), [(33, 64), (34, 64), (8, 128), (64, 32), (8, 512)])
def test_odd_sizes_small_and_wide_layers_go_to_xla(side, channels):
    x, w, _ = operands(2, side, channels, channels)
    assert not winograd.fits(x.shape, w.shape)
    y = winograd.conv_general_dilated(x, w, (1, 1), winograd.SAME, dimension_numbers=winograd.DIMENSIONS)
    np.testing.assert_array_equal(y, plain(x, w))


def test_other_precision_and_other_platforms_go_to_xla(monkeypatch):
    x, w, _ = operands(1, 32, 64, 64)

    def products(x, w) -> int:
        def run(x, w):
            return winograd.conv_general_dilated(x, w, (1, 1), winograd.SAME, dimension_numbers=winograd.DIMENSIONS)

        return str(jax.make_jaxpr(run)(x, w)).count("conv_general_dilated[")

    assert products(x, w) == 6
    assert products(x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)) == 1
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert products(x, w) == 1


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_the_gradient_of_a_rounded_kernel_is_summed_over_the_devices_in_float32(axis_type):
    """256 + 7 · 1 = 263 has nine binary digits, bfloat16 has eight: summed in bfloat16 it is 262 or 264."""
    mesh = Mesh(np.asarray(jax.devices()), (sharding.DATA,), axis_types=(axis_type,))
    x = jnp.array([256.0] + 7 * [1.0], jnp.bfloat16).reshape(8, 1, 1, 1)

    def total(kernel, x):
        options = {"dimension_numbers": winograd.DIMENSIONS}
        y = winograd.conv_general_dilated(x, kernel, (1, 1), ((0, 0), (0, 0)), **options)
        return y.astype(jnp.float32).sum()

    with jax.set_mesh(mesh):
        x = jax.device_put(x, sharding.split(mesh))
        kernel = jax.device_put(jnp.ones((1, 1, 1, 1)), sharding.replicated(mesh))
        value, gradient = jax.jit(jax.value_and_grad(total))(kernel, x)
    assert gradient.dtype == jnp.float32
    assert (float(value), float(gradient[0, 0, 0, 0])) == (263, 263)
