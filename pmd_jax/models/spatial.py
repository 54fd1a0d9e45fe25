"""Spatial pools: what the heads read of the last feature map in place of its average (beyond the paper).

A joint's map is a softmax over the places of the feature map of a 1×1 convolution of it. Weighted by it, a joint reads
a few values, which are another 1×1 convolution, and its mean position. Coordinates depend on where a thing is seen, and
the average forgets that. All is float32 like the heads, and 1×1 convolutions are dense layers over the places.

All pools leave the average in place: it is the feature f₋₁ of Eq. 3 and what the refine branch sees.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from pmd_jax.data.hand import NUM_JOINTS, ROOT
from pmd_jax.models.dense import Head, linear
from pmd_jax.models.map_positions import map_positions, value_count

AXES = 3


class HeadsAnswer(NamedTuple):
    """What the heads make of a feature map."""

    hidden: Float[Array, "b 3 64"]  # before its ReLU
    pose: Float[Array, "b 63"]  # X of all joints, then Y, then Z
    maps: Float[Array, "b n 21 h w"]  # each sums to one; n = 3 for maps of each axis, 1 for maps that all share


class Attention(nnx.Module):
    """Each axis has a map of its own for each joint, and its head reads what all 21 joints have read by them.

    Args:
        width: of the backbone.
    """

    def __init__(self, width: int, rngs: nnx.Rngs):
        features, values = 8 * width, value_count(width)
        self.maps = linear(features, AXES * NUM_JOINTS, rngs)
        self.values = linear(features, AXES * values, rngs)

    @staticmethod
    def heads(width: int, rngs: nnx.Rngs) -> list[Head]:
        """X, Y and Z: the paper's layers, on another input."""
        return [Head(NUM_JOINTS * (value_count(width) + 2), NUM_JOINTS, rngs) for _ in range(AXES)]

    def __call__(self, x: Float[Array, "b h w f"], feature: Float[Array, "b f"], heads: nnx.List[Head]) -> HeadsAnswer:
        maps, read, _ = _read(x, self.maps, self.values, AXES)
        hidden, pose = zip(*(head(read[:, axis]) for axis, head in enumerate(heads)), strict=True)
        return HeadsAnswer(jnp.stack(hidden, axis=1), jnp.concatenate(pose, axis=-1), maps)


class Heatmap(nnx.Module):
    """2.5D: a joint has one map. Its mean position gives X and Y; Z is read from what the joints have read by it.

    The heads of X and Y see the averaged feature. Each says a scale, crop half-widths in hand scales, by which the
    positions relative to the root's are multiplied, and what is to be added for each joint: perspective, and the rest.

    Args:
        width: of the backbone.
    """

    def __init__(self, width: int, rngs: nnx.Rngs):
        features = 8 * width
        self.maps = linear(features, NUM_JOINTS, rngs)
        self.values = linear(features, value_count(width), rngs)

    @staticmethod
    def heads(width: int, rngs: nnx.Rngs) -> list[Head]:
        """X and Y with one more output, the scale; Z."""
        read = NUM_JOINTS * (value_count(width) + 2)
        return [*(Head(8 * width, NUM_JOINTS + 1, rngs) for _ in range(2)), Head(read, NUM_JOINTS, rngs)]

    def __call__(self, x: Float[Array, "b h w f"], feature: Float[Array, "b f"], heads: nnx.List[Head]) -> HeadsAnswer:
        maps, read, position = _read(x, self.maps, self.values, 1)
        return _from_positions(maps, position[:, 0], [feature, feature, read[:, 0]], heads)


class SharedMaps(Heatmap):
    """As `Heatmap`, but the heads of X and Y also see what all joints have read, as those of `Attention` do.

    One map serves the three axes of a joint: a third of `Attention`'s maps and values. That the joint is at its mean
    position is built in, and what is to be added is read where the joints are.
    """

    @staticmethod
    def heads(width: int, rngs: nnx.Rngs) -> list[Head]:
        """X and Y with one more output, the scale; Z."""
        read = NUM_JOINTS * (value_count(width) + 2)
        return [Head(read, outputs, rngs) for outputs in (NUM_JOINTS + 1, NUM_JOINTS + 1, NUM_JOINTS)]

    def __call__(self, x: Float[Array, "b h w f"], feature: Float[Array, "b f"], heads: nnx.List[Head]) -> HeadsAnswer:
        maps, read, position = _read(x, self.maps, self.values, 1)
        return _from_positions(maps, position[:, 0], [read[:, 0]] * AXES, heads)


POOLS = {"attention": Attention, "heatmap": Heatmap, "shared_maps": SharedMaps}


def _from_positions(
    maps: Float[Array, "b 1 21 h w"],
    position: Float[Array, "b 21 2"],
    inputs: list[Float[Array, "b _"]],
    heads: nnx.List[Head],
) -> HeadsAnswer:
    """2.5D: X and Y by the joints' positions from the root's, times a scale, and what is added; Z by its head."""
    from_root = position - position[:, ROOT : ROOT + 1]
    hidden, pose = [], []
    for axis in range(2):
        of_head, said = heads[axis](inputs[axis])
        hidden.append(of_head)
        pose.append(said[:, :NUM_JOINTS] + jax.nn.softplus(said[:, NUM_JOINTS:]) * from_root[..., axis])
    of_head, depth = heads[2](inputs[2])
    return HeadsAnswer(jnp.stack([*hidden, of_head], axis=1), jnp.concatenate([*pose, depth], axis=-1), maps)


def _read(
    x: Float[Array, "b h w f"], maps: nnx.Linear, values: nnx.Linear, count: int
) -> tuple[Float[Array, "b n 21 h w"], Float[Array, "b n joints_values"], Float[Array, "b n 21 2"]]:
    """`count` maps for each joint, what the joints have read by them (position last, joint by joint), the positions."""
    _, height, width, features = x.shape
    places = height * width
    flat = x.reshape(-1, places, features).astype(jnp.promote_types(x.dtype, jnp.float32))
    weights = jax.nn.softmax(maps(flat), axis=1).reshape(-1, places, count, NUM_JOINTS)
    seen = values(flat).reshape(-1, places, count, values.out_features // count)
    exact = jax.lax.Precision.HIGHEST
    said = jnp.einsum("bpnj,bpnd->bnjd", weights, seen, precision=exact)
    position = jnp.einsum("bpnj,pd->bnjd", weights, map_positions(height, width), precision=exact)
    read = jnp.concatenate([said, position], axis=-1)
    shaped = weights.transpose(0, 2, 3, 1).reshape(-1, count, NUM_JOINTS, height, width)
    return shaped, read.reshape(-1, count, NUM_JOINTS * read.shape[-1]), position
