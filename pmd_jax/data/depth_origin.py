"""Where the depth input counts from when no joint tells: the map's own origin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt16

from pmd_jax.data import hand

# How far behind its nearest point a hand reaches; a flat hand seen from its tips is longer than that.
HAND_DEPTH_M = 0.12
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
