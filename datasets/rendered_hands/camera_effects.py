"""What cameras and files do to everyday pictures: exposure, white balance, blur, noise, few pixels, JPEG, edges."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageFilter

from . import camera
from .draws import Draws

_COLUMNS = np.arange(256) / 255


class Effects(NamedTuple):
    """Of a batch of pictures; lengths are shares of the picture's side."""

    curve: UInt8[np.ndarray, "b 3 256"]  # exposure, white balance, contrast, gamma
    saturation: Float[np.ndarray, " b"]
    focus: Float[np.ndarray, " b"]  # deviation of the blur; 0 for none
    motion: Float[np.ndarray, "b 2"]  # way of the camera or hand; 0 for none
    pixels: Float[np.ndarray, " b"]  # side in pixels before it was enlarged
    quality: Int[np.ndarray, " b"]  # of JPEG; 0 for none
    sensor: camera.Sensor
    edge: Float[np.ndarray, "b 4"]  # black from the left, top, right, bottom


def sample_effects(draws: Draws) -> Effects:
    """Draws what happens between the lens and the file."""
    angle, way = draws.uniform(high=2 * np.pi), draws.uniform(low=0.015, high=0.09) * draws.chance(0.2)
    sensor = camera.sample_sensor(draws)
    strong = draws.chance(0.25)
    sigma = np.where(strong, draws.uniform(low=5, high=16), 0.5 * sensor.sigma)
    cut = draws.uniform(4, low=0.02, high=0.3) * draws.chance(0.3, 4) * draws.chance(0.3, 1)
    few = np.exp(draws.uniform(low=np.log(22), high=np.log(80)))
    return Effects(
        curve=_curve(draws),
        saturation=np.where(draws.chance(0.06), 0, np.clip(draws.normal(mean=1.05, std=0.22), 0.3, 1.8)),
        focus=np.exp(draws.uniform(low=np.log(0.004), high=np.log(0.02))) * draws.chance(0.3),
        motion=np.stack([np.cos(angle), np.sin(angle)], -1) * way[:, None],
        pixels=np.where(draws.chance(0.3), few, 1000.0),
        quality=draws.integer(18, 90) * draws.chance(0.45),
        sensor=sensor._replace(sigma=sigma),
        edge=cut,
    )


def _curve(draws: Draws) -> UInt8[np.ndarray, "b 3 256"]:
    """One curve a channel from 8-bit sRGB to 8-bit sRGB."""
    warm, green = draws.normal(std=0.09), draws.normal(std=0.035)
    balance = np.exp(np.stack([warm, green, -warm], -1))
    stops = np.where(draws.chance(0.35), draws.normal(std=0.45), draws.normal(std=0.12))
    gamma, contrast = np.exp(draws.normal(std=0.12)), draws.uniform(low=-0.15, high=0.55)
    black = draws.uniform(low=0, high=0.1) * draws.chance(0.3)
    value = _COLUMNS ** gamma[:, None, None] * (balance * 2 ** stops[:, None])[..., None]
    value = np.clip(value, 0, 1)
    bent = value * value * (3 - 2 * value)
    value = value + contrast[:, None, None] * (bent - value)
    value = black[:, None, None] + (1 - black[:, None, None]) * value
    return np.clip(255 * value + 0.5, 0, 255).astype(np.uint8)


def outside(effects: Effects, shape: tuple[int, int]) -> Bool[np.ndarray, "b h w"]:
    """Where the crop reaches beyond the picture that it was cut from."""
    height, width = shape
    column, row = np.arange(width)[None, None], np.arange(height)[None, :, None]
    left, top, right, bottom = (edge[:, None, None] for edge in effects.edge.T)
    in_width = (column >= left * width) & (column < (1 - right) * width)
    return ~(in_width & (row >= top * height) & (row < (1 - bottom) * height))


def capture(effects: Effects, rgb: UInt8[np.ndarray, "b h w 3"]) -> UInt8[np.ndarray, "b h w 3"]:
    """Blur, noise, tone, then the file's own losses; black outside the picture."""
    blurred = np.stack([_blur(effects, row, picture) for row, picture in enumerate(rgb)])
    noisy = camera.capture(effects.sensor, blurred)
    out = np.stack([_develop(effects, row, picture) for row, picture in enumerate(noisy)])
    out[outside(effects, rgb.shape[1:3])] = 0
    return out


def _blur(effects: Effects, row: int, picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    side = max(picture.shape)
    steps = effects.motion[row] * side
    if steps.any():
        count = int(np.ceil(np.abs(steps).max())) + 1
        total = np.full(picture.shape, count // 2, np.uint32)
        for share in np.linspace(-0.5, 0.5, count):
            x, y = np.rint(steps * share).astype(int)
            total += _moved(picture, int(x), int(y))
        picture = (total // count).astype(np.uint8)
    if effects.focus[row]:
        blur = ImageFilter.GaussianBlur(float(effects.focus[row] * side))
        picture = np.asarray(Image.fromarray(picture).filter(blur))
    return picture


def _moved(picture: UInt8[np.ndarray, "h w 3"], x: int, y: int) -> UInt8[np.ndarray, "h w 3"]:
    """Moved by whole pixels; the edge goes on outside."""
    rows = np.clip(np.arange(picture.shape[0]) - y, 0, picture.shape[0] - 1)
    columns = np.clip(np.arange(picture.shape[1]) - x, 0, picture.shape[1] - 1)
    return picture[rows].take(columns, axis=1)


def _develop(effects: Effects, row: int, picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    height, width = picture.shape[:2]
    toned = np.empty_like(picture)
    for channel in range(3):
        toned[..., channel] = np.take(effects.curve[row, channel], picture[..., channel])
    grey = (toned[..., 0] * np.float32(0.3) + toned[..., 1] * np.float32(0.59) + toned[..., 2] * np.float32(0.11))[..., None]
    toned = np.clip(grey + np.float32(effects.saturation[row]) * (toned - grey), 0, 255).astype(np.uint8)
    image, share = Image.fromarray(toned), effects.pixels[row] / max(height, width)
    if share < 1:
        small = max(int(width * share), 1), max(int(height * share), 1)
        image = image.resize(small, Image.Resampling.BOX)
    if effects.quality[row]:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(effects.quality[row]))
        image = Image.open(file)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC) if share < 1 else image)
