"""Painted surroundings with the structure of photographs: shelves, rooms, gardens, desks, screens, people, streets.

A scene is a square picture from a frozen random stream. What matters is not that one could name the things, but edges
at all scales, in the colours and contrasts of photographs.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFilter

from .paint import SIDE, box, canvas, clutter, disc, hsv, lines_of_text, noise, polygon, shade, skin_tone, tone


def shelves(random) -> Image.Image:
    """Books, boxes and gaps on boards."""
    wood = tone(random, 0.6, 0.2, 0.9, hue=0.08)
    picture, brush = canvas(random, shade(wood, 0.45))
    y, height = random.uniform(-40, 0), random.uniform(50, 110)
    while y < SIDE:
        x = random.uniform(-20, 0)
        while x < SIDE:
            if random.rand() < 0.12:
                x += random.uniform(5, 60)
                continue
            width, tall = random.uniform(4, 22), height * random.uniform(0.5, 0.9)
            cover = tone(random, 0.9, 0.1, 0.95)
            box(brush, x, y + height - tall, width, tall, cover)
            box(brush, x, y + height - tall * random.uniform(0.4, 0.9), width, tall * 0.12, tone(random, 0.5))
            box(brush, x + width - 1, y + height - tall, 1, tall, shade(cover, 0.5))
            x += width
        box(brush, 0, y + height, SIDE, height * 0.09, wood)
        box(brush, 0, y + height * 1.09, SIDE, height * 0.05, shade(wood, 0.4))
        y += height * 1.12
    return picture


def leaves(random) -> Image.Image:
    """A hedge or plant: many leaves over the dark, lighter towards the front, sometimes with flowers."""
    hue = random.choice([0.27, 0.3, 0.33, 0.22, 0.12], p=[0.3, 0.25, 0.2, 0.15, 0.1])
    picture, brush = canvas(random, tone(random, 0.7, 0.04, 0.25, hue=hue))
    size = random.uniform(3, 16)
    bright = random.uniform(0.5, 1.0)
    for depth in np.linspace(0.15, 1, 900):
        x, y = random.uniform(-10, SIDE + 10, 2)
        length, angle = size * random.uniform(0.5, 1.6), random.uniform(0, 2 * np.pi)
        along = length * np.array([np.cos(angle), np.sin(angle)])
        across = 0.35 * along[::-1] * (1, -1)
        corners = np.array([x, y]) + np.stack([-along, across, along, -across])
        colour = hsv(hue + random.normal(0, 0.02), random.uniform(0.3, 0.8), depth * bright)
        polygon(brush, corners, colour)
    if random.rand() < 0.4:
        flower = tone(random, 0.9, 0.8)
        for x, y in random.uniform(0, SIDE, (random.randint(5, 60), 2)):
            disc(brush, x, y, size * 0.5, size * 0.4, flower)
    return picture


def ground(random) -> Image.Image:
    """Grass, gravel, earth, asphalt, carpet: one colour, unevenness at all scales; things on it."""
    picture = Image.fromarray(_surface(random))
    brush = ImageDraw.Draw(picture)
    for _ in range(random.randint(0, 30)):
        clutter(random, brush, 40)
    return picture


def garden(random) -> Image.Image:
    """Ground in front, a path, a bed or hedge behind it, and a wall or the sky above."""
    rows = np.cumsum([0, random.uniform(0, 0.35), random.uniform(0.05, 0.45)]) * SIDE
    picture = wall(random) if random.rand() < 0.5 else pattern(random)
    top, middle = int(rows[1]), int(rows[2])
    picture.paste(leaves(random).crop((0, 0, SIDE, SIDE - top)), (0, top))
    front = Image.fromarray(_surface(random, random.choice([0.24, 0.28, 0.1])))
    picture.paste(front.crop((0, 0, SIDE, SIDE - middle)), (0, middle))
    if random.rand() < 0.6:
        path, left, right = Image.fromarray(_surface(random, 0.09)), *np.sort(random.uniform(-0.3, 1.3, 2)) * SIDE
        mask, lean = Image.new("L", (SIDE, SIDE)), random.uniform(-1, 1) * SIDE
        corners = [(left, middle), (left + 0.3 * (right - left), middle), (right + lean, SIDE), (left + lean, SIDE)]
        polygon(ImageDraw.Draw(mask), corners, 255)
        picture.paste(path, (0, 0), mask)
    return picture


def _surface(random, hue: float | None = None) -> UInt8[np.ndarray, "side side 3"]:
    hue = random.choice([0.25, 0.28, 0.09, 0.1, 0.6]) if hue is None else hue
    base = np.array(tone(random, 0.85 if hue < 0.5 else 0.1, 0.3, 0.8, hue=hue), float)
    grain = noise(random, random.uniform(0.1, 0.9), random.choice([1.0, 2.5])) * random.uniform(0.1, 0.35)
    uneven = noise(random, 1.6) * random.uniform(0.02, 0.2)
    values = base * np.exp(grain + uneven)[..., None]
    values += noise(random, 0.4)[..., None] * random.uniform(0, 14, 3)
    return np.clip(values, 0, 255).astype(np.uint8)


def dead_leaves(random) -> Image.Image:
    """Things over things, small ones more often: the statistics of photographs without their meaning."""
    picture, brush = canvas(random, tone(random))
    largest = random.uniform(60, 220)
    for _ in range(random.randint(60, 260)):
        clutter(random, brush, largest)
    return picture


def wall(random) -> Image.Image:
    """A plain wall or curtain with its light, a socket, a switch, a skirting board."""
    picture, brush = canvas(random, tone(random, 0.3, 0.35, 1.0))
    if random.rand() < 0.35:
        period, x = random.uniform(12, 50), np.arange(SIDE)
        wave = np.sin(x * 2 * np.pi / period + 2 * np.sin(x / random.uniform(30, 90)))
        folds = 1 + random.uniform(0.08, 0.35) * wave
        picture = Image.fromarray(np.clip(np.asarray(picture) * folds[None, :, None], 0, 255).astype(np.uint8))
        brush = ImageDraw.Draw(picture)
    if random.rand() < 0.5:
        y = random.uniform(0.5, 1) * SIDE
        box(brush, 0, y, SIDE, SIDE, tone(random, 0.4, 0.1, 0.8))
        box(brush, 0, y, SIDE, random.uniform(3, 14), tone(random, 0.2))
    for _ in range(random.randint(0, 4)):
        clutter(random, brush, 60)
    return picture


def window(random, brush, x: float, y: float, width: float, height: float) -> None:
    """Bright panes in a frame, with or without something outside."""
    frame = tone(random, 0.3, 0.1, 0.9)
    box(brush, x - 5, y - 5, width + 10, height + 10, frame)
    sky = tone(random, 0.3, 0.85, hue=0.58)
    columns, rows = random.randint(1, 4), random.randint(1, 3)
    for row in range(rows):
        for column in range(columns):
            left, top = x + width * column / columns + 2, y + height * row / rows + 2
            box(brush, left, top, width / columns - 4, height / rows - 4, sky)
            box(brush, left, top + height / rows * 0.7, width / columns - 4, height / rows * 0.3 - 4, tone(random, 0.6))


def room(random) -> Image.Image:
    """Walls and a floor in the light of the windows, boards, doors, rows of chairs and tables."""
    paint = tone(random, 0.25, 0.45, 1.0)
    picture, brush = canvas(random, paint)
    horizon = random.uniform(0.4, 0.85) * SIDE
    floor = [(0, horizon + random.uniform(-30, 30)), (SIDE, horizon), (SIDE, SIDE), (0, SIDE)]
    polygon(brush, floor, tone(random, 0.35))
    if random.rand() < 0.6:
        corner, side = random.uniform(0.1, 0.9) * SIDE, shade(paint, random.uniform(0.6, 0.9))
        polygon(brush, [(corner, 0), (SIDE, 0), (SIDE, horizon), (corner, horizon - 10)], side)
    for _ in range(random.randint(0, 5)):
        x, y = random.uniform(0, SIDE), random.uniform(0, horizon * 0.6)
        width, height = random.uniform(30, 160), random.uniform(30, 130)
        if random.rand() < 0.6:
            window(random, brush, x, y, width, height)
        else:
            box(brush, x, y, width, height, tone(random, 0.3, 0.0, 0.3))
            lines_of_text(random, brush, x + 6, y + 6, width - 12, height - 12, tone(random, 0.2, 0.3))
    _seats(random, brush, horizon)
    for _ in range(random.randint(0, 8)):
        clutter(random, brush, 70)
    return picture


def _seats(random, brush: ImageDraw.ImageDraw, horizon: float) -> None:
    """Chairs with backs and legs, larger towards the front."""
    dark = tone(random, 0.4, 0.02, 0.4)
    for y in np.sort(horizon + random.uniform(-40, 120, random.choice([0, 0, 5, 14, 30, 45]))):
        x, scale = random.uniform(-20, SIDE), 0.5 + max(y - horizon, 0) / 60
        box(brush, x, y, 30 * scale, 9 * scale, dark)
        box(brush, x + 3 * scale, y - 22 * scale, 22 * scale, 16 * scale, shade(dark, random.uniform(0.8, 1.6)))
        for leg in (3, 26):
            brush.line([x + leg * scale, y, x + leg * scale, y + 30 * scale], fill=dark, width=max(int(2 * scale), 1))


def desk(random) -> Image.Image:
    """A table top from above: grain, paper, a keyboard, cups, cables."""
    wooden = random.rand() < 0.6
    base = np.array(tone(random, 0.6, 0.15, 0.95, hue=0.08) if wooden else tone(random, 0.15, 0.1, 1.0), float)
    grain = noise(random, 1.1, random.uniform(5, 20)) * random.uniform(0.01, 0.12)
    picture = Image.fromarray(np.clip(base * (1 + grain[..., None]), 0, 255).astype(np.uint8))
    brush = ImageDraw.Draw(picture)
    if random.rand() < 0.5:
        keyboard(random, brush)
    for _ in range(random.randint(1, 14)):
        clutter(random, brush, 130)
    for _ in range(random.randint(0, 3)):
        points = np.cumsum(random.normal(0, 40, (9, 2)), 0) + random.uniform(0, SIDE, 2)
        brush.line(
            [tuple(map(float, point)) for point in points],
            fill=tone(random, 0.3, 0, 0.4),
            width=random.randint(2, 5),
            joint="curve",
        )
    return picture


def keyboard(random, brush) -> None:
    """Keys in rows."""
    x, y = random.uniform(-80, 150), random.uniform(0, 260)
    key, body = random.uniform(12, 24), tone(random, 0.1, 0.0, 0.9)
    cap = shade(body, 0.6) if sum(body) > 380 else shade(np.array(body) + 40)
    box(brush, x, y, key * 14, key * 5.4, body)
    for row in range(5):
        for column in range(13):
            left, top = x + key * (column + 0.3 + 0.2 * row % 0.7), y + key * (row + 0.2)
            box(brush, left, top, key * 0.8, key * 0.8, cap)
            box(brush, left + key * 0.2, top + key * 0.2, key * 0.25, key * 0.3, shade(body, 0.9))


def screen(random) -> Image.Image:
    """A monitor, a page, a poster: text, pictures and empty space in columns."""
    page = tone(random, 0.15, 0.8) if random.rand() < 0.6 else tone(random, 0.3, 0.02, 0.2)
    ink = shade(page, 0.3) if sum(page) > 380 else tone(random, 0.3, 0.6)
    picture, brush = canvas(random, page)
    for _ in range(random.randint(4, 12)):
        x, y = random.uniform(-40, SIDE, 2)
        width, height = random.uniform(40, 200), random.uniform(20, 160)
        if random.rand() < 0.65:
            lines_of_text(random, brush, x, y, width, height, ink)
        else:
            box(brush, x, y, width, height, tone(random, 0.9, 0.2))
    return picture


def pattern(random) -> Image.Image:
    """Bricks, tiles, planks or checked cloth."""
    stone, joint = tone(random, 0.7, 0.25, 0.9, hue=random.choice([0.03, 0.08, 0.6])), tone(random, 0.2, 0.3, 0.9)
    picture, brush = canvas(random, joint)
    width, height = random.uniform(14, 90), random.uniform(8, 40)
    offset, gap = random.choice([0, 0.5]), random.uniform(1, 4)
    for row in range(int(SIDE / height) + 1):
        for column in range(-1, int(SIDE / width) + 2):
            x = (column + offset * (row % 2)) * width
            box(brush, x, row * height, width - gap, height - gap, shade(stone, random.uniform(0.75, 1.2)))
    return picture


def person(random) -> Image.Image:
    """Somebody behind the hand: shoulders, neck, head, hair, a face; an arm, and what is behind them."""
    picture = (room, wall, shelves, dead_leaves)[random.randint(4)](random)
    picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(0, 6)))
    brush, skin, cloth = ImageDraw.Draw(picture), skin_tone(random), tone(random, 0.6)
    x, y, size = random.uniform(0.15, 0.85) * SIDE, random.uniform(0.05, 0.5) * SIDE, random.uniform(40, 110)
    hair = tone(random, 0.6, 0.02, 0.5, hue=0.07)
    disc(brush, x, y + 2.9 * size, 1.9 * size, 1.6 * size, cloth)
    box(brush, x - 0.35 * size, y + 0.6 * size, 0.7 * size, size, shade(skin, 0.75))
    disc(brush, x, y - 0.15 * size, 0.85 * size, 1.05 * size, hair)
    disc(brush, x, y + 0.1 * size, 0.7 * size, 0.95 * size, skin)
    disc(brush, x + 0.25 * size, y + 0.1 * size, 0.4 * size, 0.7 * size, shade(skin, 1.08))
    for side in (-1, 1):
        disc(brush, x + side * 0.28 * size, y, 0.11 * size, 0.05 * size, shade(skin, 0.3))
        box(brush, x + side * 0.28 * size - 0.15 * size, y - 0.15 * size, 0.3 * size, 0.05 * size, hair)
    box(brush, x - 0.05 * size, y + 0.05 * size, 0.1 * size, 0.3 * size, shade(skin, 0.85))
    disc(brush, x, y + 0.55 * size, 0.22 * size, 0.06 * size, shade(skin, 0.6))
    if random.rand() < 0.6:
        elbow = x + random.normal(0, 1.5 * size)
        points = [(elbow, y + 2.6 * size), (elbow + random.normal(0, 1.5 * size), SIDE * random.uniform(0.3, 1.0))]
        brush.line(points, fill=skin, width=int(0.45 * size))
    return picture


def street(random) -> Image.Image:
    """Sky, buildings with windows, trees, a road."""
    picture, brush = canvas(random, tone(random, 0.5, 0.6, 1.0, hue=0.58))
    horizon = random.uniform(0.4, 0.8) * SIDE
    for _ in range(random.randint(2, 9)):
        x, width, top = random.uniform(-50, SIDE), random.uniform(40, 150), random.uniform(0, horizon)
        front = tone(random, 0.4, 0.2, 0.95)
        box(brush, x, top, width, horizon - top, front)
        step, pane = random.uniform(8, 26), tone(random, 0.3, 0.05, 0.9)
        for left in np.arange(x + 4, x + width - step, step):
            for high in np.arange(top + 4, horizon - step, step * 1.3):
                box(brush, left, high, step * 0.55, step * 0.7, shade(pane, random.uniform(0.6, 1.3)))
    for _ in range(random.randint(0, 220)):
        x, y = random.uniform(0, SIDE), horizon + random.normal(-20, 30)
        disc(brush, x, y, 9, 7, tone(random, 0.8, 0.1, 0.6, hue=0.28))
    box(brush, 0, horizon, SIDE, SIDE, tone(random, 0.3, 0.2, 0.7))
    for _ in range(random.randint(0, 14)):
        clutter(random, brush, 60)
    return picture


def lights(random) -> Image.Image:
    """Night: discs of light out of focus."""
    picture, brush = canvas(random, tone(random, 0.7, 0.02, 0.2))
    size = random.uniform(4, 26)
    for _ in range(random.randint(10, 90)):
        x, y = random.uniform(0, SIDE, 2)
        disc(brush, x, y, size, size, tone(random, 0.9, 0.4))
    return picture.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 5)))


_PAINTERS = (
    room, shelves, leaves, garden, dead_leaves, desk, person, wall, screen, room, street, pattern, garden, person,
    desk, room, wall, lights, ground, shelves,
)  # fmt: skip


def scene(number: int) -> UInt8[np.ndarray, "side side 3"]:
    """Scene `number` of an endless row, with its light, its shadows and the unevenness of real surfaces."""
    random = np.random.RandomState(52_000 + number)
    picture = _PAINTERS[number % len(_PAINTERS)](random)
    if random.rand() < 0.35:  # out of the depth of field; the hand is rarely in the plane of the wall
        picture = picture.filter(ImageFilter.GaussianBlur(float(np.exp(random.uniform(np.log(0.5), np.log(6))))))
    values = np.asarray(picture, np.float32)
    uneven = noise(random, random.uniform(0.5, 1.2)) * random.uniform(0.005, 0.05)
    uneven += noise(random, 2.0) * random.uniform(0, 0.09)
    values = values * np.exp(uneven).astype(np.float32)[..., None]
    if random.rand() < 0.4:
        values *= _shadow(random)[..., None]
    # Photographs have more contrast than flat paint: sunlit and unlit, windows and what stands before them.
    light = values.mean(2, keepdims=True)
    contrast = np.clip(random.uniform(30, 85) / (light.std() + 1), 0.8, 2.0)
    values += (contrast - 1) * (light - light.mean()) + random.normal(0, 12)
    return np.clip(values, 0, 255).astype(np.uint8)


def _shadow(random) -> Float[np.ndarray, "side side"]:
    """The soft edge of something that stands in the light."""
    mask = Image.new("L", (SIDE, SIDE), 255)
    corners = random.uniform(-0.3, 1.3, (random.randint(3, 6), 2)) * SIDE
    polygon(ImageDraw.Draw(mask), corners, int(255 * random.uniform(0.25, 0.8)))
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(random.uniform(1, 25))), np.float32) / 255
