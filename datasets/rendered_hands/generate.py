"""Seed and indices in, prepared examples out: a scene is drawn at random, then pictured.

A sample is a function of (seed, index, settings) alone: it comes out the same, bit for bit, in every batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from pmd_jax.data.cropping import CropBox, crop_intrinsics, crop_points
from pmd_jax.data.hand import DEPTH_UNIT_M, NUM_JOINTS, project

from . import mesh, photo, plain
from .raster import rasterise
from .scene import Scene, rows, sample_scene, surface
from .view import VIEWS, CropFrame, FullFrame, around_surface

STYLES = {"plain": sample_scene, "photo": photo.sample_scene}
_CHUNK_PIXELS = 110_000  # larger temporaries fall out of the cache
# How far a joint that is seen lies under the skin. Over 512 pictures finger joints in view end at 18 mm, few follow up
# to 35 mm, then come those behind another finger; wrist, thumb base and MCPs reach 30 mm when seen from the palm.
SEEN_M = np.where(np.isin(np.arange(NUM_JOINTS), (0, 1, 2, 5, 9, 13, 17)), 0.030, 0.020)


@dataclass(frozen=True)
class Settings:
    """What is drawn.

    Raises:
        ValueError: `views` is not a name of `view.VIEWS`, or `style` none of `STYLES`.
    """

    frame: CropFrame | FullFrame = field(default_factory=CropFrame)
    views: str = "rhd_like"  # or another of `view.VIEWS`
    style: str = "plain"  # or "photo": as pictures of hands look

    def __post_init__(self):
        for name, known in (("views", VIEWS), ("style", STYLES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} = {getattr(self, name)!r} is unknown; choose one of {', '.join(known)}.")


def render(seed: int, indices: Sequence[int], settings: Settings) -> dict[str, np.ndarray]:
    """Draws samples of the stream `seed`.

    Returns:
        With n = len(indices) and an h × w picture (the crop's size, or the full frame): `rgb` (n, h, w, 3) uint8 sRGB;
        `depth` (n, h, w) uint16 in 0.1 mm, 0 behind the hand; `mask` (n, h, w) bool, hand without forearm; `xyz`
        (n, 21, 3) float32 in metres, camera frame; `uv` (n, 21, 2) float32 in pixels, centres at integers; `visible`
        (n, 21) bool, not occluded and inside the picture; `K` (n, 3, 3) float32; `is_left` (n,) bool.
    """
    scene = STYLES[settings.style](seed, indices, settings.views, settings.frame)
    height, width = settings.frame.shape
    step = max(1, _CHUNK_PIXELS // (height * width))
    chunks = [picture(rows(scene, slice(i, i + step)), settings.frame) for i in range(0, len(indices), step)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def picture(scene: Scene | photo.PhotoScene, frame: CropFrame | FullFrame) -> dict[str, np.ndarray]:
    """Draws a batch of scenes, as `render` returns them; nothing is random from here on."""
    hand, placement = mesh.load(), scene.placement
    points, normals = surface(scene.shape, scene.bones, placement, scene.lift())
    if isinstance(frame, CropFrame) and frame.box == "mask":
        placement = placement._replace(K=around_surface(points[:, hand.is_hand], frame))
        scene = scene._replace(placement=placement)
    xyz, K = placement.to_camera(scene.labels), placement.K
    winding = np.where(placement.is_left, -1, 1)
    hits = rasterise(project(points, K.astype(np.float32)), points[..., 2], hand.faces, winding, frame.shape)
    if isinstance(scene, photo.PhotoScene):
        drawn = photo.draw(scene, points, normals, hits, frame.shape)
    else:
        drawn = plain.draw(scene, points, normals, hits, frame.shape)
    rgb, depth, mask, shown = drawn
    uv = project(xyz, K)
    visible = _visible(uv, xyz[..., 2], depth, shown)
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


def _visible(
    uv: Float[np.ndarray, "b 21 2"], z_m: Float[np.ndarray, "b 21"], depth, shown: Bool[np.ndarray, "b h w"]
) -> Bool[np.ndarray, "b 21"]:
    """Inside the picture and not more than `SEEN_M` behind the surface there (or beside the hand, at its border)."""
    height, width = depth.shape[1:]
    column, row = np.moveaxis(np.rint(uv).astype(np.int64), -1, 0)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    there = np.arange(len(uv))[:, None], row.clip(0, height - 1), column.clip(0, width - 1)
    nearest = depth[there] * DEPTH_UNIT_M
    return inside & shown[there] & ((nearest == 0) | (z_m - nearest < SEEN_M))


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
