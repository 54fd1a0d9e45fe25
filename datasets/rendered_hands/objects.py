"""Things that hands hold, that stand before them or lie behind: cups, bottles, phones, pens, balls, boxes.

Each is a lathed profile with a round or a square cross-section: one mesh of fixed topology for all of them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from .draws import Draws
from .kinematics import dot, norm
from .light import DIRECTIONS
from .mesh import FINGER_BONES, TIP_JOINTS

SIDES = 24
# Radius and height of eight rings, as shares of half the width and half the length; poles close both ends.
_PROFILES = np.array(
    [
        [(0.97, -1), (1, -0.97), (1, -0.6), (1, -0.2), (1, 0.2), (1, 0.6), (1, 0.97), (0.97, 1)],  # can, box, phone
        [(0.4, -1), (0.7, -0.94), (0.75, -0.5), (0.85, 0.0), (0.92, 0.5), (1, 0.9), (1, 1), (0.93, 1)],  # cup
        [(0.9, -1), (1, -0.9), (1, -0.3), (1, 0.2), (0.75, 0.45), (0.35, 0.6), (0.33, 0.85), (0.38, 1)],  # bottle
        [(0.38, -0.92), (0.71, -0.71), (0.92, -0.38), (1, -0.1), (1, 0.1), (0.92, 0.38), (0.71, 0.71), (0.38, 0.92)],
        [(0.1, -1), (0.9, -0.9), (1, -0.85), (1, 0.0), (1, 0.4), (1, 0.8), (0.9, 0.9), (0.7, 1)],  # pen
    ]
)
FINGER_RADIUS_M = 0.0085
_OUT_OF_SIGHT_M = 0.01  # nearer than the near plane of `raster`


class Things(NamedTuple):
    """`n` things a sample, camera frame. An axis of each: half sizes along x and y (width), z (length)."""

    present: Bool[np.ndarray, "b n"]
    profile: Int[np.ndarray, "b n"]
    square: Float[np.ndarray, "b n"]  # exponent of the cross-section: 1 round, near 0 square
    axes: Float[np.ndarray, "b n 3 3"]  # rows: the thing's x, y, z in the camera frame, right-handed
    centre: Float[np.ndarray, "b n 3"]  # metres
    half: Float[np.ndarray, "b n 3"]  # metres
    colour: Float[np.ndarray, "b n 3 3"]  # ground, band, print; linear
    band: Float[np.ndarray, "b n 2"]  # share of the length where the band begins and ends, −1…1
    print_waves: Float[np.ndarray, "b n 2"]  # around and along; 0: nothing printed
    shine: Float[np.ndarray, "b n"]


def mesh_faces(count: int) -> Int[np.ndarray, "f 3"]:
    """Triangles of `count` things, outward by the right-hand rule."""
    rings = _PROFILES.shape[1]
    ring, side = (grid.ravel() for grid in np.mgrid[: rings - 1, :SIDES])
    a, b = ring * SIDES + side, ring * SIDES + (side + 1) % SIDES
    around, following = np.arange(SIDES), (np.arange(SIDES) + 1) % SIDES
    last, bottom = (rings - 1) * SIDES, rings * SIDES
    one = np.concatenate(
        [
            np.stack([a, b, b + SIDES], 1),
            np.stack([a, b + SIDES, a + SIDES], 1),
            np.stack([following, around, np.full(SIDES, bottom)], 1),
            np.stack([last + around, last + following, np.full(SIDES, bottom + 1)], 1),
        ]
    )
    return np.concatenate([one + (bottom + 2) * number for number in range(count)])


def mesh_points(things: Things) -> tuple[Float[np.ndarray, "b v 3"], Float[np.ndarray, "b v 3"]]:
    """Vertices in the camera frame, and in the thing's own frame as shares of the half sizes."""
    batch, count = things.present.shape
    angle = (np.arange(SIDES) + 0.5) * (2 * np.pi / SIDES)
    circle = np.stack([np.cos(angle), np.sin(angle)], -1)
    outline = np.sign(circle) * np.abs(circle) ** things.square[..., None, None]
    profile = _PROFILES[things.profile]
    local = np.zeros((batch, count, profile.shape[2] * SIDES + 2, 3))
    rings = local[:, :, :-2].reshape(batch, count, -1, SIDES, 3)
    rings[..., :2] = profile[..., None, :1] * outline[:, :, None]
    rings[..., 2] = profile[..., None, 1]
    local[:, :, -2, 2], local[:, :, -1, 2] = profile[:, :, 0, 1], profile[:, :, -1, 1]
    x, y, z = np.moveaxis((local * things.half[:, :, None])[..., None], -2, 0)
    axes = things.axes[:, :, None]
    points = x * axes[..., 0, :] + y * axes[..., 1, :] + z * axes[..., 2, :] + things.centre[:, :, None]
    points[..., 2] = np.where(things.present[..., None], points[..., 2], _OUT_OF_SIGHT_M)
    return points.reshape(batch, -1, 3).astype(np.float32), local.reshape(batch, -1, 3).astype(np.float32)


