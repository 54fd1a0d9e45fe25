"""Camera-centred targets: poses in the frame of the ray through the middle of their crop (beyond the paper).

A crop shows a hand as if the camera looked straight at it, but the labels' axes are the camera's. A hand off the
picture's centre is seen under a ray, and the same hand elsewhere in the picture looks the same under another rotation:
nothing in the crop tells which. So the target is turned by the smallest rotation R that takes the ray to the optical
axis, and the prediction is turned back.

    r = K⁻¹·(m, m, 1)ᵀ,   R·r = |r|·(0, 0, 1)ᵀ,   target = R·(x − root)

with m the crop's middle and K the crop's intrinsics. Where the camera is not known (K = 0) R is the identity. The
functions take NumPy's arrays or JAX's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

_ADJUGATE_SIGNS = np.array([[1, -1], [-1, 1]], np.float32)


def focal_inverse(K: Float[Any, "*b 3 3"]) -> Float[Any, "*b 2 2"]:
    """F⁻¹ of K = [F p; 0 1]; where F is zero, the camera not known, zero."""
    F = K[..., :2, :2]
    determinant = F[..., 0, 0] * F[..., 1, 1] - F[..., 0, 1] * F[..., 1, 0]
    adjugate = F[..., ::-1, ::-1].swapaxes(-1, -2) * _ADJUGATE_SIGNS
    return adjugate / (determinant + (determinant == 0))[..., None, None]


def ray_rotation(K: Float[Any, "*b 3 3"], at_px: Float[Any, "*b 2"] | float) -> Float[Any, "*b 3 3"]:
    """R, the smallest rotation that takes the ray through the pixel `at_px` to the optical axis.

    With the ray (a, b, 1)ᵀ of length n it is

        R = 1/n · [ n − a²/(n+1)   −ab/(n+1)      −a
                    −ab/(n+1)      n − b²/(n+1)   −b
                    a              b              1 ].
    """
    xp = K.__array_namespace__()
    offset = at_px - K[..., :2, 2]
    ray = (focal_inverse(K) * offset[..., None, :]).sum(-1)
    a, b = ray[..., 0], ray[..., 1]
    n = (a * a + b * b + 1) ** 0.5
    ab, one = -a * b / (n + 1), xp.ones_like(a)
    rows = ((n - a * a / (n + 1), ab, -a), (ab, n - b * b / (n + 1), -b), (a, b, one))
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2) / n[..., None, None]


def to_ray(pose: Float[Any, "*b 21 3"], K: Float[Any, "*b 3 3"], size: int) -> Float[Any, "*b 21 3"]:
    """A pose in the camera's axes, in those of the ray through the middle of its crop of `size` pixels."""
    return _turned(pose, ray_rotation(K, (size - 1) / 2))


def from_ray(pose: Float[Any, "*b 21 3"], K: Float[Any, "*b 3 3"], size: int) -> Float[Any, "*b 21 3"]:
    """The inverse of `to_ray`."""
    return _turned(pose, ray_rotation(K, (size - 1) / 2).swapaxes(-1, -2))


def _turned(pose: Float[Any, "*b j 3"], rotation: Float[Any, "*b 3 3"]) -> Float[Any, "*b j 3"]:
    """Written out, as a matrix product may run in bf16."""
    return (rotation[..., None, :, :] * pose[..., None, :]).sum(-1)
