"""What a batch holds, and how its crops become a network's inputs and target."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, UInt8, UInt16

from pmd_jax.data import hand
from pmd_jax.data.ray_frame import to_ray

DEPTH_WINDOW_M = 0.2  # half the depth range around the root; in metres, as STB's hand scale is only 39 mm


class Batch(NamedTuple):
    """A batch of prepared samples (data/prepared.py): NumPy's arrays on the host, JAX's on the devices."""

    rgb: UInt8[Any, "b 64 64 3"]
    depth: UInt16[Any, "b 64 64"]  # 0.1 mm, 0 = missing
    xyz: Float[Any, "b 21 3"]  # metres, camera frame
    uv: Float[Any, "b 21 2"]  # pixels of the crop
    visible: Bool[Any, "b 21"]
    K: Float[Any, "b 3 3"]
    is_left: Bool[Any, " b"]
    depth_origin_m: Float[Any, " b"]  # where the depth input counts from: the root's depth unless config.data says else
    index: Int32[Any, " b"]  # in the split


def normalise_rgb(rgb: UInt8[Array, "b 64 64 3"]) -> Float[Array, "b 64 64 3"]:
    """0…255 to −1…1."""
    return rgb.astype(jnp.float32) / 127.5 - 1


def normalise_depth(depth: UInt16[Array, "b 64 64"], origin_m: Float[Array, " b"]) -> Float[Array, "b 64 64 1"]:
    """Metres behind the origin (the root) over 0.2 m, clipped to ±1; what is missing counts as far (docs/paper.md)."""
    metres = depth.astype(jnp.float32) * hand.DEPTH_UNIT_M
    relative = jnp.clip((metres - origin_m[:, None, None]) / DEPTH_WINDOW_M, -1, 1)
    return jnp.where(depth == 0, 1.0, relative)[..., None]


class Inputs(NamedTuple):
    """What the networks and losses take."""

    rgb: Float[Array, "b 64 64 3"]
    depth: Float[Array, "b 64 64 1"]
    target: Float[Array, "b 21 3"]  # root-relative, hand scales, in the network's frame; NaN where there is no label


def to_inputs(batch: Batch, frame: str = "camera") -> Inputs:
    """Normalises a batch (section 4.2, "Hand Pose Normalization"; root and scale are known).

    Args:
        frame: of the target, one of `config.schema.TARGET_FRAMES`.
    """
    depth = normalise_depth(batch.depth, batch.depth_origin_m)
    pose = hand.normalise(batch.xyz).pose
    if frame == "ray":
        pose = to_ray(pose, batch.K, batch.rgb.shape[1])
    return Inputs(normalise_rgb(batch.rgb), depth, pose)


def images_of(inputs: Inputs, modality: str) -> Float[Array, "b 64 64 c"]:
    """What a network of this modality ("depth" or "rgb") sees."""
    return inputs.depth if modality == "depth" else inputs.rgb