def shade(things: Things, faces, points, local, hits, radiance, exposure) -> Float[np.ndarray, "n 3"]:
    """Linear colour of the covered pixels, `exposure` as in `light.light`. Every triangle is flat.

    Args:
        faces, points, local: as rendered (`mesh_faces`, `mesh_points`).
        hits: `raster.Hits` of these triangles.
        radiance: (b, d, 3), from each of `light.DIRECTIONS`.
    """
    a, b, c = (points[:, faces[:, corner]] for corner in range(3))
    normal = np.cross(b - a, c - a)
    normal /= norm(normal) + 1e-12
    view = a / -norm(a)
    lights = DIRECTIONS.T.astype(np.float32)
    # Every product runs once a sample, never over the batch: BLAS rounds differently for other shapes.
    diffuse = np.matmul(np.maximum(np.matmul(normal, lights), 0), radiance)
    reflected = np.maximum(np.matmul(2 * dot(normal, view) * normal - view, lights), 0)
    for _ in range(4):  # to the 16th power
        np.multiply(reflected, reflected, out=reflected)
    level = (exposure / (radiance.mean((1, 2)) * (0.25 * radiance.shape[1]))).astype(np.float32)[:, None, None]
    diffuse, gloss = (values * level for values in (diffuse, np.matmul(reflected, radiance)))
    sample, corner = hits.sample, faces[hits.face]
    number = corner[:, 0] // (points.shape[1] // things.present.shape[1])
    where = sum(local[sample, corner[:, i]] * hits.share[i][:, None] for i in range(3))
    shine = (0.3 * things.shine[sample, number]).astype(np.float32)[:, None]
    return _print(things, sample, number, where) * diffuse[sample, hits.face] + shine * gloss[sample, hits.face]


def _print(things: Things, sample, number, where) -> Float[np.ndarray, "n 3"]:
    """Ground colour, a band around it, and something printed on the band."""
    colours = things.colour[sample, number]
    low, high = things.band[sample, number].T
    in_band = (where[:, 2] > low) & (where[:, 2] < high)
    angle = np.arctan2(where[:, 1], where[:, 0])
    around, along = things.print_waves[sample, number].T
    printed = in_band & (np.sin(around * angle + 3) * np.sin(along * where[:, 2]) > 0.35)
    return np.where(printed[:, None], colours[:, 2], np.where(in_band[:, None], colours[:, 1], colours[:, 0]))


def sample_things(draws: Draws, joints: Float[np.ndarray, "b 27 3"]) -> Things:
    """One thing in the hand and one before or behind it, either of them in some pictures only.

    Args:
        joints: bone heads and tips as posed, camera frame, metres.
    """
    held, near = _held(draws, joints), _beside(draws, joints)
    colour = draws.uniform(2, 3, 3) ** 2.2 * draws.uniform(2, 3, 1, low=0.3)
    strong = np.where(draws.chance(0.55, 2, 3, 1), 0.1, draws.uniform(2, 3, 1, low=0.3, high=0.9))
    colour = colour.mean(-1, keepdims=True) * (1 - strong) + strong * colour
    band = np.sort(draws.uniform(2, 2, low=-1.3, high=1.3), -1)
    waves = draws.uniform(2, 2, low=2, high=14) * draws.chance(0.5, 2, 1)
    present, profile, square, axes, centre, half = (np.stack(pair, 1) for pair in zip(held, near, strict=True))
    shine = draws.uniform(2)
    return Things(present, profile, square, axes, centre, half, colour.astype(np.float32), band, waves, shine)


