"""What is behind the hand in everyday pictures: a piece of a painted scene, nearer things before it, the hand's shadow.

Each picture takes its piece at any scale and turn; over it come blocks, pages and limbs of its own.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFilter

from . import paint, photo_scenes
from .draws import Draws
from .paint import DARK_SKIN, LIGHT_SKIN, SIDE

NUM_SCENES = 160
_LIMBS, _NEAR = 3, 5


class Surroundings(NamedTuple):
    """The background of a batch; lengths are shares of the picture's side."""

    which: Int[np.ndarray, " b"]
    zoom: Float[np.ndarray, " b"]  # sides of the scene that the picture shows
    turn: Float[np.ndarray, " b"]  # radians
    origin: Float[np.ndarray, "b 2"]
    mirrored: Bool[np.ndarray, " b"]
    blur: Float[np.ndarray, " b"]
    curve: UInt8[np.ndarray, "b 3 256"]  # tone curve of each channel
    things: Float[np.ndarray, "b 5 10"]  # presence, middle, size, colour, kind, turn
    limbs: Float[np.ndarray, "b 3 6"]  # presence, ends, width
    skin: Float[np.ndarray, "b 3"]  # sRGB 0…255 of limbs
    shadow: Float[np.ndarray, "b 4"]  # strength, offset, blur


def sample_surroundings(draws: Draws) -> Surroundings:
    """Draws scene, piece, tone, things, limbs and shadow."""
    gain = np.exp(draws.normal(1, std=0.32)) * np.exp(draws.normal(3, std=0.07))
    gamma = np.exp(draws.normal(1, 1, mean=-0.1, std=0.25))
    curve = np.clip(255 * gain[:, :, None] * (np.arange(256) / 255) ** gamma, 0, 255).astype(np.uint8)
    turn = np.where(draws.chance(0.6), draws.normal(std=0.1), draws.uniform(high=2 * np.pi))
    cluttered, with_limbs = draws.chance(0.3, 1, 1), draws.chance(0.16, 1, 1)
    size = np.exp(draws.uniform(_NEAR, 2, low=np.log(0.03), high=np.log(0.5)))
    things = [draws.chance(0.6, _NEAR, 1) & cluttered, draws.uniform(_NEAR, 2), size, draws.uniform(_NEAR, 4)]
    ends = draws.uniform(_LIMBS, 4, low=-0.3, high=1.3)
    limbs = [draws.chance(0.6, _LIMBS, 1) & with_limbs, ends, draws.uniform(_LIMBS, 1, low=0.04, high=0.3)]
    shadow = [draws.uniform(1, low=0.2, high=0.7) * draws.chance(0.35, 1), draws.normal(2, std=0.12)]
    return Surroundings(
        which=draws.integer(0, NUM_SCENES),
        zoom=np.exp(draws.uniform(low=np.log(0.3), high=0.0)),
        turn=turn,
        origin=draws.uniform(2),
        mirrored=draws.chance(0.5),
        blur=np.exp(draws.uniform(low=np.log(0.003), high=np.log(0.03))) * draws.chance(0.18),
        curve=curve,
        things=np.concatenate([*things, draws.uniform(_NEAR, 1)], -1),
        limbs=np.concatenate(limbs, -1),
        skin=_skin(draws),
        shadow=np.concatenate([*shadow, draws.uniform(1, low=0.01, high=0.07)], -1),
    )


def _skin(draws: Draws) -> Float[np.ndarray, "b 3"]:
    share = draws.uniform(1)
    return (LIGHT_SKIN * (1 - share) + DARK_SKIN * share) * draws.uniform(1, low=0.6, high=1.1)


def surround(around: Surroundings, shape: tuple[int, int]) -> UInt8[np.ndarray, "b h w 3"]:
    """The backgrounds of a batch, height and width as in `shape`, without the hand's shadow."""
    out = np.empty((len(around.which), *shape, 3), np.uint8)
    for row in range(len(out)):
        picture = _piece(around, row, shape)
        _paint_things(around, row, picture)
        blur = float(around.blur[row] * max(shape))
        pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(blur)) if blur else picture)
        for channel in range(3):
            out[row, ..., channel] = np.take(around.curve[row, channel], pixels[..., channel])
    return out


