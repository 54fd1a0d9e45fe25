"""The plain style: one hand, a sleeve at most, before a soft background."""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float, UInt8

from . import background, camera, canvas, light, mesh, skin
from .raster import Hits
from .scene import Scene


def draw(scene: Scene, points, normals, hits: Hits, shape: tuple[int, int]) -> canvas.Canvas:
    """A batch of pictures.

    Args:
        points, normals: the hand's surface in the camera frame (`scene.surface`).
        hits: the pixels that it covers.
        shape: height and width.
    """
    hand = mesh.load()
    drawn = canvas.on(background.paint(scene.backdrop, shape))
    lighting = light.light(hand, points, normals, scene.radiance, scene.exposure)
    drawn.put(hits, _shade(hand, hits, scene.look, lighting), ~hand.is_forearm[hits.face])
    return drawn._replace(rgb=camera.capture(scene.sensor, drawn.rgb))


def _shade(hand: mesh.HandMesh, hits: Hits, look: skin.Look, lighting: light.Lighting) -> UInt8[np.ndarray, "n 3"]:
    """Colours of the covered pixels."""
    corners = hand.faces[hits.face]
    lit = np.concatenate([lighting.irradiance, lighting.gloss, skin.albedo(hand, look)], -1).reshape(-1, 9)
    offset = hits.sample * len(hand.vertices)
    at_pixel = hits.interpolate(lit, corners + offset[:, None])
    rest = hits.interpolate(_rest_attributes(), corners)
    colour, shine = skin.surface_colour(look, hits.sample, rest[:, :2], rest[:, 2], at_pixel[:, 6:])
    return camera.expose(colour * at_pixel[:, :3] + shine[:, None] * at_pixel[:, 3:6])


@cache
def _rest_attributes() -> Float[np.ndarray, "v 3"]:
    """Rest x, y and the share of palm."""
    hand = mesh.load()
    return np.concatenate([hand.vertices[:, :2], skin.palm_share()[:, None]], 1).astype(np.float32)
