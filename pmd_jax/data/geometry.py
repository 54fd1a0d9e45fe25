"""Rotation, scale and shift of a crop, its labels and its camera matrix: K·xyz/z = uv stays true.

A crop that is turned by θ about its middle m, made s times as large and moved by t shows at

    uv' = m + t + s·A·(uv − m)

what it showed at uv. K is [F p; 0 1], with the focal lengths and the skew in F and the principal point p. R is the
plane's rotation by θ. The labels become

    A = F·R·F⁻¹,   xyz' = (R·xy, z),   K' = [s·F  m + t + s·A·(p − m); 0 1].

As uv − p = F·xy/z, F·R·xy/z is A·(uv − p), and K'·xyz'/z = s·A·(uv − p) + m + t + s·A·(p − m) = uv'.

Nothing of this is approximate, wherever the crop lies in its picture: a camera that is rolled by θ about its optical
axis sees the picture turned by A about p, and to turn it about m in place of p only moves the crop. So depths stay as
they are, and K' has K's form. Where pixels are square, A is R. Where they are not, the directions are turned, and the
picture's pixels by what follows from that.

What is approximate are the pixels: RGB is interpolated linearly (without a filter, so that what becomes smaller is
sampled), depth is that of the nearest pixel, as a mean of two depths lies on neither surface. What lies outside of the
crop is not known; RGB and depth show the crop's reflection there, so that they still belong together.

The functions of one sample take NumPy's arrays or JAX's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, Shaped

from pmd_jax.config import AugmentConfig
from pmd_jax.data.inputs import Batch
from pmd_jax.data.ray_frame import focal_inverse

_EYE = np.eye(2, dtype=np.float32)
_QUARTER_TURN = np.array([[0, -1], [1, 0]], np.float32)  # u to v: clockwise, as v points down


class CropWarp(NamedTuple):
    """What is done to a crop: turned by an angle (from u to v), made `zoom` times as large, and then moved."""

    cos: Float[Any, ""]
    sin: Float[Any, ""]
    zoom: Float[Any, ""]
    shift_px: Float[Any, " 2"]  # right, down


def draw_warp(key: Key[Array, ""], config: AugmentConfig, size: int) -> CropWarp:
    """A sample's own draw, each part uniform in its range (the zoom in its logarithm)."""
    angle_key, zoom_key, shift_key = jax.random.split(jax.random.fold_in(key, 3), 3)
    limit = np.deg2rad(config.rotation_deg)
    angle = jax.random.uniform(angle_key, minval=-limit, maxval=limit)
    zoom = config.scale ** jax.random.uniform(zoom_key, minval=-1.0, maxval=1.0)
    shift = size * jax.random.uniform(shift_key, (2,), minval=-config.shift, maxval=config.shift)
    return CropWarp(jnp.cos(angle), jnp.sin(angle), zoom, shift)


def pixel_rotation(K: Float[Any, "3 3"], cos: Float[Any, ""], sin: Float[Any, ""]) -> Float[Any, "2 2"]:
    """A = F·R·F⁻¹: how pixels turn. Where F is zero, the camera not known, only the angle zero has a meaning: A = I."""
    return cos * _EYE + sin * _product(_product(K[:2, :2], _QUARTER_TURN), focal_inverse(K))


def warp_labels(
    xyz_m: Float[Any, "21 3"], uv_px: Float[Any, "21 2"], K: Float[Any, "3 3"], warp: CropWarp, size: int
) -> tuple[Float[Any, "21 3"], Float[Any, "21 2"], Float[Any, "3 3"]]:
    """xyz, uv and K of a crop of `size` pixels after `warp`."""
    xp, middle = K.__array_namespace__(), (size - 1) / 2
    matrix = warp.zoom * pixel_rotation(K, warp.cos, warp.sin)

    def moved(points):
        return middle + warp.shift_px + _apply(matrix, points - middle)

    xy = _apply(warp.cos * _EYE + warp.sin * _QUARTER_TURN, xyz_m[:, :2])
    two_rows = xp.concat([warp.zoom * K[:2, :2], moved(K[:2, 2])[:, None]], axis=1)
    return xp.concat([xy, xyz_m[:, 2:]], axis=1), moved(uv_px), xp.concat([two_rows, K[2:]])


