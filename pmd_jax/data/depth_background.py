"""Walls, tables and bodies behind a hand, from 2 cm to far, and forearms that end: in depth alone.

What lies no farther than the hand stays: the hand, its forearm, what is held or hides it. All else becomes a drawn
surface, a plane at any angle with or without a bump on it, that is nowhere nearer to the hand than a drawn distance; or
nothing, as where a camera measures nothing or the hand was cut out. A forearm is whole or ends somewhere behind the
wrist, as boxes and segmentations cut it.

RGB is left alone, so pictures and depth do not show the same background any more. Nothing asks them to: a depth teacher
sees no RGB, a student no depth, and what both show and are taught, the hand, is untouched. Other RGB backgrounds are
`background`'s, in both pictures. A student whose teacher should see its best leaves this off.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, UInt16

from pmd_jax.config import AugmentConfig
from pmd_jax.data import hand
from pmd_jax.data.background import MIN_HAND_SHARE, hand_range_m
from pmd_jax.data.depth_sensor import UNKNOWN_FOCAL
from pmd_jax.data.inputs import Batch

NEAREST_M, FARTHEST_M = 0.02, 0.4  # between hand and surface; drawn evenly in the logarithm; the input ends at 0.2
EMPTY_SHARE, BUMP_SHARE, CUT_SHARE = 0.15, 0.5, 0.5
STEEPEST_DEG = 75.0
CUT_M = 0.1  # behind the wrist, at most, a forearm ends
MCPS = np.arange(5, hand.NUM_JOINTS, 4)


class Surface(NamedTuple):
    """What is drawn for one sample."""

    gap_m: Float[Any, ""]
    slope: Float[Any, " 2"]  # metres deeper a metre to the right, and down
    bump_m: Float[Any, ""]  # towards the camera; 0 for none
    bump_at: Float[Any, " 2"]  # its middle, as a share of the crop's side: right, down
    bump_radius: Float[Any, ""]  # likewise
    empty: Bool[Any, ""]
    cut_m: Float[Any, ""]  # behind the wrist; infinite: whole


def draw_surface(key: Key[Array, ""]) -> Surface:
    """A sample's own draw."""
    u = jax.random.uniform(key, (11,))
    steepness, heading = jnp.tan(jnp.deg2rad(STEEPEST_DEG) * u[1] ** 2), 2 * jnp.pi * u[2]
    return Surface(
        gap_m=NEAREST_M * (FARTHEST_M / NEAREST_M) ** u[0],
        slope=steepness * jnp.stack([jnp.cos(heading), jnp.sin(heading)]),
        bump_m=jnp.where(u[3] < BUMP_SHARE, 0.02 + 0.28 * u[4] ** 2, 0.0),
        bump_at=1.4 * u[5:7] - 0.2,
        bump_radius=0.1 + 0.4 * u[7],
        empty=u[8] < EMPTY_SHARE,
        cut_m=jnp.where(u[9] < CUT_SHARE, CUT_M * u[10], np.inf),
    )


def put_behind(batch: Batch, keys: Key[Array, " b"], config: AugmentConfig) -> Batch:
    """Puts a drawn surface behind hands, each with the probability `config.depth_background`."""
    if config.depth_background == 0:
        return batch

    def one(depth, xyz_m, K, origin_m, key):
        wish_key, surface_key = jax.random.split(jax.random.fold_in(key, 7))
        kept = kept_pixels(depth, xyz_m, K, origin_m, jnp.float32(np.inf))
        surface = draw_surface(surface_key)
        changed = with_surface(depth, xyz_m, K, origin_m, surface)
        wanted = jax.random.bernoulli(wish_key, config.depth_background) & (kept.mean() >= MIN_HAND_SHARE)
        return jnp.where(wanted, changed, depth)

    depth, xyz, K, origin_m = map(jnp.asarray, (batch.depth, batch.xyz, batch.K, batch.depth_origin_m))
    return batch._replace(depth=jax.vmap(one)(depth, xyz, K, origin_m, keys))


def kept_pixels(
    depth: UInt16[Any, "s s"], xyz_m: Float[Any, "21 3"], K: Float[Any, "3 3"], origin_m: Any, cut_m: Any
) -> Bool[Any, "s s"]:
    """What is measured no farther than the hand, and not beyond the end of the forearm where joints and K tell it."""
    xp, size = depth.__array_namespace__(), depth.shape[0]
    labelled = xp.isfinite(xyz_m).all() & (K[0, 0] > 0) & (K[1, 1] > 0)
    joints = xp.where(labelled, xyz_m, xp.zeros_like(xyz_m))
    _, far = hand_range_m(xyz_m, origin_m)
    z = depth.astype(np.float32) * np.float32(hand.DEPTH_UNIT_M)
    v, u = np.indices((size, size), np.float32)
    focal = xp.where(labelled, xp.stack([K[0, 0], K[1, 1]]), 1.0)
    points = xp.stack([(u - K[0, 2]) * z / focal[0], (v - K[1, 2]) * z / focal[1], z], -1)
    wrist = joints[hand.WRIST]
    along = wrist - joints[MCPS].mean(0)  # to the elbow
    length = xp.sqrt((along**2).sum())
    behind = ((points - wrist) * along).sum(-1) / xp.maximum(length, 1e-6)
    return (depth > 0) & (z <= far) & ~(labelled & (behind > cut_m))


def with_surface(
    depth: UInt16[Any, "s s"], xyz_m: Float[Any, "21 3"], K: Float[Any, "3 3"], origin_m: Any, surface: Surface
) -> UInt16[Any, "s s"]:
    """The map with all but the hand and what is before it replaced by the surface."""
    xp, size = depth.__array_namespace__(), depth.shape[0]
    kept = kept_pixels(depth, xyz_m, K, origin_m, surface.cut_m)
    z = depth.astype(np.float32) * np.float32(hand.DEPTH_UNIT_M)
    v, u = np.indices((size, size), np.float32)
    metres_a_px = origin_m / xp.where(K[0, 0] > 0, K[0, 0], UNKNOWN_FOCAL * size)
    form = metres_a_px * ((u - size / 2) * surface.slope[0] + (v - size / 2) * surface.slope[1])
    away = ((u / size - surface.bump_at[0]) ** 2 + (v / size - surface.bump_at[1]) ** 2) / surface.bump_radius**2
    form = form - surface.bump_m * xp.sqrt(xp.maximum(1 - away, 0))
    behind = form + xp.where(kept, z - form, -np.inf).max() + surface.gap_m
    counts = xp.clip(xp.round(behind / np.float32(hand.DEPTH_UNIT_M)), 1000, 65535)  # a camera measures from 10 cm on
    counts = xp.where(surface.empty | ~kept.any(), 0, counts)
    return xp.where(kept, depth, counts).astype(np.uint16)
