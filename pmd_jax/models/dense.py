"""Dense layers and the heads made of them (paper, section 3.1)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from pmd_jax.models.resnet import host_generator


def linear(features_in: int, features_out: int, rngs: nnx.Rngs) -> nnx.Linear:
    """A dense layer initialised as PyTorch does: kernel and bias uniform within ±1/√fan_in (docs/paper.md)."""
    bound = 1 / math.sqrt(features_in)

    def uniform(key, shape, dtype=jnp.float32):
        return jnp.asarray(host_generator(key).uniform(-bound, bound, shape).astype(dtype))

    # Float32 on every device: together the heads are a hundredth of the work, and hand scales need the digits.
    return nnx.Linear(
        features_in,
        features_out,
        kernel_init=uniform,
        bias_init=uniform,
        precision=jax.lax.Precision.HIGHEST,
        rngs=rngs,
    )


class Head(nnx.Module):
    """Three fully connected layers 256, 64, outputs; ReLU after the first two."""

    def __init__(self, features: int, outputs: int, rngs: nnx.Rngs):
        self.fc1 = linear(features, 256, rngs)
        self.fc2 = linear(256, 64, rngs)
        self.fc3 = linear(64, outputs, rngs)

    def __call__(self, feature: Float[Array, "b f"]) -> tuple[Float[Array, "b 64"], Float[Array, "b outputs"]]:
        """Returns the second last layer before its ReLU, and the output."""
        hidden = self.fc2(nnx.relu(self.fc1(feature)))
        return hidden, self.fc3(nnx.relu(hidden))