def cast_shadow(around: Surroundings, covered: Bool[np.ndarray, "b h w"], rgb: UInt8[np.ndarray, "b h w 3"]) -> None:
    """Darkens the background, in place, where what `covered` shows keeps the light from it."""
    side = max(covered.shape[1:])
    for row in np.flatnonzero(around.shadow[:, 0]):
        strength, dx, dy, blur = around.shadow[row].tolist()
        mask = Image.fromarray(covered[row].astype(np.uint8) * 255).reduce(2)
        moved = (1, 0, -dx * side / 2, 0, 1, -dy * side / 2)
        mask = mask.transform(mask.size, Image.Transform.AFFINE, moved)
        mask = mask.filter(ImageFilter.GaussianBlur(blur * side / 2))
        shade = np.asarray(mask.resize(covered.shape[:0:-1], Image.Resampling.BILINEAR), np.uint16)
        kept = 256 - (shade * np.uint16(256 * strength) >> 8)
        rgb[row] = (rgb[row] * kept[..., None]) >> 8


def _piece(around: Surroundings, row: int, shape: tuple[int, int]) -> Image.Image:
    """The piece of the scene, turned, and scaled so that no corner leaves the scene."""
    height, width = shape
    sine, cosine = np.sin(around.turn[row]), np.cos(around.turn[row])
    share = around.zoom[row] / (abs(sine) + abs(cosine))
    fine, coarse = _scene(int(around.which[row]))
    scene = coarse if share * SIDE > 1.5 * max(shape) else fine
    step = share * scene.width / max(shape)  # scene pixels a pixel
    x, y = scene.width * (0.5 + (1 - around.zoom[row]) * (around.origin[row] - 0.5))
    flip = -1 if around.mirrored[row] else 1
    a, b, d, e = flip * step * cosine, -step * sine, flip * step * sine, step * cosine
    matrix = (a, b, x - (a * width + b * height) / 2, d, e, y - (d * width + e * height) / 2)
    matrix = tuple(map(float, matrix))
    return scene.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


@cache
def _scene(number: int) -> tuple[Image.Image, Image.Image]:
    """A scene, and the same at half the resolution, for pieces that are made smaller."""
    picture = Image.fromarray(photo_scenes.scene(number))
    return picture, picture.reduce(2)


def _paint_things(around: Surroundings, row: int, picture: Image.Image) -> None:
    brush, side = ImageDraw.Draw(picture), max(picture.size)
    for present, x, y, width, height, *colour, kind, turn in around.things[row].tolist():
        if present:
            _paint_thing(brush, side, (x, y), (width, height), colour, kind, turn)
    for present, x0, y0, x1, y1, width in (around.limbs[row] * [1, *[side] * 5]).tolist():
        if present:
            _paint_limb(brush, (x0, y0), (x1, y1), width, around.skin[row])


def _paint_thing(brush, side: int, middle, size, colour, kind: float, turn: float) -> None:
    """A turned block or disc, darker along one side."""
    angle = 2 * np.pi * turn
    across = np.array([np.cos(angle), np.sin(angle)]) * size[0]
    along = np.array([-np.sin(angle), np.cos(angle)]) * size[1]
    grey = float(np.mean(colour))
    tint = [255 * (grey + 0.45 * (value - grey)) for value in colour]
    corners = np.array([across + along, across - along, -across - along, -across + along]) / 2
    for part, light in ((corners, 1.0), (corners * 0.8 + along * 0.1, 0.8 if kind < 0.4 else 1.15)):
        fill = paint.shade(tint, light)
        if kind < 0.7:
            brush.polygon([tuple(map(float, point)) for point in (part + middle) * side], fill=fill)
        else:
            low, high = (np.array(middle) - np.array(size) / 2) * side, (np.array(middle) + np.array(size) / 2) * side
            brush.ellipse([*map(float, low), *map(float, high)], fill=fill)
            break


def _paint_limb(brush, start, end, width: float, skin) -> None:
    """A rounded bar of skin with a darker side: an arm, a finger, a forehead, as it happens."""
    for inset, light in ((0.0, 0.75), (0.12, 1.0), (0.3, 1.08)):
        thick = width * (1 - 2 * inset)
        fill = paint.shade(skin, light)
        brush.line([*start, *end], fill=fill, width=max(int(thick), 1))
        for x, y in (start, end):
            brush.ellipse([x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2], fill=fill)
