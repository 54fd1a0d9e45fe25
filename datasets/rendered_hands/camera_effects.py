"""What cameras and files do to everyday pictures: exposure, white balance, blur, noise, few pixels, JPEG, edges."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageChops, ImageFilter

from . import camera
from .draws import Draws

_COLUMNS = np.arange(256) / 255


class Effects(NamedTuple):
    """Of a batch of pictures; lengths are shares of the picture's side."""

    curve: UInt8[np.ndarray, "b 3 256"]  # exposure, white balance, contrast, gamma
    saturation: Float[np.ndarray, " b"]
    focus: Float[np.ndarray, " b"]  # deviation of the blur; 0 for none
    motion: Float[np.ndarray, "b 2"]  # way of the camera or hand; 0 for none
    bloom: Float[np.ndarray, " b"]  # how much of bright light is scattered in the lens
    sharpened: Float[np.ndarray, " b"]  # by the camera's software, per cent; 0 for not at all
    pixels: Float[np.ndarray, " b"]  # side in pixels before it was enlarged
    quality: Int[np.ndarray, " b"]  # of JPEG; 0 for none
    sensor: camera.Sensor
    edge: Float[np.ndarray, "b 4"]  # black from the left, top, right, bottom


def sample_effects(draws: Draws) -> Effects:
    """Draws what happens between the lens and the file."""
    angle, way = draws.uniform(high=2 * np.pi), draws.uniform(low=0.01, high=0.06) * draws.chance(0.14)
    sensor = camera.sample_sensor(draws)
    strong = draws.chance(0.2)
    sigma = np.where(strong, draws.uniform(low=4, high=14), 0.5 * sensor.sigma)
    cut = draws.uniform(4, low=0.02, high=0.22) * draws.chance(0.35, 4) * draws.chance(0.22, 1)
    is_small, few = draws.chance(0.22), np.exp(draws.uniform(low=np.log(28), high=np.log(90)))
    focus = np.exp(draws.uniform(low=np.log(0.004), high=np.log(0.016))) * (draws.chance(0.22) & ~is_small)
    return Effects(
        curve=_curve(draws),
        saturation=np.where(draws.chance(0.02), 0, np.clip(draws.normal(mean=0.92, std=0.2), 0.3, 1.5)),
        focus=focus,
        motion=np.stack([np.cos(angle), np.sin(angle)], -1) * way[:, None],
        bloom=draws.uniform(low=0.2, high=0.7) * draws.chance(0.18),
        sharpened=draws.uniform(low=20, high=90) * (draws.chance(0.35) & (focus == 0)),
        pixels=np.where(is_small, few, 1000.0),
        quality=np.maximum(draws.integer(20, 92), np.where(is_small, 45, 0)) * draws.chance(0.45),
        sensor=sensor._replace(blurred=draws.chance(0.3), sigma=sigma),
        edge=cut,
    )


def _curve(draws: Draws) -> UInt8[np.ndarray, "b 3 256"]:
    """One curve a channel from 8-bit sRGB to 8-bit sRGB."""
    warm, green = draws.normal(mean=-0.02, std=0.08), draws.normal(std=0.03)
    balance = np.exp(np.stack([warm, green, -warm], -1))
    stops = np.where(draws.chance(0.35), draws.normal(mean=-0.1, std=0.3, clip=2), draws.normal(std=0.12))
    gamma, contrast = np.exp(draws.normal(std=0.12)), draws.uniform(low=0.0, high=1.0)
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
    """What the lens does, then the sensor, then the camera's software and the file; black outside the picture."""
    noisy = camera.capture(effects.sensor, np.stack([_lens(effects, row, picture) for row, picture in enumerate(rgb)]))
    out = np.stack([_file(effects, row, _develop(effects, row, picture)) for row, picture in enumerate(noisy)])
    out[outside(effects, rgb.shape[1:3])] = 0
    return out


def _lens(effects: Effects, row: int, picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    side = max(picture.shape)
    if effects.motion[row].any():
        picture = _smeared(picture, effects.motion[row] * side)
    image = Image.fromarray(picture)
    if effects.bloom[row]:
        bright = image.reduce(4).point([max(value - 200, 0) * 4 for value in range(256)] * 3)
        bright = bright.filter(ImageFilter.GaussianBlur(side * 0.015)).resize(image.size, Image.Resampling.BILINEAR)
        glow = bright.point([int(value * effects.bloom[row]) for value in range(256)] * 3)
        image = ImageChops.add(image, glow)
    if effects.focus[row]:
        image = image.filter(ImageFilter.GaussianBlur(float(effects.focus[row] * side)))
    return np.asarray(image)


def _smeared(picture: UInt8[np.ndarray, "h w 3"], way: Float[np.ndarray, " 2"]) -> UInt8[np.ndarray, "h w 3"]:
    """The mean over a straight way of so many pixels; the edge goes on outside."""
    height, width = picture.shape[:2]
    count = int(np.ceil(np.abs(way).max())) + 1
    total = np.full(picture.shape, count // 2, np.uint32)
    for x, y in np.rint(way * np.linspace(-0.5, 0.5, count)[:, None]).astype(int):
        rows, columns = np.clip(np.arange(height) - y, 0, height - 1), np.clip(np.arange(width) - x, 0, width - 1)
        total += picture[rows].take(columns, axis=1)
    return (total // count).astype(np.uint8)


def _develop(effects: Effects, row: int, picture: UInt8[np.ndarray, "h w 3"]) -> Image.Image:
    toned = np.empty_like(picture)
    for channel in range(3):
        toned[..., channel] = np.take(effects.curve[row, channel], picture[..., channel])
    red, green, blue = np.moveaxis(toned.astype(np.float32), -1, 0)
    grey = (red * 0.3 + green * 0.59 + blue * 0.11)[..., None]
    toned = np.clip(grey + np.float32(effects.saturation[row]) * (toned - grey), 0, 255).astype(np.uint8)
    image = Image.fromarray(toned)
    if effects.sharpened[row]:
        radius = max(image.size) / 90
        image = image.filter(ImageFilter.UnsharpMask(radius, int(effects.sharpened[row]), 2))
    return image


def _file(effects: Effects, row: int, image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    size, share = image.size, effects.pixels[row] / max(image.size)
    if share < 1:
        image = image.resize((max(int(size[0] * share), 1), max(int(size[1] * share), 1)), Image.Resampling.BOX)
    if effects.quality[row]:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(effects.quality[row]))
        image = Image.open(file)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC) if share < 1 else image)
