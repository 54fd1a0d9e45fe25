"""Random numbers that depend on the sample alone: a hash of (seed, stream, sample index, number of the draw).

Counter-based (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) with the mixing function of
SplitMix64 (Steele et al., 2014), so a sample is the same in every batch and under every NumPy version.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(state: UInt64[np.ndarray, "*n"]) -> UInt64[np.ndarray, "*n"]:
    """SplitMix64's output function; products wrap modulo 2^64."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


class Draws:
    """The random numbers of a batch for one purpose; each call goes on where the last one ended.

    How many numbers a caller takes must not depend on what it got, or samples would depend on each other's data.
    """

    def __init__(self, seed: int, indices: Sequence[int], stream: str):
        name = np.array([zlib.crc32(stream.encode())], np.uint64)
        key = _mix(_mix(np.array([seed & (2**64 - 1)], np.uint64)) + name * _GOLDEN)
        self._keys = _mix(key + np.asarray(indices, np.uint64) * _GOLDEN)
        self._count = 0

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """Uniform on [low, high): float64 (b, *shape), as for all draws below."""
        size = int(np.prod(shape))
        counters = np.arange(self._count + 1, self._count + 1 + size, dtype=np.uint64) * _GOLDEN
        self._count += size
        unit = (_mix(self._keys[:, None] + counters) >> np.uint64(11)) * 2.0**-53
        return low + (high - low) * unit.reshape(-1, *shape)

    def normal(self, *shape: int, mean: float = 0.0, std: float = 1.0, clip: float = 3.0) -> np.ndarray:
        """Normal (Box–Muller), cut at `clip` standard deviations."""
        radius = np.sqrt(-2 * np.log1p(-self.uniform(*shape)))
        return mean + std * np.clip(radius * np.cos(2 * np.pi * self.uniform(*shape)), -clip, clip)

    def chance(self, probability: float, *shape: int) -> np.ndarray:
        """True with the given probability: bool."""
        return self.uniform(*shape) < probability

    def integer(self, low: int, high: int, *shape: int) -> np.ndarray:
        """Integers in [low, high): int64."""
        return np.floor(self.uniform(*shape, low=low, high=high)).astype(np.int64)

    def direction(self, *shape: int) -> np.ndarray:
        """Uniform on the unit sphere: (b, *shape, 3)."""
        z, angle = self.uniform(*shape, low=-1), self.uniform(*shape, high=2 * np.pi)
        radius = np.sqrt(1 - z * z)
        return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], -1)
