"""Where the places of a feature map lie in the crop; without JAX, for the network and its ONNX graph alike."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def map_positions(height: int, width: int) -> Float[np.ndarray, "places 2"]:
    """The centre of each place, row by row, as (u, v): −1 and 1 are the crop's edges, u to the right, v down."""
    u, v = np.meshgrid((2 * np.arange(width) + 1) / width - 1, (2 * np.arange(height) + 1) / height - 1)
    return np.stack([u.ravel(), v.ravel()], axis=1).astype(np.float32)


def value_count(width: int) -> int:
    """Values that a spatial pool reads at each place, beside its position: with these, a joint has width / 2.

    So a head's input of 21 joints is hardly longer than the averaged feature of 8 · width values.
    """
    return max(1, 3 * width // 8)
