"""Augmentation for pictures that are not of the data set: boxes that do not fit, and other light. Off by default.

The paper has neither. Both change the student's RGB crop alone, as block replacement does: the labels are relative to
the root and in hand scales, so they stay right when the crop moves, and the teacher's depth is left as it is.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

from pmd_jax.config import AugmentConfig

BORDER = 16  # pixels of reflection around the crop: what a box beside the hand would have shown is not known


def jitter_crops(
    rgb: UInt8[Any, "b 64 64 3"], keys: Key[Array, " b"], config: AugmentConfig
) -> UInt8[Array, "b 64 64 3"]:
    """Crops as a careless box and another lamp would have made them, each sample by its own draws."""
    if config.box_shift == 0 and config.box_scale == 1 and config.light == 0:
        return jnp.asarray(rgb)

    def one(image, key):
        shift_key, scale_key, gain_key, offset_key = jax.random.split(jax.random.fold_in(key, 2), 4)
        shift = jax.random.uniform(shift_key, (2,), minval=-config.box_shift, maxval=config.box_shift)
        scale = config.box_scale ** jax.random.uniform(scale_key, minval=-1.0, maxval=1.0)
        gain = jnp.exp(jax.random.uniform(gain_key, (3,), minval=-config.light, maxval=config.light))
        offset = 255 * jax.random.uniform(offset_key, minval=-config.light, maxval=config.light) / 2
        moved = move_box(image.astype(jnp.float32), shift, scale)
        return jnp.clip(jnp.round(moved * gain + offset), 0, 255).astype(jnp.uint8)

    return jax.vmap(one)(rgb, keys)


def move_box(image: Float[Array, "s s c"], shift: Float[Array, 2], scale: Float[Array, ""]) -> Float[Array, "s s c"]:
    """What a box that is moved by `shift` (down, right; shares of the side) and `scale` times as large would show."""
    side = image.shape[0]
    padded = jnp.pad(image, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode="reflect")
    zoom = jnp.full(2, 1 / scale)
    # The box's middle comes to the crop's middle; pixel i covers i to i + 1 here.
    translation = side / 2 - zoom * (BORDER + side / 2 + shift * side)
    return jax.image.scale_and_translate(padded, image.shape, (0, 1), zoom, translation, method="linear")
