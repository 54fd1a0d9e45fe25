"""Other cameras and lamps: the student's RGB in other colours, blurred and with noise. Off by default; not the paper's.

One strength, 0 to 1, scales all of it. At 1, each drawn uniformly: brightness by up to exp(±0.4), each channel by up to
exp(±0.2) (white balance), contrast about the picture's mean by up to exp(±0.5), gamma of up to exp(±0.5). One picture
in five is grey, one in two blurred (Gaussian, up to 1.2 pixels), one in two noisy (Gaussian, up to 6 % of full scale).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from pmd_jax.config import AugmentConfig

BRIGHTNESS, WHITE_BALANCE, CONTRAST, GAMMA = 0.4, 0.2, 0.5, 0.5  # of the logarithm, at strength 1
GREY_SHARE, BLUR_PX, NOISE = 0.2, 1.2, 0.06
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def change_colours(
    rgb: UInt8[Any, "b 64 64 3"], keys: Key[Array, " b"], config: AugmentConfig
) -> UInt8[Array, "b 64 64 3"]:
    """Crops as other cameras under other lamps would have taken them, each sample by its own draws."""
    if config.colour == 0:
        return jnp.asarray(rgb)

    def one(image, key):
        light_key, grey_key, blur_key, noise_key = jax.random.split(jax.random.fold_in(key, 6), 4)
        lit = change_light(image.astype(jnp.float32) / 255, light_key, config.colour)
        grey = jax.random.bernoulli(grey_key, GREY_SHARE * config.colour)
        coloured = jnp.where(grey, (lit * LUMINANCE).sum(-1, keepdims=True), lit)
        blurred = blur(coloured, BLUR_PX * config.colour * _in_one_of_two(blur_key))
        size_key, pixel_key = jax.random.split(noise_key)
        noise = NOISE * config.colour * _in_one_of_two(size_key) * jax.random.normal(pixel_key, image.shape)
        return jnp.round(255 * jnp.clip(blurred + noise, 0, 1)).astype(jnp.uint8)

    return jax.vmap(one)(rgb, keys)


def change_light(image: Float[Array, "h w 3"], key: Key[Array, ""], strength: float) -> Float[Array, "h w 3"]:
    """Brightness, white balance, contrast and gamma of a picture of 0 to 1."""
    draws = strength * jax.random.uniform(key, (6,), minval=-1.0, maxval=1.0)
    gain = jnp.exp(BRIGHTNESS * draws[0] + WHITE_BALANCE * draws[1:4])
    contrast, gamma = jnp.exp(CONTRAST * draws[4]), jnp.exp(GAMMA * draws[5])
    gained = image * gain
    middle = gained.mean()
    return jnp.clip(middle + contrast * (gained - middle), 0, 1) ** gamma


def blur(image: Float[Array, "h w c"], sigma_px: Float[Array, ""]) -> Float[Array, "h w c"]:
    """By a Gaussian, of which only what lies in the picture counts. Zero leaves the picture as it is."""

    def weights(length: int) -> Float[Array, "{length} {length}"]:
        steps = np.arange(length, dtype=np.float32)[:, None] - np.arange(length, dtype=np.float32)
        gaussian = jnp.exp(-0.5 * (steps / jnp.maximum(sigma_px, 1e-3)) ** 2)
        return gaussian / gaussian.sum(1, keepdims=True)

    height, width, _ = image.shape
    # Matrix products: a sum of shifted pictures would have XLA compute what comes before once for each shift.
    return jnp.einsum("yv,xu,vuc->yxc", weights(height), weights(width), image)


def _in_one_of_two(key: Key[Array, ""]) -> Float[Array, ""]:
    """Uniform from 0 to 1 in one of two draws, 0 in the other."""
    return jnp.maximum(jax.random.uniform(key, minval=-1.0, maxval=1.0), 0)
