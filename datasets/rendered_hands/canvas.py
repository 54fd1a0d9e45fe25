"""The picture while it is drawn: colour, depth and the hand's mask, filled by whatever is nearest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt16

from pmd_jax.data.hand import DEPTH_UNIT_M

from .raster import Hits


class Canvas(NamedTuple):
    """A batch of pictures."""

    rgb: UInt8[np.ndarray, "b h w 3"]
    depth: UInt16[np.ndarray, "b h w"]  # 0.1 mm, 0 where nothing but background is
    mask: Bool[np.ndarray, "b h w"]
    shown: Bool[np.ndarray, "b h w"]  # false where the crop reaches beyond the picture it was cut from

    def put(
        self,
        hits: Hits,
        colour: UInt8[np.ndarray, "n 3"],
        is_hand: Bool[np.ndarray, " n"],
        rows: Int[np.ndarray, " r"] | None = None,
    ) -> None:
        """Draws covered pixels where nothing nearer is; `rows`: the pictures that the hits' samples are."""
        depth = np.clip(hits.depth_m * (1 / DEPTH_UNIT_M) + 0.5, 1, 65535).astype(np.uint16)
        pixel = hits.pixel
        if rows is not None:
            pixel = pixel + (rows[hits.sample] - hits.sample) * self.depth[0].size
        there = self.depth.reshape(-1)[pixel]
        front = (there == 0) | (depth < there)
        pixel = pixel[front]
        self.rgb.reshape(-1, 3)[pixel] = colour[front]
        self.depth.reshape(-1)[pixel] = depth[front]
        self.mask.reshape(-1)[pixel] = is_hand[front]


def on(rgb: UInt8[np.ndarray, "b h w 3"]) -> Canvas:
    """A canvas with nothing on it but the background."""
    shape = rgb.shape[:3]
    return Canvas(rgb, np.zeros(shape, np.uint16), np.zeros(shape, bool), np.ones(shape, bool))
