"""What is behind the hand: a bank of blurred rooms, foliage and desks, drawn once from a frozen random stream."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFilter

from .draws import Draws

BANK_SIZE, BANK_SIDE = 32, 448
# Muted walls, wood, plants, cloth, and skin tones as distractors: random colours look garish and are too easy.
_PALETTE = np.array(
    [
        (232, 228, 220), (206, 200, 190), (176, 170, 160), (140, 136, 130), (96, 94, 92), (52, 52, 54), (28, 28, 30),
        (150, 112, 78), (182, 142, 102), (112, 80, 56), (76, 56, 42), (88, 104, 74), (58, 78, 54), (128, 140, 110),
        (112, 130, 150), (74, 92, 118), (44, 58, 82), (168, 184, 198), (160, 70, 58), (196, 150, 84), (120, 100, 124),
        (226, 188, 160), (192, 144, 112), (130, 90, 66),
    ],
    np.uint8,
)  # fmt: skip


class Backdrop(NamedTuple):
    """A piece of the bank for each picture."""

    which: Int[np.ndarray, " b"]
    step: Int[np.ndarray, " b"]  # every step-th pixel, as far as the bank is large enough: near and far
    origin: Float[np.ndarray, "b 2"]  # share of the room there is to move, rows and columns
    mirrored: Bool[np.ndarray, " b"]
    curve: UInt8[np.ndarray, "b 3 256"]  # tone curve of each channel


def sample_backdrop(draws: Draws) -> Backdrop:
    """Draws piece, position, scale and tone."""
    gain = draws.uniform(1, low=0.55, high=1.2) * draws.uniform(3, low=0.88, high=1.12)
    gamma = draws.uniform(1, 1, low=0.7, high=1.4)
    curve = np.clip(255 * gain[:, :, None] * (np.arange(256) / 255) ** gamma, 0, 255).astype(np.uint8)
    return Backdrop(draws.integer(0, BANK_SIZE), draws.integer(1, 4), draws.uniform(2), draws.chance(0.5), curve)


def paint(backdrop: Backdrop, shape: tuple[int, int]) -> UInt8[np.ndarray, "b h w 3"]:
    """The backgrounds of a batch, height and width as in `shape`."""
    out = np.empty((len(backdrop.which), *shape, 3), np.uint8)
    largest = max(1, BANK_SIDE // max(shape))
    for sample, picture in enumerate(bank()[which] for which in backdrop.which):
        rows, columns = (
            _positions(backdrop.origin[sample, axis], min(backdrop.step[sample], largest), shape[axis])
            for axis in (0, 1)
        )
        piece = picture[rows].take(columns[::-1] if backdrop.mirrored[sample] else columns, axis=1)
        for channel in range(3):
            out[sample, ..., channel] = np.take(backdrop.curve[sample, channel], piece[..., channel])
    return out


def _positions(share: float, step: int, count: int) -> Int[np.ndarray, " {count}"]:
    """Every `step`-th row or column; where the bank is too small it goes on as in a mirror, so that no seam shows."""
    room = BANK_SIDE - step * count
    start = int(share * (room if room > 0 else 2 * BANK_SIDE))
    position = (start + step * np.arange(count)) % (2 * BANK_SIDE)
    return np.where(position < BANK_SIDE, position, 2 * BANK_SIDE - 1 - position)


@cache
def bank() -> UInt8[np.ndarray, "n side side 3"]:
    """The pictures that backgrounds are cut from."""
    random = np.random.RandomState(20190)
    painters = (_room, _desk, _room, _foliage, _room)
    return np.stack([painters[number % len(painters)](random) for number in range(BANK_SIZE)])


def _gradient(random) -> Image.Image:
    """Between two tones of the palette, in any direction."""
    first, second = _PALETTE[random.choice(len(_PALETTE), 2, replace=False)].astype(np.float32)
    angle = random.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:BANK_SIDE, :BANK_SIDE] / BANK_SIDE - 0.5
    share = np.clip(0.5 + x * np.cos(angle) + y * np.sin(angle), 0, 1)[..., None]
    return Image.fromarray((first * (1 - share) + second * share).astype(np.uint8))


def _room(random) -> np.ndarray:
    """Soft clutter at two depths of field."""
    picture = _gradient(random)
    for count, blur in ((14, 14), (16, 4)):
        brush = ImageDraw.Draw(picture)
        for _ in range(count):
            _clutter(random, brush)
        picture = picture.filter(ImageFilter.GaussianBlur(blur * random.uniform(0.6, 1.4)))
    return np.asarray(picture)


def _clutter(random, brush: ImageDraw.ImageDraw) -> None:
    colour = tuple(int(c) for c in np.clip(_PALETTE[random.randint(len(_PALETTE))] * random.uniform(0.7, 1.15), 0, 255))
    centre, size = random.uniform(0, BANK_SIDE, 2), random.uniform(12, 110, 2)
    kind = random.randint(3)
    if kind == 0:
        brush.ellipse([*(centre - size / 2), *(centre + size / 2)], fill=colour)
    elif kind == 1:
        brush.rectangle([*(centre - size / 2), *(centre + size / 2)], fill=colour)
    else:
        angles = np.sort(random.uniform(0, 2 * np.pi, random.randint(3, 7)))
        corners = centre + size * np.stack([np.cos(angles), np.sin(angles)], 1)
        brush.polygon([tuple(map(float, corner)) for corner in corners], fill=colour)


def noise(random, slope: float, stretch: float = 1.0, side: int = BANK_SIDE) -> Float[np.ndarray, "{side} {side}"]:
    """Noise whose amplitude falls as frequency^−slope, to zero mean and unit deviation; `stretch` draws it out."""
    fy, fx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    frequency = np.sqrt((fy * stretch) ** 2 + fx**2)
    frequency[0, 0] = 1
    spectrum = np.exp(2j * np.pi * random.rand(*frequency.shape)) * frequency**-slope
    spectrum[0, 0] = 0
    values = np.fft.irfft2(spectrum, (side, side))
    return values / values.std()


def _foliage(random) -> np.ndarray:
    """Leaves and light, as 1/f noise between three tones."""
    greens = _PALETTE[[6, 12, 11, 13]] if random.rand() < 0.6 else _PALETTE[random.choice(len(_PALETTE), 4)]
    level = np.clip(1.5 + 0.9 * noise(random, random.uniform(1.0, 1.6)), 0, 2.999)
    low, share = level.astype(int), (level % 1)[..., None]
    leaves = Image.fromarray((greens[low] * (1 - share) + greens[low + 1] * share).astype(np.uint8))
    return np.asarray(leaves.filter(ImageFilter.GaussianBlur(random.uniform(1, 4))))


def _desk(random) -> np.ndarray:
    """A wooden or plain table top with a few things on it."""
    base = _PALETTE[random.choice([7, 8, 9, 10, 0, 1, 4])].astype(np.float32)
    grain = noise(random, 1.2, stretch=random.uniform(6, 14))[..., None]
    picture = Image.fromarray(np.clip(base * (1 + 0.09 * grain), 0, 255).astype(np.uint8))
    brush = ImageDraw.Draw(picture)
    for _ in range(random.randint(2, 7)):
        _clutter(random, brush)
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(random.uniform(0.8, 3))))
