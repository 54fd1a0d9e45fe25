"""Small made-up prepared samples, for tests and benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pmd_jax.data import hand
from pmd_jax.data.inputs import Batch

if TYPE_CHECKING:
    from pmd_jax.data.dataset import Columns


def make_arrays(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Noise for pictures, random joints that project where `uv` says."""
    generator = np.random.default_rng(seed)
    xyz = generator.normal(0, 0.04, (count, 21, 3)) + np.array([0.02, -0.03, 0.5])
    K = np.tile(np.array([[150.0, 0, 28.0], [0, 155.0, 36.0], [0, 0, 1]]), (count, 1, 1))
    return {
        "rgb": generator.integers(0, 256, (count, 64, 64, 3), np.uint8),
        "depth": generator.integers(0, 9000, (count, 64, 64)).astype(np.uint16),
        "xyz": xyz.astype(np.float32),
        "uv": hand.project(xyz, K).astype(np.float32),
        "visible": generator.random((count, 21)) < 0.8,
        "K": K.astype(np.float32),
        "is_left": generator.random(count) < 0.5,
        "depth_origin_m": xyz[:, hand.ROOT, 2].astype(np.float32),
    }


def make_columns(count: int, seed: int = 0) -> Columns:
    """As a prepared split that was read."""
    from pmd_jax.data.dataset import Columns  # brings Grain, which a bare accelerator may lack (accelerator.py)

    return Columns(**make_arrays(count, seed), key=np.array([f"made_up/train/{i:06d}" for i in range(count)], object))


def make_batch(count: int, seed: int = 0) -> Batch:
    """As a step takes them."""
    return Batch(**make_arrays(count, seed), index=np.arange(count, dtype=np.int32))