def _held(draws: Draws, joints):
    """A cylinder, box, phone or pen where the hand closes, as thick as the fingers leave room for."""
    tips, knuckles, thumb = joints[:, TIP_JOINTS[1:]], joints[:, [10, 13, 16, 19]], joints[:, TIP_JOINTS[0]]
    pinched = draws.chance(0.45)[:, None]
    palm = np.concatenate([tips, knuckles, joints[:, [8, 11, 14]]], 1).mean(1)
    centre = np.where(pinched, (tips[:, 0] + thumb) / 2, palm)
    closing = np.where(pinched, tips[:, 0] - thumb, tips.mean(1) - knuckles.mean(1))
    across = np.where(pinched, draws.direction(), knuckles[:, 0] - knuckles[:, 3]) + 0.015 * draws.direction()
    axes = _frame(across, closing)
    room = _room(joints, centre, axes[:, 2]) - FINGER_RADIUS_M
    flat = draws.chance(0.4)
    thickness = np.clip(room, 0.0035, 0.036) * draws.uniform(low=0.8, high=1.05)
    width = np.where(flat, draws.uniform(low=0.008, high=0.045), thickness)
    thickness = np.where(flat, np.minimum(thickness, draws.uniform(low=0.004, high=0.02)), thickness)
    thin = thickness < 0.007
    length = np.where(thin & ~flat, draws.uniform(low=0.05, high=0.09), draws.uniform(low=0.03, high=0.09))
    profile = np.where(flat, 0, np.where(thin, 4, draws.integer(0, 4)))
    square = np.where(flat, draws.uniform(low=0.1, high=0.3), np.where(draws.chance(0.25), 0.25, 1.0))
    slid = draws.uniform(low=-0.5, high=0.5) * length
    half = np.stack([thickness, width, length], -1)
    present = draws.chance(0.42) & (room > -0.004)
    return present, profile, square, axes, centre + axes[:, 2] * slid[:, None], half


def _beside(draws: Draws, joints):
    """Anything before the hand, which it hides in part, or behind it."""
    target = np.take_along_axis(joints, draws.integer(3, 27)[:, None, None], 1)[:, 0]
    before = draws.chance(0.4)
    size = joints[:, 2] - joints[:, 13]  # wrist to middle MCP
    size = np.sqrt((size**2).sum(-1))
    half = np.exp(draws.uniform(3, low=np.log(0.08), high=np.log(0.75))) * size[:, None]
    half[:, 2] *= 1.6
    half *= np.where(before, 0.5, 1.3)[:, None]
    heading = draws.uniform(high=2 * np.pi)
    aside = (
        np.stack([np.cos(heading), np.sin(heading)], -1) * (half.max(-1) * draws.uniform(low=0.2, high=0.9))[:, None]
    )
    gap = np.where(before, -1, 1) * (half.max(-1) + draws.uniform(low=0.015, high=0.08))
    centre = target * (1 + gap / target[:, 2])[:, None]
    centre[:, :2] += aside
    axes = _frame(draws.direction(), draws.direction())
    square = np.where(draws.chance(0.5), draws.uniform(low=0.1, high=0.3), 1.0)
    present = draws.chance(0.3) & (centre[:, 2] - half.max(-1) > 0.1)
    return present, draws.integer(0, 4), square, axes, centre, half


def _frame(z: Float[np.ndarray, "b 3"], x: Float[np.ndarray, "b 3"]) -> Float[np.ndarray, "b 3 3"]:
    """Rows x, y, z: z as given, x as near to the one given as that allows."""
    z = z / (norm(z) + 1e-9)
    x = x - dot(x, z) * z
    x = x / (norm(x) + 1e-9)
    return np.stack([x, np.cross(z, x), z], 1)


def _room(joints, centre, axis) -> Float[np.ndarray, " b"]:
    """How far the line through `centre` stays from the middle of every finger bone."""
    bones = [pair for finger, chain in enumerate(FINGER_BONES) for pair in pairwise((*chain, TIP_JOINTS[finger]))]
    start, end = (joints[:, list(column)] for column in zip(*bones, strict=True))
    points = np.concatenate([start * (1 - share) + end * share for share in (0.0, 0.4, 0.7, 1.0)], 1)
    offset = points - centre[:, None]
    along = dot(offset, axis[:, None])[..., 0]
    off = np.sqrt((offset**2).sum(-1) - along**2 + 1e-12)
    return np.where(np.abs(along) < 0.06, off, 1.0).min(1)