def keep_inside(
    warp: CropWarp, uv_px: Float[Any, "21 2"], visible: Bool[Any, " 21"], K: Float[Any, "3 3"], size: int
) -> CropWarp:
    """`warp`, limited so that no visible joint leaves the crop.

    The angle stays. The zoom is lowered until the turned joints fit between the crop's outermost pixels, and then the
    shift is moved to the nearest one that puts them there. Joints that lay outside before do not count; a sample
    without labels has none that could.
    """
    xp, middle = K.__array_namespace__(), (size - 1) / 2
    counted = visible & (abs(uv_px - middle) < size / 2).all(-1)
    turned = _apply(pixel_rotation(K, warp.cos, warp.sin), uv_px - middle)
    low = xp.where(counted[:, None], turned, np.inf).min(0)
    high = xp.where(counted[:, None], turned, -np.inf).max(0)
    low, high = xp.where(counted.any(), low, 0.0), xp.where(counted.any(), high, 0.0)
    zoom = xp.minimum(warp.zoom, (size - 1) / xp.maximum((high - low).max(), 1e-6))
    return warp._replace(zoom=zoom, shift_px=xp.clip(warp.shift_px, -middle - zoom * low, middle - zoom * high))


def source_pixels(K: Float[Any, "3 3"], warp: CropWarp, size: int) -> Float[Any, "{size} {size} 2"]:
    """Where each pixel (row, column) of the warped crop lies in the crop before: (u, v), reflected at its borders."""
    middle, last = (size - 1) / 2, size - 1
    v, u = np.indices((size, size), np.float32)
    pixels = np.stack([u, v], -1)
    back = _apply(pixel_rotation(K, warp.cos, -warp.sin), (pixels - middle - warp.shift_px) / warp.zoom) + middle
    return last - abs(back % (2 * last) - last)


def sample_linear(image: Shaped[Any, "s s c"], at: Float[Any, "s s 2"]) -> Float[Any, "s s c"]:
    """The picture at (u, v), between its four nearest pixels."""
    xp = at.__array_namespace__()
    corner = xp.clip(xp.floor(at), 0, image.shape[0] - 2).astype(np.int32)
    share = at - corner
    (u, v), (right, down) = (corner[..., 0], corner[..., 1]), (share[..., :1], share[..., 1:])
    above = image[v, u] * (1 - right) + image[v, u + 1] * right
    below = image[v + 1, u] * (1 - right) + image[v + 1, u + 1] * right
    return above * (1 - down) + below * down


def sample_nearest(image: Shaped[Any, "s s"], at: Float[Any, "s s 2"]) -> Shaped[Any, "s s"]:
    """The picture's nearest pixel to (u, v)."""
    nearest = at.__array_namespace__().round(at).astype(np.int32)
    return image[nearest[..., 1], nearest[..., 0]]


def warp_crops(batch: Batch, keys: Key[Array, " b"], config: AugmentConfig) -> Batch:
    """Turns, scales and moves samples, each by its own draws: both pictures, labels and intrinsics."""
    if config.rotation_deg == 0 and config.scale == 1 and config.shift == 0:
        return batch
    size = batch.rgb.shape[1]

    def one(sample: Batch, key: Key[Array, ""]) -> Batch:
        warp = keep_inside(draw_warp(key, config, size), sample.uv, sample.visible, sample.K, size)
        at = source_pixels(sample.K, warp, size)
        xyz, uv, K = warp_labels(sample.xyz, sample.uv, sample.K, warp, size)
        rgb = jnp.round(sample_linear(sample.rgb, at)).astype(jnp.uint8)
        return sample._replace(rgb=rgb, depth=sample_nearest(sample.depth, at), xyz=xyz, uv=uv, K=K)

    return jax.vmap(one)(batch, keys)


def _apply(matrix: Float[Any, "2 2"], points: Float[Any, "*p 2"]) -> Float[Any, "*p 2"]:
    """Written out, as a matrix product may run in bf16."""
    return (matrix * points[..., None, :]).sum(-1)


def _product(a: Float[Any, "2 2"], b: Float[Any, "2 2"]) -> Float[Any, "2 2"]:
    return (a[:, :, None] * b[None]).sum(1)
