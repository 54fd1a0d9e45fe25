"""Brushes for painted scenes: colours as photographs have them, plain and uneven canvases, shapes, small things.

`random` is a `numpy.random.RandomState` everywhere: its streams are frozen.
"""

from __future__ import annotations

import colorsys

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from . import background

SIDE = 384
LIGHT_SKIN, DARK_SKIN = np.array([236, 196, 170]), np.array([84, 54, 42])  # sRGB
Colour = tuple[int, int, int]


def noise(random, slope: float, stretch: float = 1.0) -> Float[np.ndarray, "side side"]:
    """`background.noise` at the size of a scene."""
    return background.noise(random, slope, stretch, SIDE)


def tone(random, saturation: float = 0.5, low: float = 0.05, high: float = 1.0, hue: float | None = None) -> Colour:
    """A colour. Small saturations are the rule, and wood, brick and earth, plants, sky and cloth, as in photographs."""
    if hue is None:
        hue = random.choice([0.07, 0.28, 0.6, random.rand()], p=[0.45, 0.15, 0.25, 0.15]) + random.normal(0, 0.02)
    return hsv(hue + random.normal(0, 0.015), saturation * random.rand(), random.uniform(low, high))


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Any hue (it wraps), saturation and value up to 1."""
    return shade(colorsys.hsv_to_rgb(hue % 1, saturation, value), 255)


def shade(colour, factor: float = 1.0) -> Colour:
    """A colour times a factor."""
    red, green, blue = np.clip(np.asarray(colour) * factor, 0, 255).astype(int).tolist()
    return red, green, blue


def skin_tone(random) -> Colour:
    """From light to dark."""
    share = random.rand()
    return shade(LIGHT_SKIN * (1 - share) + DARK_SKIN * share, random.uniform(0.75, 1.1))


def canvas(random, colour: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A plain picture, lighter at one end, and a brush for it."""
    angle, strength = random.uniform(0, 2 * np.pi), random.uniform(0, 0.45)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    light = 1 + strength * (x * np.cos(angle) + y * np.sin(angle)) * 1.6
    picture = Image.fromarray(np.clip(np.array(colour) * light[..., None], 0, 255).astype(np.uint8))
    return picture, ImageDraw.Draw(picture)


def box(brush: ImageDraw.ImageDraw, x: float, y: float, width: float, height: float, colour: Colour) -> None:
    """A filled rectangle of at least one pixel."""
    brush.rectangle([x, y, x + max(width - 1, 0), y + max(height - 1, 0)], fill=colour)


def disc(brush: ImageDraw.ImageDraw, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
    """A filled ellipse."""
    brush.ellipse([x - rx, y - ry, x + rx, y + ry], fill=colour)


def polygon(brush: ImageDraw.ImageDraw, corners, colour: Colour | int) -> None:
    """A filled polygon; `corners` (n, 2)."""
    brush.polygon([(float(x), float(y)) for x, y in corners], fill=colour)


def lines_of_text(random, brush, x: float, y: float, width: float, height: float, colour: Colour) -> None:
    """Words as short bars: all that is left of text at the size of a background."""
    size = random.uniform(2, 6)
    for top in np.arange(y, y + height - size, size * 2):
        at = x
        while at < x + width * random.uniform(0.75, 1.0):
            word = random.uniform(1, 5) * size
            box(brush, at, top, min(word, x + width - at), size * random.uniform(0.5, 0.9), colour)
            at += word + size


def clutter(random, brush: ImageDraw.ImageDraw, largest: float = 110) -> None:
    """A thing of any kind: block, disc, polygon, stick, page, or a frame."""
    x, y = random.uniform(0, SIDE, 2)
    width, height = np.exp(random.uniform(np.log(4), np.log(largest), 2))
    colour, kind = tone(random, 0.7), random.randint(6)
    if kind == 0:
        box(brush, x, y, width, height, colour)
        box(brush, x, y, width, height * random.uniform(0.05, 0.4), shade(colour, random.uniform(0.6, 1.4)))
    elif kind == 1:
        disc(brush, x, y, width / 2, height / 2, colour)
        disc(brush, x - width * 0.1, y - height * 0.1, width / 4, height / 4, shade(colour, 1.25))
    elif kind == 2:
        angles = np.sort(random.uniform(0, 2 * np.pi, random.randint(3, 7)))
        corners = (x, y) + np.stack([width * np.cos(angles), height * np.sin(angles)], 1) * 0.7
        polygon(brush, corners, colour)
    elif kind == 3:
        end = np.array([x, y]) + random.normal(0, largest, 2)
        brush.line([x, y, *map(float, end)], fill=colour, width=int(random.uniform(1, 9)))
    elif kind == 4:
        paper = tone(random, 0.1, 0.7)
        box(brush, x, y, width, height, paper)
        lines_of_text(random, brush, x + 2, y + 2, width - 4, height - 4, shade(paper, 0.4))
    else:
        brush.rectangle([x, y, x + width, y + height], outline=colour, width=int(random.uniform(1, 7)))
