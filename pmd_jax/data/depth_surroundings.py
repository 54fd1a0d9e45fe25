"""What lies behind a hand in the depth map alone: walls, tables and bodies at every distance, or nothing at all.

Rendered depth has a few kinds of background, and a depth network that saw no others breaks where a surface lies close
behind the hand. Here all that is not the hand's becomes a plane, slanted and bumpy, `NEAREST_M` to `FARTHEST_M` behind
the hand's farthest joint (drawn uniformly in the logarithm), or one time in five not measured. The forearm is cut
behind the wrist one time in two. RGB stays as it is: a depth network does not see it, and a student
meets other backgrounds by `data.background`, which changes both.

Drawn for each sample with the probability `config.augment.depth_background`, on the device; samples without labels stay
as they are, for nothing tells their hand from what lies close behind it. Beyond the paper.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, UInt16

from pmd_jax.config import AugmentConfig
from pmd_jax.data import hand
from pmd_jax.data.background import hand_mask
from pmd_jax.data.inputs import Batch

NEAREST_M, FARTHEST_M = 0.02, 1.5
MISSING_SHARE, FOREARM_CUT_SHARE = 0.2, 0.5
STEEPEST = 1.5  # metres of depth for a metre across: a table seen at 34°
BUMPS_M, BUMP_CELLS = 0.06, 5  # the largest height of what stands on the plane, and its grain: cells a side


def change_surroundings(batch: Batch, keys: Key[Array, " b"], config: AugmentConfig) -> Batch:
    """Samples whose depth shows their hand before other surfaces, each by its own draws."""
    if config.depth_background == 0:
        return batch

    def one(sample: Batch, key: Key[Array, ""]) -> UInt16[Array, "h w"]:
        wanted_key, cut_key, kind_key, plane_key = jax.random.split(jax.random.fold_in(key, 7), 4)
        mask = hand_mask(sample.depth, sample.xyz, sample.depth_origin_m)
        kept = mask & ~_beyond_wrist(sample, cut_key)
        surface = jnp.where(
            jax.random.bernoulli(kind_key, MISSING_SHARE),
            jnp.uint16(0),
            plane_behind(sample.xyz, sample.K, sample.depth.shape[0], plane_key),
        )
        labelled = jnp.isfinite(sample.xyz).all()
        wanted = jax.random.bernoulli(wanted_key, config.depth_background) & labelled
        return jnp.where(wanted & ~(kept & (sample.depth > 0)), surface, sample.depth)

    return batch._replace(depth=jax.vmap(one)(batch._replace(depth=jnp.asarray(batch.depth)), keys))


def plane_behind(
    xyz_m: Float[Array, "21 3"], K: Float[Array, "3 3"], size: int, key: Key[Array, ""]
) -> UInt16[Array, "{size} {size}"]:
    """A slanted, bumpy surface whose nearest point below the hand is as far behind its farthest joint as is drawn."""
    distance_key, slope_key, bump_key, height_key = jax.random.split(key, 4)
    low, high = np.log(NEAREST_M), np.log(FARTHEST_M)
    distance = jnp.exp(jax.random.uniform(distance_key, minval=low, maxval=high))
    v, u = np.indices((size, size), np.float32)
    middle = xyz_m.mean(0)
    metres_a_pixel = middle[2] / jnp.maximum(jnp.abs(K[[0, 1], [0, 1]]), 1.0)
    slope = STEEPEST * jax.random.uniform(slope_key, (2,), minval=-1.0, maxval=1.0) ** 3  # mostly facing the camera
    across = jnp.stack([u, v], -1) - (size - 1) / 2
    slant = (across * metres_a_pixel * slope).sum(-1)
    bumps = jax.image.resize(jax.random.uniform(bump_key, (BUMP_CELLS, BUMP_CELLS)), (size, size), "linear")
    behind = slant + BUMPS_M * jax.random.uniform(height_key) ** 2 * bumps
    at_hand = behind[size // 4 : size - size // 4, size // 4 : size - size // 4].min()
    metres = xyz_m[:, 2].max() + distance + behind - at_hand
    # A slanted plane comes nearer than the hand at a border, where it would hide the hand: it is levelled.
    levelled = jnp.maximum(metres, xyz_m[:, 2].max() + NEAREST_M)
    return jnp.clip(jnp.round(levelled / hand.DEPTH_UNIT_M), 1, 65535).astype(jnp.uint16)


def _beyond_wrist(sample: Batch, key: Key[Array, ""]) -> Bool[Array, "h w"]:
    """Pixels of the forearm, from somewhere behind the wrist on; none where it stays whole."""
    cut_key, place_key = jax.random.split(key)
    size = sample.depth.shape[0]
    v, u = np.indices((size, size), np.float32)
    along = sample.uv[hand.WRIST] - sample.uv[hand.ROOT]
    length = jnp.maximum(jnp.sqrt((along**2).sum()), 1e-3)
    from_wrist = ((jnp.stack([u, v], -1) - sample.uv[hand.WRIST]) * along / length).sum(-1)
    place = length * jax.random.uniform(place_key, minval=0.15, maxval=0.8)
    return jax.random.bernoulli(cut_key, FOREARM_CUT_SHARE) & (from_wrist > place)
