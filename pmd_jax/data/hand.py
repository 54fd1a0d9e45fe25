"""The anatomy of a hand and the geometry of its crop: the only place that knows either.

Joints follow the order wrist (or palm centre, STB), then thumb, index, middle, ring and little finger, each from its
base to its tip. Frames: camera x right, y down, z forward, in metres; image u right, v down, in pixels whose centres
lie at integers. Arrays typed `Any` may be NumPy's or JAX's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from pmd_jax.config.datasets import WRIST_RULES

NUM_JOINTS = 21
FINGERS = ("thumb", "index", "middle", "ring", "little")
JOINT_NAMES = (
    "wrist",
    *(f"thumb_{part}" for part in ("cmc", "mcp", "ip", "tip")),
    *(f"{finger}_{part}" for finger in FINGERS[1:] for part in ("mcp", "pip", "dip", "tip")),
)
ROOT = 9  # the middle finger's MCP: origin of the normalised pose (paper, section 4.2)
WRIST = 0
SIDES = ("left", "right")
BONES = tuple((WRIST if j % 4 == 1 else j - 1, j) for j in range(1, NUM_JOINTS))  # (parent, child) pairs
SCALE_LIMIT_M = 1.0  # a hand whose scale is larger is not in metres; in centimetres it would be about 9
DEPTH_UNIT_M = 1e-4  # prepared depth maps count tenths of a millimetre; 0 means not measured


class NormalisedPose(NamedTuple):
    """A pose with its root at the origin and the wrist to middle MCP distance at one (paper, figure 5)."""

    pose: Float[Any, "*b 21 3"]  # hand scales
    root_m: Float[Any, "*b 3"]  # metres, camera frame
    scale_m: Float[Any, "*b"]  # metres


def normalise(xyz_m: Float[Any, "*b 21 3"]) -> NormalisedPose:
    """Camera-frame joints in metres to root-relative joints in hand scales."""
    root = xyz_m[..., ROOT, :]
    scale = ((xyz_m[..., WRIST, :] - root) ** 2).sum(-1) ** 0.5
    return NormalisedPose((xyz_m - root[..., None, :]) / scale[..., None, None], root, scale)


def denormalise(normalised: NormalisedPose) -> Float[Any, "*b 21 3"]:
    """The inverse of `normalise`: metres in the camera frame."""
    return normalised.pose * normalised.scale_m[..., None, None] + normalised.root_m[..., None, :]


def check_joints(xyz_m: Float[np.ndarray, "21 3"]) -> None:
    """Refuses labelled joints that no hand in front of a camera has.

    Raises:
        ValueError: one is not a number or behind the camera, or the hand has no scale or one that is not in metres.
    """
    if not np.isfinite(xyz_m).all():
        raise ValueError("the joints hold NaN or infinity")
    if (xyz_m[:, 2] <= 0).any():
        raise ValueError(f"a joint lies behind the camera (z = {xyz_m[:, 2].min():.3f} m)")
    scale_m = float(np.linalg.norm(xyz_m[WRIST] - xyz_m[ROOT]))
    if scale_m == 0:
        raise ValueError("joint 0 and the middle MCP lie at one place, so that the hand has no scale")
    if scale_m > SCALE_LIMIT_M:
        raise ValueError(
            f"joint 0 and the middle MCP are {scale_m:.1f} m apart (limit {SCALE_LIMIT_M:g} m): give joints in metres"
        )


def wrist_from_palm(xyz_m: Float[np.ndarray, "*b 21 3"], rule: str) -> Float[np.ndarray, "*b 21 3"]:
    """Joints with the palm centre (joint 0) moved to where a wrist would be: MCP + factor·(palm − MCP).

    The rules of `WRIST_RULES` are guesses that other papers' figures on STB rest on, some 20 mm apart: hand3d and Ge
    start from the ring finger, bihand from the middle finger (docs/datasets.md, "Where loaders disagree").
    """
    joint, factor = WRIST_RULES[rule]
    mcp, palm = xyz_m[..., joint, :], xyz_m[..., WRIST, :]
    wrist = mcp + factor * (palm - mcp)
    return np.concatenate([wrist[..., None, :], xyz_m[..., 1:, :]], axis=-2)


def project(xyz_m: Float[Any, "*b j 3"], K: Float[Any, "*b 3 3"]) -> Float[Any, "*b j 2"]:
    """Pinhole projection K·xyz/z in pixels."""
    homogeneous = (K[..., None, :, :] @ xyz_m[..., None])[..., 0]
    return homogeneous[..., :2] / homogeneous[..., 2:]


def flip_labels(
    xyz_m: Float[Any, "21 3"],
    uv_px: Float[Any, "21 2"],
    K: Float[Any, "3 3"],
    is_left: Bool[Any, ""],
    flip_u: Bool[Any, ""],
    flip_v: Bool[Any, ""],
    size: int,
):
    """Labels of a crop mirrored left–right (`flip_u`) and top–bottom (`flip_v`); K·xyz/z = uv stays true.

    A mirror sends u to W−1−u, so the principal point moves too; one mirror changes the side of the hand, two do not.
    """
    sign_u, sign_v = 1 - 2.0 * flip_u, 1 - 2.0 * flip_v
    offset_u, offset_v = flip_u * (size - 1.0), flip_v * (size - 1.0)
    xyz = xyz_m * _vector(xyz_m, sign_u, sign_v, 1.0)
    uv = uv_px * _vector(uv_px, sign_u, sign_v) + _vector(uv_px, offset_u, offset_v)
    # K' = M·K·D: M mirrors the pixels, D mirrors the camera frame. Written out, as a matrix product may run in bf16.
    signs = _vector(K, sign_u, sign_v, 1.0)
    K_flipped = (K * signs[:, None] + _vector(K, offset_u, offset_v, 0.0)[:, None] * K[2]) * signs
    return xyz, uv, K_flipped, is_left ^ (flip_u ^ flip_v)


def _vector(like: Any, *values: Any) -> Any:
    """Scalars, some of which may be traced, as one vector of `like`'s dtype.

    A sum, not a stack: under explicit sharding a stack wants all its parts spread alike, and a constant is not.
    """
    units = np.eye(len(values), dtype=like.dtype)
    return sum((value * unit for value, unit in zip(values, units, strict=True)), np.zeros((), like.dtype)).astype(
        like.dtype
    )
