"""Predicted hands for people: on the picture, and turning in space. Arrays in, Pillow images out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from pmd_jax.predict.hand_pose import HandPose
from pmd_jax.viz.skeleton import draw_skeleton

LONGEST_PX = 1600  # of an overlay: a photograph's own size helps nobody
TURNS = 36  # pictures of a turntable


def overlay(picture: UInt8[np.ndarray, "h w 3"], found: HandPose) -> Image.Image:
    """The picture, at most `LONGEST_PX` long, with the box that the network saw and the joints placed in it."""
    shrink = min(1.0, LONGEST_PX / max(picture.shape[:2]))
    image = Image.fromarray(picture)
    if shrink < 1:
        image = image.resize((round(image.width * shrink), round(image.height * shrink)), Image.Resampling.BOX)
    uv_px = (found.uv_px + 0.5) * shrink - 0.5
    x0, y0, side = (value * shrink for value in found.box)
    # Only the square is drawn anew: the smooth lines need a magnified copy.
    left, top = max(0, int(x0)), max(0, int(y0))
    square = image.crop((left, top, min(image.width, int(x0 + side) + 1), min(image.height, int(y0 + side) + 1)))
    image.paste(draw_skeleton(np.asarray(square), uv_px - [left, top], 1, z=found.joints[:, 2]), (left, top))
    draw, thin = ImageDraw.Draw(image), max(1, round(side / 200))
    for grow, colour in ((thin, "#1a1a1a"), (0, "white")):
        draw.rectangle((x0 - grow, y0 - grow, x0 + side + grow, y0 + side + grow), outline=colour, width=thin)
    return image


def turntable(poses: Float[np.ndarray, "n 21 3"], size: int = 320) -> list[Image.Image]:
    """One picture a pose, each turned a little further about the vertical axis: `TURNS` of them are a full turn.

    Orthographic; all share one scale. For one hand that turns give its pose `TURNS` times.
    """
    middle = (poses.min(1, keepdims=True) + poses.max(1, keepdims=True)) / 2
    centred = poses - middle
    px_per_unit = 0.45 * size / max(np.linalg.norm(centred, axis=-1).max(), 1e-6)
    blank = np.full((size, size, 3), 250, np.uint8)
    images = []
    for i, pose in enumerate(centred):
        angle = 2 * np.pi * i / TURNS
        x = np.cos(angle) * pose[:, 0] + np.sin(angle) * pose[:, 2]
        z = np.cos(angle) * pose[:, 2] - np.sin(angle) * pose[:, 0]
        uv_px = np.stack([x, pose[:, 1]], -1) * px_per_unit + (size - 1) / 2
        images.append(draw_skeleton(blank, uv_px, 1, z=z))
    return images
