"""The whole network: backbone, coordinate heads, refine branch (paper, sections 3.1 and 3.3)."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from pmd_jax.data.hand import NUM_JOINTS
from pmd_jax.models.resnet import ResNet, host_generator


class Prediction(NamedTuple):
    """What a network says of a batch of crops, in the layers that the losses compare. All at least float32."""

    feature: Float[Array, "b f"]  # the middle layer, 512 at full width
    hidden: Float[Array, "b heads 64"]  # the second last layer of each head: X, Y, Z, or one joint head
    first_pose: Float[Array, "b 21 3"]  # the heads' answer, root-relative, in hand scales
    pose: Float[Array, "b 21 3"]  # the network's answer: refined where there is a refine branch


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


class PMDNet(nnx.Module):
    """RGB or depth crops to 21 joints; teacher and student differ in the input's channels and the refine branch only.

    Args:
        channels: of the input: 3 for RGB, 1 for depth.
        width, blocks, reading: see `ResNet`.
        heads: "separate", three sub-networks for X, Y and Z, or "joint", one for all ("without 3 sub-networks").
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
        refine: bool = False,
        hidden_before_relu: bool = False,
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        features = 8 * width
        self.hidden_before_relu = hidden_before_relu
        self.backbone = ResNet(channels, width=width, blocks=blocks, reading=reading, dtype=dtype, rngs=rngs)
        outputs = [NUM_JOINTS] * 3 if heads == "separate" else [3 * NUM_JOINTS]
        self.heads = nnx.List([Head(features, n, rngs) for n in outputs])
        self.refine = Head(features, 3 * NUM_JOINTS, rngs) if refine else None

    def __call__(self, images: Float[Array, "b 64 64 c"]) -> Prediction:
        feature = self.backbone(images)
        hidden, outputs = zip(*(head(feature) for head in self.heads), strict=True)
        # Either way the coordinates lie axis by axis: X of all joints, then Y, then Z.
        first_pose = _to_joints(jnp.concatenate(outputs, axis=-1))
        pose = first_pose
        if self.refine is not None:
            pose = first_pose + _to_joints(self.refine(feature)[1])
        stacked = jnp.stack(hidden, axis=1)
        return Prediction(feature, stacked if self.hidden_before_relu else nnx.relu(stacked), first_pose, pose)


def _to_joints(coordinates: Float[Array, "b 63"]) -> Float[Array, "b 21 3"]:
    return coordinates.reshape(-1, 3, NUM_JOINTS).swapaxes(1, 2)
