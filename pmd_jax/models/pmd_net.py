"""The whole network: backbone, coordinate heads, refine branch (paper, sections 3.1 and 3.3)."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from pmd_jax.data.hand import NUM_JOINTS
from pmd_jax.models.dense import Head
from pmd_jax.models.resnet import ResNet, average
from pmd_jax.models.spatial import POOLS


class Prediction(NamedTuple):
    """What a network says of a batch of crops, in the layers that the losses compare. All at least float32."""

    feature: Float[Array, "b f"]  # the middle layer, 512 at full width
    hidden: Float[Array, "b heads 64"]  # the second last layer of each head: X, Y, Z, or one joint head
    first_pose: Float[Array, "b 21 3"]  # the heads' answer, root-relative, in hand scales
    pose: Float[Array, "b 21 3"]  # the network's answer: refined where there is a refine branch
    maps: Float[Array, "b n 21 h w"] | None = None  # of a spatial pool: where each joint was read (`spatial`)


class PMDNet(nnx.Module):
    """RGB or depth crops to 21 joints; teacher and student differ in the input's channels and the refine branch only.

    Args:
        channels: of the input: 3 for RGB, 1 for depth.
        width, blocks, reading: see `ResNet`.
        heads: "separate", three sub-networks for X, Y and Z, or "joint", one for all ("without 3 sub-networks").
        pool: what the heads read: the "average" of the last feature map, or a spatial pool, one of `spatial.POOLS`,
            which takes separate heads.
        refine: adds the refine branch (stage II only).
        hidden_before_relu: distil the second last layer before its ReLU instead of after it.
        dtype: of the backbone's computation.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 64,
        blocks: tuple[int, ...] = (3, 4, 6, 3),
        reading: str = "64/32/16/8",
        heads: str = "separate",
        pool: str = "average",
        refine: bool = False,
        hidden_before_relu: bool = False,
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        features = 8 * width
        self.hidden_before_relu = hidden_before_relu
        self.backbone = ResNet(channels, width=width, blocks=blocks, reading=reading, dtype=dtype, rngs=rngs)
        if pool == "average":
            outputs = [NUM_JOINTS] * 3 if heads == "separate" else [3 * NUM_JOINTS]
            self.heads = nnx.List([Head(features, n, rngs) for n in outputs])
            self.pool = None
        else:
            assert heads == "separate", "a spatial pool serves three heads"
            self.heads = nnx.List(POOLS[pool].heads(width, rngs))
            self.pool = POOLS[pool](width, rngs)
        self.refine = Head(features, 3 * NUM_JOINTS, rngs) if refine else None

    def __call__(self, images: Float[Array, "b 64 64 c"]) -> Prediction:
        x = self.backbone(images)
        feature, maps = average(x), None
        if self.pool is None:
            hidden, outputs = zip(*(head(feature) for head in self.heads), strict=True)
            # Either way the coordinates lie axis by axis: X of all joints, then Y, then Z.
            stacked, coordinates = jnp.stack(hidden, axis=1), jnp.concatenate(outputs, axis=-1)
        else:
            stacked, coordinates, maps = self.pool(x, feature, self.heads)
        first_pose = _to_joints(coordinates)
        pose = first_pose
        if self.refine is not None:
            pose = first_pose + _to_joints(self.refine(feature)[1])
        hidden = stacked if self.hidden_before_relu else nnx.relu(stacked)
        return Prediction(feature, hidden, first_pose, pose, maps)


def _to_joints(coordinates: Float[Array, "b 63"]) -> Float[Array, "b 21 3"]:
    return coordinates.reshape(-1, 3, NUM_JOINTS).swapaxes(1, 2)
