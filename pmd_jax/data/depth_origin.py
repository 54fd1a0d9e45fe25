"""Where the depth input counts from when no joint tells: the map's own origin, by one of two rules.

`map_origin_m` looks 12 cm behind what is nearest, so it also counts a surface that stands closer behind the hand; and
"nearest" is a percentile of what is measured, so it moves when a background is. `front_origin_m` counts pixels and
looks 8 cm deep. It is also cheap enough, on NumPy's arrays or JAX's, to be found anew in every step, when augmentation
has changed the map: a network then learns from origins that err as they do when it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt16

from pmd_jax.data import hand

# How far behind its nearest point a hand reaches; a flat hand seen from its tips is longer than that.
HAND_DEPTH_M = 0.12
FRONT_PIXELS, FRONT_DEPTH_M = 20, 0.08  # nearer pixels are noise; how far behind them the front reaches
CHUNK = 512  # maps that are looked at together


def in_chunks(function: Callable[[UInt16[np.ndarray, "n h w"]], np.ndarray], depth: Any) -> np.ndarray:
    """`function` of many depth maps, `CHUNK` at a time: they may lie in a file that is larger than memory."""
    return np.concatenate([function(depth[start : start + CHUNK]) for start in range(0, len(depth), CHUNK)])


def is_measured(depth: UInt16[np.ndarray, "n h w"]) -> Bool[np.ndarray, " n"]:
    """Which maps have a pixel of depth."""
    return np.asarray(depth.any((1, 2)))


def map_origin_m(depth: UInt16[np.ndarray, "n h w"]) -> Float[np.ndarray, " n"]:
    """The hand's depth as the map shows it: the median over what lies nearest in the middle of the crop.

    The middle is the inner half along both sides; where it has no depth, the whole crop counts. Zero where nothing is
    measured: such a map has no origin.
    """
    height, width = depth.shape[1:]
    of_middle = _nearest_m(depth[:, height // 4 : height - height // 4, width // 4 : width - width // 4])
    return np.where(of_middle > 0, of_middle, _nearest_m(depth))


def _nearest_m(depth: UInt16[np.ndarray, "n h w"]) -> Float[np.ndarray, " n"]:
    """The median depth of what lies at most `HAND_DEPTH_M` behind the second percentile: nearer pixels are noise."""
    metres = depth.reshape(len(depth), -1).astype(np.float32) * np.float32(hand.DEPTH_UNIT_M)
    metres[metres == 0] = np.nan
    measured = ~np.isnan(metres).all(1)
    seen, nearest = metres[measured], np.zeros(len(depth), np.float32)
    limit = np.nanpercentile(seen, 2, axis=1, keepdims=True) + HAND_DEPTH_M
    nearest[measured] = np.nanmedian(np.where(seen <= limit, seen, np.nan), axis=1)
    return nearest


def front_origin_m(depth: UInt16[Any, "n h w"]) -> Float[Any, " n"]:
    """The median over what lies at most 8 cm behind the 20th nearest pixel in the middle of the crop.

    The middle is the inner half along both sides. Where it shows fewer pixels than that, every second one of the whole
    crop counts, so that a hand that leaves the middle is still found. Zero where nothing is measured.
    """
    xp, (height, width) = depth.__array_namespace__(), depth.shape[1:]
    middle = depth[:, height // 4 : height // 4 + height // 2, width // 4 : width // 4 + width // 2]
    middle, whole = (
        part.reshape(len(depth), -1) for part in (middle, depth[:, : height // 2 * 2 : 2, : width // 2 * 2 : 2])
    )
    chosen = xp.where((middle > 0).sum(1, keepdims=True) >= FRONT_PIXELS, middle, whole).astype(np.int32)
    ranked = xp.sort(xp.where(chosen > 0, chosen, 1 << 20), axis=1)  # what is not measured comes last
    measured = (chosen > 0).sum(1)
    first = xp.take_along_axis(ranked, xp.clip(xp.minimum(measured, FRONT_PIXELS) - 1, 0, None)[:, None], axis=1)
    count = (ranked <= xp.minimum(first + round(FRONT_DEPTH_M / hand.DEPTH_UNIT_M), 65535)).sum(1)
    median = xp.take_along_axis(ranked, (xp.maximum(count, 1)[:, None] - 1) // 2, axis=1)[:, 0]
    return xp.where(measured > 0, median * np.float32(hand.DEPTH_UNIT_M), np.float32(0)).astype(np.float32)


RULES = {"map": map_origin_m, "front": front_origin_m}  # values of config.data.depth_origin beside "root"
