"""What a depth camera makes of a depth map: holes, a shadow, steps, flying pixels and noise.

Cameras that match two views (stereo, structured light) measure disparity, f·B/z. So the shadow that the second view
cannot see into is as wide as the disparities on its two sides differ, and noise and steps grow with the distance
squared. What is steep or dark gives too little light back: holes. A pixel at an edge that sees two surfaces is measured
between them. The forms are the literature's (Khoshelham and Elberink 2012; Nguyen et al. 2012); the ranges are ours, so
that several kinds of cameras lie within them.

`sense_depth` takes NumPy's arrays or JAX's: training draws on the device, the renderer on the host.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, UInt16

from pmd_jax.config import AugmentConfig
from pmd_jax.data import hand
from pmd_jax.data.inputs import Batch

COARSE = 9  # nodes a side of what varies slowly over the crop
UNKNOWN_FOCAL = 2.5  # sides of the crop: a hand that fills it at half a metre
NOISE_M, NOISE_PER_M = 0.0008, 0.006  # deviation of the worst camera: the first + the second · z²
STEP_PER_M = 0.012  # its steps are this · z²
SHADOW_PX = 8  # wider ones are cut
EDGE_M = 0.015  # a jump between neighbours that is an edge, not a slope


class SensorDraws(NamedTuple):
    """All that chance decides about one map."""

    level: Float[Any, ""]  # 0 (perfect) to 1 (the worst camera)
    baseline_m: Float[Any, ""]  # its sign: on which side of an edge the shadow lies
    grazing: Float[Any, ""]  # cosine between normal and ray below which little comes back
    dark: Float[Any, ""]  # of the slow field, above which nothing comes back
    slow: Float[Any, "2 c c"]  # normal: dark places, and noise that neighbours share
    noise: Float[Any, "s s"]  # normal
    chance: Float[Any, "4 s s"]  # uniform: which neighbour, whether and how far a pixel flies, whether it is lost


def shape_draws(level: Any, uniform: Float[Any, " 3"], slow: Any, noise: Any, chance: Any) -> SensorDraws:
    """Numbers on [0, 1) and normal ones, in the ranges of a camera of this level."""
    baseline_m, grazing, dark = (
        0.12 * level * (uniform[0] - 0.5),
        0.4 * level * uniform[1],
        3.5 - 2.5 * level * uniform[2],
    )
    return SensorDraws(level, baseline_m, grazing, dark, slow, noise, chance)


def sense(batch: Batch, keys: Key[Array, " b"], config: AugmentConfig) -> Batch:
    """The depth maps as cameras of different quality see them, each sample by its own draws; RGB stays."""
    if config.depth_sensor == 0:
        return batch
    size = batch.depth.shape[1]

    def one(depth, K, key):
        level_key, uniform_key, slow_key, noise_key, chance_key = jax.random.split(jax.random.fold_in(key, 8), 5)
        draws = shape_draws(
            config.depth_sensor * jax.random.uniform(level_key),
            jax.random.uniform(uniform_key, (3,)),
            jax.random.normal(slow_key, (2, COARSE, COARSE)),
            jax.random.normal(noise_key, (size, size)),
            jax.random.uniform(chance_key, (4, size, size)),
        )
        return sense_depth(depth, K[0, 0], draws)

    return batch._replace(depth=jax.vmap(one)(jnp.asarray(batch.depth), jnp.asarray(batch.K), keys))


def sense_depth(depth: UInt16[Any, "s s"], focal_px: Float[Any, ""], draws: SensorDraws) -> UInt16[Any, "s s"]:
    """One crop's depth (0.1 mm, 0 = missing) as the camera of `draws` measures it; what is missing stays so.

    Args:
        focal_px: of the crop; 0 where the camera is not known.
    """
    xp, size = depth.__array_namespace__(), depth.shape[0]
    known, z = depth > 0, depth.astype(np.float32) * np.float32(hand.DEPTH_UNIT_M)
    focal = xp.where(focal_px > 0, focal_px, UNKNOWN_FOCAL * size)
    dark, shared = (_smooth(field, size) for field in draws.slow)
    lost = _shadow(z, known, focal * draws.baseline_m) | _grazing(z, known, focal, draws)
    lost = lost | ((dark + 0.15 * draws.noise > draws.dark) & (draws.level > 0))
    lost = lost | (_beside_nothing(known) & (draws.chance[3] < 0.35 * draws.level))
    z = _fly(z, known, draws)
    z = z + draws.level * (NOISE_M + NOISE_PER_M * z**2) * (0.7 * draws.noise + shared)
    step = xp.maximum(STEP_PER_M * draws.level, 1e-6)  # of 1/z
    z = 1 / (step * xp.maximum(xp.round(1 / (step * xp.where(known, xp.maximum(z, 0.01), 1))), 1))
    counts = xp.clip(xp.round(z / np.float32(hand.DEPTH_UNIT_M)), 1, 65535)
    return xp.where(known & ~lost, counts, 0).astype(np.uint16)


def _neighbours(image: Any) -> list[Any]:
    """The pixel to the right, left, below and above of each; reflected at the border."""
    padded = image.__array_namespace__().pad(image, 1, mode="reflect")
    return [padded[1:-1, 2:], padded[1:-1, :-2], padded[2:, 1:-1], padded[:-2, 1:-1]]


def _smooth(nodes: Float[Any, "c c"], size: int) -> Float[Any, "{size} {size}"]:
    """Between the nodes, linearly. Written out, as a matrix product may run in bf16."""
    at = np.linspace(0, COARSE - 1, size, dtype=np.float32)
    low = np.minimum(at.astype(np.int32), COARSE - 2)
    share = at - low
    rows = nodes[low] * (1 - share[:, None]) + nodes[low + 1] * share[:, None]
    return rows[:, low] * (1 - share) + rows[:, low + 1] * share


def _shadow(z: Float[Any, "s s"], known: Bool[Any, "s s"], focal_baseline: Float[Any, ""]) -> Bool[Any, "s s"]:
    """Where something beside a pixel, at k pixels, is nearer by k pixels of disparity or more."""
    xp, size = z.__array_namespace__(), z.shape[0]
    disparity = xp.where(known, abs(focal_baseline) / xp.where(known, z, 1), 0)
    padded = xp.pad(disparity, ((0, 0), (SHADOW_PX, SHADOW_PX)))
    hidden = xp.zeros(z.shape, bool)
    for k in range(1, SHADOW_PX + 1):
        right = padded[:, SHADOW_PX + k : SHADOW_PX + k + size]
        left = padded[:, SHADOW_PX - k : SHADOW_PX - k + size]
        hidden = hidden | (xp.where(focal_baseline > 0, right, left) - disparity >= k)
    return hidden


def _grazing(z: Any, known: Any, focal: Any, draws: SensorDraws) -> Bool[Any, "s s"]:
    """Where a surface is seen at a grazing angle. Of two neighbours the nearer one counts: a jump is no slope."""
    xp = z.__array_namespace__()
    steps = [
        xp.where(there, abs(other - z), np.inf) for other, there in zip(_neighbours(z), _neighbours(known), strict=True)
    ]
    across, down = xp.minimum(steps[0], steps[1]), xp.minimum(steps[2], steps[3])
    across, down = xp.where(xp.isfinite(across), across, 0), xp.where(xp.isfinite(down), down, 0)
    slope = (across**2 + down**2) * (focal / xp.where(known, z, 1)) ** 2
    return 1 / xp.sqrt(1 + slope) < draws.grazing * (0.5 + draws.chance[3])


def _beside_nothing(known: Bool[Any, "s s"]) -> Bool[Any, "s s"]:
    right, left, below, above = _neighbours(known)
    return ~(right & left & below & above)


def _fly(z: Float[Any, "s s"], known: Bool[Any, "s s"], draws: SensorDraws) -> Float[Any, "s s"]:
    """Pixels at edges come to lie between their surface and a neighbour's."""
    xp = z.__array_namespace__()
    which, flies, how_far, _ = draws.chance
    other, there = z, known
    for number, (depth, measured) in enumerate(zip(_neighbours(z), _neighbours(known), strict=True)):
        chosen = (which * 4).astype(np.int32) == number
        other, there = xp.where(chosen, depth, other), xp.where(chosen, measured, there)
    at_edge = known & there & (abs(other - z) > EDGE_M)
    return xp.where(at_edge & (flies < 0.4 * draws.level), z + how_far * (other - z), z)
