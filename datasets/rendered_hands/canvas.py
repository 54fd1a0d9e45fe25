"""The picture while it is drawn: colour, depth and the hand's mask, filled by whatever is nearest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Int64, UInt8, UInt16

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

    def darken_crevices(self, strength: Float[np.ndarray, " b"]) -> None:
        """Less light reaches what lies deeper than all around it: between fingers, beside and under things.

        Screen-space ambient occlusion, from the depth of a window of pixels against its middle's.
        """
        radius = max(2, self.depth.shape[1] // 32)
        there = self.depth > 0
        total, count = _window_sums(self.depth * there, radius), _window_sums(there, radius)
        deeper = self.depth - total / np.maximum(count, 1)  # 0.1 mm
        # A round finger's edge lies 4 mm deeper than its middle, and is no crevice, nor is what lies far behind.
        share = np.clip((deeper - 40) / 160, 0, 1) * np.clip((400 - deeper) / 250, 0, 1) * there
        kept = (256 * (1 - strength[:, None, None] * share)).astype(np.uint16)
        np.copyto(self.rgb, ((self.rgb * kept[..., None]) >> 8).astype(np.uint8))


def _window_sums(values: np.ndarray, radius: int) -> Int64[np.ndarray, "b h w"]:
    """Sums over squares of 2·radius + 1 pixels; beyond the picture there is nothing."""
    for axis in (1, 2):
        pad = [(0, 0)] * 3
        pad[axis] = (radius + 1, radius)
        sums = np.cumsum(np.pad(values, pad), axis, dtype=np.int64)
        size = values.shape[axis]
        values = sums.take(range(2 * radius + 1, size + 2 * radius + 1), axis) - sums.take(range(size), axis)
    return values


def on(rgb: UInt8[np.ndarray, "b h w 3"]) -> Canvas:
    """A canvas with nothing on it but the background."""
    shape = rgb.shape[:3]
    return Canvas(rgb, np.zeros(shape, np.uint16), np.zeros(shape, bool), np.ones(shape, bool))
