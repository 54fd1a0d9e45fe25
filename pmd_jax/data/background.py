"""A hand before another sample's background, in RGB and depth alike; the depth map tells the hand from the rest.

The hand is what is measured in the depths that its joints span, and `MARGIN_M` more. So a forearm and what the hand
holds, at its depths, stay with it, and so does a table that it lies on: too much stays rather than too little. Without
joints it is what lies within `HAND_DEPTH_M` of where the depth input counts from. One pixel around it stays too: RGB
pixels are means over an area and mix there, and sensors miss a hand's edges.

All else is taken from the partner, but not where that one's hand is: there the sample keeps its own picture, as no
picture shows what is behind a hand. Depths of the background come along and keep their distance from the hand, each
counted from its own sample's origin; what was not measured stays so.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Int32, Key, Shaped, UInt16

from pmd_jax.config import AugmentConfig
from pmd_jax.data import hand
from pmd_jax.data.depth_origin import HAND_DEPTH_M
from pmd_jax.data.inputs import Batch

MARGIN_M = 0.03  # in front of the nearest and behind the farthest joint: skin, palm and noise
MIN_HAND_SHARE = 0.02  # of the crop's pixels: depth that shows less of a hand does not tell where it is


def hand_range_m(xyz_m: Float[Any, "21 3"], depth_origin_m: Float[Any, ""]) -> tuple[Float[Any, ""], Float[Any, ""]]:
    """The depths between which a hand lies: those of its joints, and around its origin where it has no labels."""
    xp = xyz_m.__array_namespace__()
    labelled, z = xp.isfinite(xyz_m).all(), xyz_m[:, 2]
    near = xp.where(labelled, z.min() - MARGIN_M, depth_origin_m - HAND_DEPTH_M)
    return near, xp.where(labelled, z.max() + MARGIN_M, depth_origin_m + HAND_DEPTH_M)


def hand_mask(depth: UInt16[Any, "h w"], xyz_m: Float[Any, "21 3"], depth_origin_m: Float[Any, ""]) -> Bool[Any, "h w"]:
    """Which pixels are the hand's, and one around them."""
    near, far = hand_range_m(xyz_m, depth_origin_m)
    metres = depth.astype(jnp.float32) * hand.DEPTH_UNIT_M
    padded = jnp.pad((depth > 0) & (near <= metres) & (metres <= far), 1)
    height, width = depth.shape
    neighbours = [padded[row : row + height, column : column + width] for row in range(3) for column in range(3)]
    return jnp.stack(neighbours).any(0)


def partners(keys: Key[Array, " b"], index: Int32[Any, " b"]) -> Int[Array, " b"]:
    """Whose background each sample of the global batch may get: the next one's in a random order of all.

    The order is that of a number drawn by each sample, so it depends on which samples a batch holds, not on their
    places nor on the devices that they lie on. No sample is its own partner unless it is alone.
    """
    draws = jax.vmap(lambda key: jax.random.bits(jax.random.fold_in(key, 4)))(keys)
    order = jnp.lexsort((_everywhere(jnp.asarray(index)), _everywhere(draws)))
    return jnp.zeros_like(order).at[order].set(jnp.roll(order, -1))


def _everywhere(column: Array) -> Array:
    """The whole column on each device. Under Auto axes the compiler sees to that; Explicit ones want to be told."""
    where = jax.typeof(column).sharding
    if AxisType.Explicit not in where.mesh.axis_types:
        return column
    return jax.sharding.reshard(column, where.update(spec=PartitionSpec()))


def _of(partner: Int[Array, " b"], column: Shaped[Array, "b ..."]) -> Shaped[Array, "b ..."]:
    """The partners' part of a column, spread over the devices as the column is."""
    return _everywhere(column).at[partner].get(out_sharding=jax.typeof(column).sharding)


def exchange_backgrounds(batch: Batch, keys: Key[Array, " b"], config: AugmentConfig) -> Batch:
    """Puts samples before their partners' backgrounds, each with the probability `config.background`.

    Only where both depth maps show a hand. Over several devices pictures go from one to another.
    """
    if config.background == 0:
        return batch
    rgb, depth, origin_m = jnp.asarray(batch.rgb), jnp.asarray(batch.depth), jnp.asarray(batch.depth_origin_m)
    wanted = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, 5), config.background))(keys)
    masks = jax.vmap(hand_mask)(depth, batch.xyz, origin_m)
    shows = masks.mean((1, 2)) >= MIN_HAND_SHARE
    theirs = functools.partial(_of, partners(keys, batch.index))
    exchanged = (wanted & shows & theirs(shows))[:, None, None] & ~masks & ~theirs(masks)
    farther = jnp.round((origin_m - theirs(origin_m)) / hand.DEPTH_UNIT_M)[:, None, None]
    behind = theirs(depth).astype(jnp.float32)
    moved = jnp.where(behind > 0, jnp.clip(behind + farther, 1, 65535), 0).astype(jnp.uint16)
    return batch._replace(
        rgb=jnp.where(exchanged[..., None], theirs(rgb), rgb), depth=jnp.where(exchanged, moved, depth)
    )
