"""Rendered depth as a sensor would have measured it: missing pixels, shadows, steps, flying pixels and noise.

What real depth cameras do to a hand, by their makers' and users' published measurements (docs/your_camera.md):

1. flying pixels: at an edge a pixel sees both surfaces, and something between them is measured;
2. noise that grows with the square of the distance (stereo and structured light);
3. steps of the disparity, in depth also growing with the square of the distance;
4. the stereo shadow: beside an edge the second camera does not see what lies behind, on one side;
5. holes where a surface is seen at a grazing angle;
6. holes in patches: dark or shiny skin, hair, sunlight.

Drawn for each sample, on the device, with the probability `config.augment.depth_sensor`; how strong each effect is, is
drawn too, from none to a bad sensor. Beyond the paper.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt16

from pmd_jax.config import AugmentConfig
from pmd_jax.data import hand
from pmd_jax.data.inputs import Batch

EDGE_M = 0.015  # neighbours farther apart than this lie on two surfaces
FLYING_SHARE = 0.6  # of the pixels at an edge, at most
NOISE_M, STEP_M = 0.004, 0.004  # at a metre, at most: standard deviation, and step of the depth
SHADOW_PX = 8  # the widest shadow that is drawn
BASELINE_M = 0.08  # between the two cameras, at most
GRAZING = (1.5, 6.0)  # tangent of the angle to the surface from which nothing is measured: 56° to 81°
PATCHES, PATCH_SHARE = 9, 0.12  # cells a side of the patches' grain; the largest share that is missing


def measure(batch: Batch, keys: Key[Array, " b"], config: AugmentConfig) -> Batch:
    """Samples with the depth that a sensor would have measured, each by its own draws."""
    if config.depth_sensor == 0:
        return batch

    def one(depth: UInt16[Array, "h w"], K: Float[Array, "3 3"], key: Key[Array, ""]) -> UInt16[Array, "h w"]:
        wanted_key, key = jax.random.split(jax.random.fold_in(key, 8))
        measured = sensed(depth.astype(jnp.float32) * hand.DEPTH_UNIT_M, jnp.abs(K[0, 0]), key)
        stored = jnp.round(measured / hand.DEPTH_UNIT_M).astype(jnp.uint16)
        return jnp.where(jax.random.bernoulli(wanted_key, config.depth_sensor), stored, depth)

    return batch._replace(depth=jax.vmap(one)(jnp.asarray(batch.depth), jnp.asarray(batch.K), keys))


def sensed(depth_m: Float[Array, "h w"], focal_px: Float[Array, ""], key: Key[Array, ""]) -> Float[Array, "h w"]:
    """One map, metres, zero where nothing is measured: all effects in the order in which they come about."""
    flying_key, noise_key, step_key, shadow_key, grazing_key, patch_key = jax.random.split(key, 6)
    measured = depth_m > 0
    seen = flying_pixels(depth_m, flying_key)
    seen = seen + _strength(noise_key, NOISE_M) * seen**2 * jax.random.normal(noise_key, depth_m.shape)
    seen = disparity_steps(seen, _strength(step_key, STEP_M))
    lost = stereo_shadow(depth_m, focal_px, shadow_key)
    lost |= surface_slope(depth_m, focal_px) > jax.random.uniform(grazing_key, minval=GRAZING[0], maxval=GRAZING[1])
    lost |= _patches(depth_m.shape[0], patch_key)
    return jnp.where(measured & ~lost, jnp.clip(seen, 0, 6.5), 0)


def _strength(key: Key[Array, ""], largest: float) -> Float[Array, ""]:
    """From none to the largest, small ones more often."""
    return largest * jax.random.uniform(jax.random.fold_in(key, 0)) ** 2


def flying_pixels(depth_m: Float[Array, "h w"], key: Key[Array, ""]) -> Float[Array, "h w"]:
    """At some pixels of an edge, a mean of the pixel's surface and a neighbour's."""
    share_key, side_key, happen_key, mix_key = jax.random.split(key, 4)
    axis_is_v, forward = jax.random.bernoulli(side_key, shape=(2,))
    along = jnp.where(axis_is_v, _neighbour(depth_m, 1, 0), _neighbour(depth_m, 0, 1))
    against = jnp.where(axis_is_v, _neighbour(depth_m, -1, 0), _neighbour(depth_m, 0, -1))
    other = jnp.where(forward, along, against)
    at_edge = (jnp.abs(other - depth_m) > EDGE_M) & (other > 0) & (depth_m > 0)
    share = FLYING_SHARE * jax.random.uniform(share_key)
    happens = jax.random.bernoulli(happen_key, share, depth_m.shape)
    mix = jax.random.uniform(mix_key, depth_m.shape)
    return jnp.where(at_edge & happens, depth_m + mix * (other - depth_m), depth_m)


def disparity_steps(depth_m: Float[Array, "h w"], step_m: Float[Array, ""]) -> Float[Array, "h w"]:
    """Depth from a whole number of disparity steps, which are `step_m` wide at a metre."""
    step = jnp.maximum(step_m, 1e-6)
    inverse = 1 / jnp.maximum(depth_m, 1e-3)
    return jnp.where(step_m > 1e-5, 1 / (jnp.maximum(jnp.round(inverse / step), 1) * step), depth_m)


def stereo_shadow(depth_m: Float[Array, "h w"], focal_px: Float[Array, ""], key: Key[Array, ""]) -> Array:
    """Pixels that the second camera does not see: what is nearer beside them hides them from it.

    A nearer pixel k columns aside hides one where the disparities differ by k or more. Which side is drawn.
    """
    strength_key, side_key = jax.random.split(key)
    scale = focal_px * BASELINE_M * jax.random.uniform(strength_key)
    to_left = jax.random.bernoulli(side_key)
    inverse = jnp.where(depth_m > 0, 1 / jnp.maximum(depth_m, 1e-3), 0)
    hidden = jnp.zeros(depth_m.shape, bool)
    for k in range(1, SHADOW_PX + 1):
        beside = jnp.where(to_left, _neighbour(inverse, 0, -k), _neighbour(inverse, 0, k))
        hidden |= scale * (beside - inverse) >= k
    return hidden


def surface_slope(depth_m: Float[Array, "h w"], focal_px: Float[Array, ""]) -> Float[Array, "h w"]:
    """Tangent of the angle between the view and the surface's normal; at an edge, where there is no surface, zero."""
    metres_a_pixel = depth_m / jnp.maximum(focal_px, 1.0)

    def slope(d_row: int, d_column: int):
        before, after = _neighbour(depth_m, -d_row, -d_column), _neighbour(depth_m, d_row, d_column)
        one_surface = (before > 0) & (after > 0) & (jnp.abs(after - before) < 2 * EDGE_M)
        return jnp.where(one_surface, (after - before) / jnp.maximum(2 * metres_a_pixel, 1e-6), 0)

    return jnp.sqrt(slope(1, 0) ** 2 + slope(0, 1) ** 2)


def _patches(size: int, key: Key[Array, ""]) -> Array:
    """Some patches, in one map in two."""
    share_key, field_key = jax.random.split(key)
    field = jax.image.resize(jax.random.uniform(field_key, (PATCHES, PATCHES)), (size, size), "cubic")
    share = PATCH_SHARE * jnp.maximum(jax.random.uniform(share_key, minval=-1.0, maxval=1.0), 0)
    return field < share


def _neighbour(image: Float[Array, "h w"], d_row: int, d_column: int) -> Float[Array, "h w"]:
    """What lies so many rows and columns on; beyond the border the border's own."""
    padded = jnp.pad(image, ((abs(d_row),) * 2, (abs(d_column),) * 2), mode="edge")
    top, left = abs(d_row) + d_row, abs(d_column) + d_column
    return padded[top : top + image.shape[0], left : left + image.shape[1]]
