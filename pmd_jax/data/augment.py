"""Flips, random block replacement, and all augmentation of a training batch in its order: jitted, on the device.

All draws come from (seed, step, index in the data set), so they depend neither on the batch's order nor on how many
processes share it. Student and teacher of one step see the same flips, backgrounds, rotations, scales and shifts; what
comes after these changes the depth alone (surfaces behind the hand, the camera's faults), or the student's RGB alone.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Int32, Key, UInt8

from pmd_jax.config import AugmentConfig
from pmd_jax.data import hand
from pmd_jax.data.background import exchange_backgrounds
from pmd_jax.data.colour import change_colours
from pmd_jax.data.depth_background import put_behind
from pmd_jax.data.depth_origin import front_origin_m
from pmd_jax.data.depth_sensor import sense
from pmd_jax.data.geometry import warp_crops
from pmd_jax.data.inputs import Batch, Inputs, to_inputs
from pmd_jax.data.jitter import jitter_crops


def sample_keys(seed: Int32[Any, ""], step: Int32[Any, ""], index: Int32[Any, " b"]) -> Key[Array, " b"]:
    """One random key a sample, from (seed, step, index in the data set) and nothing else."""
    step_key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(jax.random.fold_in, (None, 0))(step_key, index)


def draw_flips(keys: Key[Array, " b"], config: AugmentConfig) -> Bool[Array, "b 2"]:
    """Whether each sample is mirrored left–right and top–bottom, with probability ½ each where it may be."""
    draws = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, 0), shape=(2,)))(keys)
    return draws & jnp.array([config.flip_horizontal, config.flip_vertical])


def flip(batch: Batch, flips: Bool[Array, "b 2"]) -> Batch:
    """Mirrors samples left–right and top–bottom, labels and intrinsics with them."""
    return jax.vmap(_flip_sample)(batch, flips)


def _flip_sample(sample: Batch, flips: Bool[Array, 2]) -> Batch:
    flip_u, flip_v = flips

    def mirror(image):
        image = jnp.where(flip_u, image[:, ::-1], image)
        return jnp.where(flip_v, image[::-1], image)

    xyz, uv, K, is_left = hand.flip_labels(
        sample.xyz, sample.uv, sample.K, sample.is_left, flip_u, flip_v, sample.rgb.shape[0]
    )
    flipped = sample._replace(rgb=mirror(sample.rgb), depth=mirror(sample.depth))
    return flipped._replace(xyz=xyz, uv=uv, K=K, is_left=is_left)


def replace_block(rgb: UInt8[Any, "b 64 64 3"], keys: Key[Array, " b"], config: AugmentConfig):
    """Random block replacement (section 3.4): a K×K block takes the values of its right neighbour.

    The block is drawn uniformly where both fit in the picture.

    Returns:
        The pictures, and (b, 3) int32: row, column and size of each replaced block, size 0 where none was.
    """
    height, width, size = rgb.shape[1], rgb.shape[2], config.block_size

    def one(image, key):
        place_key, happen_key = jax.random.split(jax.random.fold_in(key, 1))
        limits = jnp.array([height - size + 1, width - 2 * size + 1])
        row, column = jax.random.randint(place_key, (2,), 0, limits)
        happens = jax.random.bernoulli(happen_key, config.block_probability)
        return block_from_right(image, row, column, size, happens), jnp.array([row, column, size * happens])

    return jax.vmap(one)(rgb, keys)


def block_from_right(
    image: UInt8[Array, "h w c"], row: Int[Array, ""], column: Int[Array, ""], size: int, happens: Bool[Array, ""]
) -> UInt8[Array, "h w c"]:
    """`image` with the block at (row, column) replaced by the equally large block that begins where it ends."""
    source = jax.lax.dynamic_slice(image, (row, column + size, 0), (size, size, image.shape[2]))
    replaced = jax.lax.dynamic_update_slice(image, source, (row, column, 0))
    return jnp.where(happens, replaced, image)


def training_inputs(
    batch: Batch,
    seed: Int32[Array, ""],
    step: Int32[Array, ""],
    config: AugmentConfig,
    replaces: bool,
    frame: str = "camera",
    depth_origin: str = "root",
) -> Inputs:
    """Augments and normalises a training batch.

    Args:
        replaces: whether the method knows block replacement.
        frame: of the target, one of `config.schema.TARGET_FRAMES`.
        depth_origin: of the run's data; "front" is found anew where the maps change by more than flips.
    """
    keys = sample_keys(seed, step, batch.index)
    batch = flip(batch, draw_flips(keys, config))
    batch = warp_crops(exchange_backgrounds(batch, keys, config), keys, config)
    batch = sense(put_behind(batch, keys, config), keys, config)
    if depth_origin == "front" and config.beyond_flips():
        batch = batch._replace(depth_origin_m=front_origin_m(jnp.asarray(batch.depth)))
    if replaces:
        batch = batch._replace(rgb=replace_block(batch.rgb, keys, config)[0])
    rgb = change_colours(jitter_crops(batch.rgb, keys, config), keys, config)
    return to_inputs(batch._replace(rgb=rgb), frame)
