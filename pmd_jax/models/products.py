"""A folded network's convolutions as matrix products, for quick answers on CPUs.

For one crop XLA's matrix products are faster than its convolutions (docs/cpu_speed.md). A kernel does not change
between calls, so what Winograd's filtering does to it is done once, here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from pmd_jax.models import conv as winograd
from pmd_jax.models.pmd_net import PMDNet

FEWEST_CHANNELS, MOST_CHANNELS = 64, 256  # for Winograd's filtering


class AlongRows(nnx.Module):
    """A 3×3 convolution of stride 1 by F(4, 3) along rows: 6 products over (row of the kernel, channel)."""

    def __init__(self, conv: nnx.Conv):
        kernel = winograd.transformed(conv.kernel[...])
        _, places, channels, out = kernel.shape
        self.kernel = nnx.Param(kernel.swapaxes(0, 1).reshape(places, 3 * channels, out))
        self.bias = nnx.Param(_bias(conv))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        height, width = x.shape[1:3]
        if width % winograd.TILE:
            raise ValueError(f"The rows have {width} pixels; they must be whole tiles of {winograd.TILE}.")

        kernel = jnp.asarray(self.kernel[...])

        def product(part: jax.Array, place: int) -> jax.Array:
            rows = jnp.pad(part, ((0, 0), (1, 1), (0, 0), (0, 0)))
            return jnp.concatenate([rows[:, k : k + height] for k in range(3)], axis=-1) @ kernel[place]

        return winograd.along_rows_by(x, product) + self.bias[...]


class Gathered(nnx.Module):
    """A 3×3 convolution as one product over (kernel position, channel)."""

    def __init__(self, conv: nnx.Conv):
        self.stride = conv.strides if isinstance(conv.strides, int) else next(iter(conv.strides or (1, 1)))
        self.kernel = nnx.Param(conv.kernel[...].reshape(-1, conv.out_features))
        self.bias = nnx.Param(_bias(conv))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        _, height, width, _ = x.shape
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        step = self.stride
        taps = [x[:, i : i + height : step, j : j + width : step] for i in range(3) for j in range(3)]
        return jax.lax.optimization_barrier(jnp.concatenate(taps, axis=-1)) @ self.kernel[...] + self.bias[...]


def _bias(conv: nnx.Conv) -> jax.Array:
    assert conv.bias is not None, "fold the network first"
    return conv.bias[...]


def as_products(model: PMDNet) -> PMDNet:
    """A folded network with those convolutions replaced that are faster as products for one crop.

    Networks narrower than the paper's stay as they are, and all where JAX's backend is no CPU.

    Args:
        model: from `fold`; changed in place, and returned.
    """
    stem = model.backbone.stem
    if jax.default_backend() != "cpu" or stem.dtype != jnp.float32 or stem.out_features < FEWEST_CHANNELS:
        return model
    for block in model.backbone.blocks:
        for name in ("conv1", "conv2"):
            setattr(block, name, _replaced(getattr(block, name)))
    return model


def _replaced(conv: nnx.Conv) -> AlongRows | Gathered:
    """The measured rule (docs/cpu_speed.md): with many channels the kernel's own bytes count most."""
    strided = conv.strides not in (1, (1, 1))
    return Gathered(conv) if strided or conv.out_features > MOST_CHANNELS else AlongRows(conv)
