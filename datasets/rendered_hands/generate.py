"""Seed and indices in, prepared examples out: a scene is drawn at random, then pictured.

A sample is a function of (seed, index, settings) alone: it comes out the same, bit for bit, in every batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, UInt8

from pmd_jax.data.cropping import CropBox, crop_intrinsics, crop_points
from pmd_jax.data.hand import DEPTH_UNIT_M, NUM_JOINTS, project

from . import background, camera, light, mesh, skin
from .kinematics import skin as skin_vertices
from .raster import Hits, rasterise
from .scene import Scene, rows, sample_scene
from .view import VIEWS, CropFrame, FullFrame, around_surface

_CHUNK_PIXELS = 110_000  # larger temporaries fall out of the cache
# How far a joint that is seen lies under the skin. Over 512 pictures finger joints in view end at 18 mm, few follow up
# to 35 mm, then come those behind another finger; wrist, thumb base and MCPs reach 30 mm when seen from the palm.
SEEN_M = np.where(np.isin(np.arange(NUM_JOINTS), (0, 1, 2, 5, 9, 13, 17)), 0.030, 0.020)


@dataclass(frozen=True)
class Settings:
    """What is drawn.

    Raises:
        ValueError: `views` is not a name of `view.VIEWS`.
    """

    frame: CropFrame | FullFrame = field(default_factory=CropFrame)
    views: str = "rhd_like"  # or "uniform" on all rotations

    def __post_init__(self):
        if self.views not in VIEWS:
            raise ValueError(f"views = {self.views!r} is unknown; choose one of {', '.join(VIEWS)}.")


def render(seed: int, indices: Sequence[int], settings: Settings) -> dict[str, np.ndarray]:
    """Draws samples of the stream `seed`.

    Returns:
        With n = len(indices) and an h × w picture (the crop's size, or the full frame): `rgb` (n, h, w, 3) uint8 sRGB;
        `depth` (n, h, w) uint16 in 0.1 mm, 0 behind the hand; `mask` (n, h, w) bool, hand without forearm; `xyz`
        (n, 21, 3) float32 in metres, camera frame; `uv` (n, 21, 2) float32 in pixels, centres at integers; `visible`
        (n, 21) bool, not occluded and inside the picture; `K` (n, 3, 3) float32; `is_left` (n,) bool.
    """
    scene = sample_scene(seed, indices, settings.views, settings.frame)
    height, width = settings.frame.shape
    step = max(1, _CHUNK_PIXELS // (height * width))
    chunks = [picture(rows(scene, slice(i, i + step)), settings.frame) for i in range(0, len(indices), step)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def picture(scene: Scene, frame: CropFrame | FullFrame) -> dict[str, np.ndarray]:
    """Draws a batch of scenes, as `render` returns them; nothing is random from here on."""
    hand, placement = mesh.load(), scene.placement
    points, normals = _surface(hand, scene)
    if isinstance(frame, CropFrame) and frame.box == "mask":
        placement = placement._replace(K=around_surface(points[:, hand.is_hand], frame))
    winding = np.where(placement.is_left, -1, 1)
    hits = rasterise(project(points, placement.K.astype(np.float32)), points[..., 2], hand.faces, winding, frame.shape)

    rgb = background.paint(scene.backdrop, frame.shape)
    lighting = light.light(hand, points, normals, scene.radiance, scene.exposure)
    rgb.reshape(-1, 3)[hits.pixel] = _shade(hand, hits, scene.look, lighting)
    rgb = camera.capture(scene.sensor, rgb)
    depth = np.zeros(rgb.shape[:3], np.uint16)
    depth.reshape(-1)[hits.pixel] = np.clip(hits.depth_m * (1 / DEPTH_UNIT_M) + 0.5, 1, 65535)
    mask = np.zeros(rgb.shape[:3], bool)
    mask.reshape(-1)[hits.pixel] = ~hand.is_forearm[hits.face]

    xyz, K = placement.to_camera(scene.labels), placement.K
    uv = project(xyz, K)
    visible = _visible(uv, xyz[..., 2], depth)
    if isinstance(frame, CropFrame):
        rgb, depth, mask, uv, K = _reduce(frame, rgb, depth, mask, uv, K)
    return {
        "rgb": rgb,
        "depth": depth,
        "mask": mask,
        "xyz": xyz.astype(np.float32),
        "uv": uv.astype(np.float32),
        "visible": visible,
        "K": K.astype(np.float32),
        "is_left": placement.is_left,
    }


def _surface(hand: mesh.HandMesh, scene: Scene) -> tuple[Float[np.ndarray, "b v 3"], Float[np.ndarray, "b v 3"]]:
    """Vertices and unit normals in the camera frame, sleeves included."""
    # One product a sample, never one over the batch: BLAS rounds differently for other shapes.
    change = np.matmul(scene.shape.astype(np.float32)[:, None], hand.shape_basis)
    points, normals = skin_vertices(hand, hand.vertices + change.reshape(-1, *hand.vertices.shape), scene.bones)
    points += normals * skin.sleeve_offset(hand, scene.look)[..., None]
    return scene.placement.to_camera(points), scene.placement.turn(normals)


def _shade(hand: mesh.HandMesh, hits: Hits, look: skin.Look, lighting: light.Lighting) -> UInt8[np.ndarray, "n 3"]:
    """Colours of the covered pixels."""
    corners = hand.faces[hits.face]
    lit = np.concatenate([lighting.irradiance, lighting.gloss, skin.albedo(hand, look)], -1).reshape(-1, 9)
    offset = hits.sample * len(hand.vertices)
    at_pixel, rest = np.zeros((len(corners), 9), np.float32), np.zeros((len(corners), 3), np.float32)
    for corner in range(3):
        share = hits.share[corner, :, None]
        at_pixel += np.take(lit, corners[:, corner] + offset, axis=0) * share
        rest += np.take(_rest_attributes(), corners[:, corner], axis=0) * share
    colour, shine = skin.surface_colour(look, hits.sample, rest[:, :2], rest[:, 2], at_pixel[:, 6:])
    return camera.expose(colour * at_pixel[:, :3] + shine[:, None] * at_pixel[:, 3:6])


@cache
def _rest_attributes() -> Float[np.ndarray, "v 3"]:
    """Rest x, y and the share of palm."""
    hand = mesh.load()
    return np.concatenate([hand.vertices[:, :2], skin.palm_share()[:, None]], 1).astype(np.float32)


def _visible(uv: Float[np.ndarray, "b 21 2"], z_m: Float[np.ndarray, "b 21"], depth) -> Bool[np.ndarray, "b 21"]:
    """Inside the picture and not more than `SEEN_M` behind the surface there (or beside the hand, at its border)."""
    height, width = depth.shape[1:]
    column, row = np.moveaxis(np.rint(uv).astype(np.int64), -1, 0)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    surface = depth[np.arange(len(uv))[:, None], row.clip(0, height - 1), column.clip(0, width - 1)] * DEPTH_UNIT_M
    return inside & ((surface == 0) | (z_m - surface < SEEN_M))


def _reduce(frame: CropFrame, rgb, depth, mask, uv, K):
    """From the size drawn to the crop's: colour by area, depth and mask by nearest sample (`cropping.crop_depth`)."""
    factor = frame.draw_size // frame.size
    box = CropBox(0.0, 0.0, frame.draw_size)
    colour = np.full((len(rgb), frame.size, frame.size, 3), factor * factor // 2, np.uint32)
    for row in range(factor):
        for column in range(factor):
            colour += rgb[:, row::factor, column::factor]
    colour //= factor * factor
    nearest = slice(factor // 2, None, factor)
    K = np.stack([crop_intrinsics(one, box, frame.size) for one in K])
    uv = crop_points(uv, box, frame.size)
    return colour.astype(np.uint8), depth[:, nearest, nearest], mask[:, nearest, nearest], uv, K
