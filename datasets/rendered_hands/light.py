"""Light on the vertices of a hand: twenty directions with their own radiance, soft shadows, a gloss term.

Shadows come from one coarse depth map a direction into which the vertices are splatted as points; with twenty
directions that gives soft shadows and ambient occlusion at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .draws import Draws
from .kinematics import dot, norm
from .mesh import HandMesh

NUM_DIRECTIONS = 20
_GRID, _CELL_M, _BIAS_M, _SOFT_M = 48, 0.0065, 0.006, 0.005
_WRAP = np.float32(0.3)  # how far light seeps past the terminator in red: a cheap stand-in for subsurface scattering


def _fibonacci_sphere(n: int) -> Float[np.ndarray, "n 3"]:
    """Nearly even directions on the unit sphere."""
    turn, z = np.arange(n) * np.pi * (3 - np.sqrt(5)), 1 - (2 * np.arange(n) + 1) / n
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), z], 1)


def _shadow_axes(directions: Float[np.ndarray, "d 3"]) -> Float[np.ndarray, "3 3 d"]:
    """Two axes across each direction and the direction itself."""
    helper = np.where(np.abs(directions[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    across = np.cross(directions, helper)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    return np.stack([across, np.cross(directions, across), directions]).astype(np.float32).transpose(2, 0, 1)


DIRECTIONS = _fibonacci_sphere(NUM_DIRECTIONS)
_AXES = _shadow_axes(DIRECTIONS).reshape(3, -1)


class Lighting(NamedTuple):
    """What reaches each vertex; multiply the first by the albedo and add the second."""

    irradiance: Float[np.ndarray, "b v 3"]
    gloss: Float[np.ndarray, "b v 3"]


def sample_radiance(draws: Draws) -> Float[np.ndarray, "b d 3"]:
    """Radiance from each direction: an ambient gradient and one to three lobes with a colour temperature."""
    up = np.array([0.0, -1.0, 0.0]) + 0.4 * draws.direction()
    ambient = draws.uniform(1, low=0.25, high=0.7) * (1 + 0.7 * (up @ DIRECTIONS.T))
    radiance = ambient[..., None] * _tint(draws.uniform(low=-0.6, high=0.8))[:, None]
    lobes = draws.uniform(3) < np.array([1.0, 0.6, 0.3])
    for lobe in range(3):
        # Lamps and windows stand above and on the camera's side more often than not.
        towards = draws.direction() + np.array([0.0, -0.6, -0.6])
        towards /= norm(towards) + 1e-9
        sharpness = draws.uniform(1, low=1.5, high=9)
        strength = draws.uniform(1, low=0.8, high=3.5) * lobes[:, lobe, None]
        shape = strength * np.exp(sharpness * (towards @ DIRECTIONS.T - 1))
        radiance = radiance + shape[..., None] * _tint(draws.uniform(low=-1, high=1))[:, None]
    return radiance.astype(np.float32)


def sample_strong_radiance(draws: Draws) -> Float[np.ndarray, "b d 3"]:
    """As everyday pictures are lit: from overcast to one hard lamp or the sun, from any side, some of it coloured."""
    up = np.array([0.0, -1.0, 0.0]) + 0.5 * draws.direction()
    ambient = np.exp(draws.uniform(1, low=np.log(0.06), high=np.log(0.8))) * (1 + 0.75 * (up @ DIRECTIONS.T))
    radiance = ambient[..., None] * _tint(draws.uniform(low=-1, high=0.8))[:, None]
    lobes = draws.uniform(3) < np.array([1.0, 0.5, 0.25])
    for lobe in range(3):
        towards = draws.direction() + np.array([0.0, -0.6, -0.45])
        towards /= norm(towards) + 1e-9
        sharpness = np.exp(draws.uniform(1, low=np.log(1.5), high=np.log(30)))  # at the end a single direction
        strength = draws.uniform(1, low=0.6, high=3.5) * (1 + 0.12 * sharpness) * lobes[:, lobe, None]
        shape = strength * np.exp(sharpness * (towards @ DIRECTIONS.T - 1))
        colour = _tint(draws.uniform(low=-1, high=1.2))
        stained = draws.chance(0.035)[:, None]
        colour = np.where(stained, 0.25 + 1.5 * draws.uniform(3), colour)
        radiance = radiance + shape[..., None] * colour[:, None]
    return radiance.astype(np.float32)


def _tint(warmth: Float[np.ndarray, " b"]) -> Float[np.ndarray, "b 3"]:
    """Linear RGB from cool (−1, shade) to warm (+1, tungsten)."""
    return np.stack([1 + 0.22 * warmth, np.ones_like(warmth), 1 - 0.28 * warmth], -1)


def light(
    mesh: HandMesh,
    points: Float[np.ndarray, "b v 3"],
    normals: Float[np.ndarray, "b v 3"],
    radiance: Float[np.ndarray, "b d 3"],
    exposure: Float[np.ndarray, " b"],
) -> Lighting:
    """Light on vertices in the camera frame (float32); the mean of the visible irradiance becomes `exposure`."""
    seen = _visibility(points)
    # Every product runs once a sample, never over the batch: BLAS rounds differently for other shapes.
    facing = np.matmul(normals, DIRECTIONS.T.astype(np.float32))
    diffuse = np.maximum(facing, 0) * seen
    wrapped = np.maximum(facing + _WRAP, 0) * (seen / (1 + _WRAP))
    irradiance = np.concatenate([np.matmul(wrapped, radiance[..., :1]), np.matmul(diffuse, radiance[..., 1:])], -1)
    view = points / -norm(points)
    towards_camera = dot(normals, view)
    reflected = 2 * towards_camera * normals - view
    lobe = np.maximum(np.matmul(reflected, DIRECTIONS.T.astype(np.float32)), 0)
    for _ in range(4):  # to the 16th power
        np.multiply(lobe, lobe, out=lobe)
    gloss = np.matmul(lobe * seen, radiance)
    both = _smooth(np.concatenate([irradiance, gloss], -1), mesh)
    front = np.maximum(towards_camera, 0)
    brightness = (both[..., 0] + both[..., 1] + both[..., 2]) / 3
    mean = (brightness * front[..., 0]).sum(1) / front[..., 0].sum(1)
    both *= (exposure.astype(np.float32) / mean)[:, None, None]
    fresnel = 0.03 + 0.2 * (1 - front) ** 5
    return Lighting(both[..., :3], both[..., 3:] * fresnel * (1 + 4 * mesh.nail[:, None]))


def _visibility(points: Float[np.ndarray, "b v 3"]) -> Float[np.ndarray, "b v d"]:
    """How much of each direction's light reaches each vertex past the rest of the hand, 0…1."""
    batch, count, _ = points.shape
    centred = points - points.mean(1, keepdims=True)
    u, v, towards = np.moveaxis(np.matmul(centred, _AXES).reshape(batch, count, 3, NUM_DIRECTIONS), 2, 0)
    column = np.floor(u * np.float32(1 / _CELL_M)).astype(np.int32) + _GRID // 2
    row = np.floor(v * np.float32(1 / _CELL_M)).astype(np.int32) + _GRID // 2
    inside = (column >= 0) & (column < _GRID) & (row >= 0) & (row < _GRID)
    np.clip(column, 0, _GRID - 1, out=column)
    np.clip(row, 0, _GRID - 1, out=row)
    maps = np.arange(batch)[:, None, None] * NUM_DIRECTIONS + np.arange(NUM_DIRECTIONS)
    cell = (maps * _GRID + row) * _GRID + column
    towards = np.ascontiguousarray(towards)
    nearest = np.full(batch * NUM_DIRECTIONS * _GRID * _GRID, -np.inf, np.float32)
    np.maximum.at(nearest, cell.ravel(), towards.ravel())
    shade = np.clip((nearest[cell] - towards - np.float32(_BIAS_M)) * np.float32(1 / _SOFT_M), 0, 1)
    return np.where(inside, 1 - shade, np.float32(1))  # beyond the map (far forearm) nothing casts a shadow


def _smooth(values: Float[np.ndarray, "b v c"], mesh: HandMesh) -> Float[np.ndarray, "b v c"]:
    """Mean with the 1-ring: takes the grain out of the shadow maps."""
    total = values * np.float32(2)
    for ring in range(mesh.neighbours.shape[1]):
        total += values[:, mesh.neighbours[:, ring]]
    return total / np.float32(2 + mesh.neighbours.shape[1])
