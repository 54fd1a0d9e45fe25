"""A folded network's convolutions in parts of rows, for quick answers on CPUs.

XLA's CPU backend computes most of one crop's convolutions on one core, however many threads it may use, but those that
do not depend on each other side by side (docs/cpu_speed.md). So each is written as several, one a core.
"""

from __future__ import annotations

import itertools
import os

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from pmd_jax.models.pmd_net import PMDNet
from pmd_jax.models.winograd import DIMENSIONS

FEWEST_CHANNELS = 64  # of the first stage: in narrower networks the parts are not worth their copies
FEWEST_ROWS = 4  # of a part's output


class InRowParts(nnx.Module):
    """A convolution, padded by half its kernel, whose output's rows are computed in `parts`. The same numbers."""

    def __init__(self, conv: nnx.Conv, parts: int):
        assert conv.bias is not None, "fold the network first"
        self.kernel, self.bias, self.parts = nnx.Param(conv.kernel[...]), nnx.Param(conv.bias[...]), parts
        self.stride = conv.strides if isinstance(conv.strides, int) else next(iter(conv.strides or (1, 1)))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        kernel = jnp.asarray(self.kernel[...])
        size, stride = len(kernel), self.stride
        pad = size // 2
        rows = (x.shape[1] - 1) // stride + 1
        parts = max(1, min(self.parts, rows // FEWEST_ROWS))
        ends = [rows * part // parts for part in range(parts + 1)]
        x = jnp.pad(x, ((0, 0), (pad, pad), (0, 0), (0, 0)))
        computed = [
            lax.conv_general_dilated(
                x[:, stride * first : stride * (last - 1) + size],
                kernel,
                (stride, stride),
                ((0, 0), (pad, pad)),
                dimension_numbers=DIMENSIONS,
            )
            for first, last in itertools.pairwise(ends)
        ]
        return jnp.concatenate(computed, axis=1) + self.bias[...]


def in_row_parts(model: PMDNet, parts: int | None = None) -> PMDNet:
    """A folded network with its convolutions in row parts; as it is where that does not pay.

    It pays in float32 where JAX's backend is a CPU with several cores, and for networks as wide as the paper's.

    Args:
        model: from `fold`; changed in place, and returned.
        parts: None: as many as there are cores.
    """
    parts = len(os.sched_getaffinity(0)) if parts is None else parts
    backbone = model.backbone
    wide = backbone.stem.out_features >= FEWEST_CHANNELS
    if jax.default_backend() != "cpu" or backbone.stem.dtype != jnp.float32 or not wide or parts == 1:
        return model
    places: list[tuple[nnx.Module, str]] = [(backbone, "stem")]
    for block in backbone.blocks:
        places += [(block, "conv1"), (block, "conv2")]
        places += [(block.projection, "conv")] if block.projection is not None else []
    for owner, name in places:
        setattr(owner, name, InRowParts(getattr(owner, name), parts))
    return model
