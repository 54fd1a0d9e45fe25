"""The hands in a depth map that nobody has labelled: what is nearest and hangs together, cut at the wrist.

The map becomes a graph: its nodes are blocks of pixels, its edges join neighbours on one surface and are as long as
these lie apart in space. An arm is a connected piece of it. The hand is the end that lies furthest along the surface
from where the arm leaves the picture; the palm is where that end is widest, and the wrist where the arm is narrowest
behind it. Lengths are metres on the surface, so that one rule serves all cameras, distances and views. The constants
were chosen on rendered hands (seeds 101, 102); `benchmarks/segment_boxes.py` measures them on others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.sparse import coo_array, csgraph

from pmd_jax.data.cropping import CropBox, crop_intrinsics
from pmd_jax.runtime.errors import InputError

BLOCKS = 160  # along the longer side of the map
REACH_M = (0.1, 1.5)  # from the camera: nearer is noise, and further away a hand has too few pixels
NEAREST_SHARE = 0.002  # of the blocks: fewer that are nearer than everything else are noise
BEHIND_M = 0.5  # how far behind the nearest point hands and arms are looked for
JUMP_M = 0.025  # neighbours whose depths differ by more are not on one surface
HAND_AREA_M2, FINGER_AREA_M2 = 0.002, 0.0001  # the least that a hand shows, and a finger that stands alone
PALM_RADIUS_M = (0.006, 0.065)  # of the largest circle in a hand, from its side or its palm; a head's is larger
TIP_TO_PALM_M = 0.18  # from the tip to the palm's middle, at most
NARROWING = 0.05  # how much narrower than a forearm a palm may be, for each metre that it is nearer to the tip
WRIST_M, RING_M = (0.05, 0.085), 0.012  # how far behind the palm's middle the wrist is; the width of the rings compared
FINGER_REACH_M = 0.15  # around the palm's middle: small pieces that lie wholly within it are its fingers
ARM_EDGE_M = 0.02  # along the picture's edge: what leaves it on less is a finger, not the arm


class NoHand(InputError):
    """Nothing in a depth map can be the hands that are looked for."""


class _Surface(NamedTuple):
    """Blocks as nodes of a graph."""

    points: Float[np.ndarray, "h w 3"]  # metres
    focal: float  # in blocks
    node: Int[np.ndarray, "h w"]  # −1 where there is none
    place: tuple[Int[np.ndarray, " n"], ...]  # row and column of each node
    edges: coo_array
    piece: Int[np.ndarray, " n"]  # which connected piece each node belongs to
    area_m2: Float[np.ndarray, " pieces"]  # across the line of sight

    @property
    def z(self) -> Float[np.ndarray, "h w"]:
        return self.points[..., 2]

    def mask(self, nodes: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, "h w"]:
        """Of some nodes."""
        mask = np.zeros(self.node.shape, bool)
        mask[self.place] = nodes
        return mask


def hand_masks(
    depth_m: Float[np.ndarray, "h w"], K: Float[np.ndarray, "3 3"], count: int = 1
) -> list[Bool[np.ndarray, "h w"]]:
    """The pixels of the `count` nearest hands, from left to right in the picture, without their forearms.

    Nothing but an arm may lie in front of a hand's surroundings: a table, a body or an object that touches the hand, or
    lies less than `JUMP_M` behind it, becomes a part of it. Two hands that touch are one.

    Args:
        depth_m: 0 = not measured.
        K: intrinsics of the map.

    Raises:
        NoHand: there are fewer; the message says how far away the nearest surface is.
    """
    step = max(1, round(max(depth_m.shape) / BLOCKS))
    z = _block_depths(depth_m, step)
    usable = (z > REACH_M[0]) & (z < REACH_M[1])
    if not usable.any():
        raise NoHand(f"no hand: {_nearest(depth_m)}, and hands are looked for from {REACH_M[0]} to {REACH_M[1]} m")
    reach = np.quantile(z[usable], NEAREST_SHARE) + BEHIND_M
    surface = _surface(z, _block_intrinsics(K, step), usable & (z < reach))
    found: list[Bool[np.ndarray, "h w"]] = []
    for piece in _by_distance(surface):
        if len(found) < count and (hand := _hand_of(surface, piece)) is not None:
            found.append(hand)
    if len(found) < count:
        raise NoHand(f"{len(found) or 'no'} hand{' in place of 2' if count > 1 else ''}: {_nearest(depth_m)}")
    found.sort(key=lambda mask: np.nonzero(mask)[1].mean())
    return [_pixels(mask, step, depth_m.shape) for mask in found]


def _nearest(depth_m) -> str:
    measured = depth_m[depth_m > 0]
    if not measured.size:
        return "the depth map is empty"
    return f"the nearest surface is {np.quantile(measured, NEAREST_SHARE):.3g} m away"


def _block_intrinsics(K: Float[np.ndarray, "3 3"], step: int) -> Float[np.ndarray, "3 3"]:
    whole = CropBox(0.0, 0.0, float(step))  # becomes one block
    return crop_intrinsics(K, whole, 1)


def _block_depths(depth_m: Float[np.ndarray, "h w"], step: int) -> Float[np.ndarray, "a b"]:
    """The median of what is measured in each block of `step` × `step` pixels; 0 where less than a quarter of it is."""
    height, width = depth_m.shape[0] // step, depth_m.shape[1] // step
    tiles = depth_m[: height * step, : width * step].reshape(height, step, width, step).swapaxes(1, 2)
    tiles = np.sort(np.where(tiles > 0, tiles, np.inf).reshape(height, width, step * step), axis=-1)
    count = np.isfinite(tiles).sum(-1)
    middle = np.take_along_axis(tiles, (count.clip(1) - 1)[..., None] // 2, -1)[..., 0]
    return np.where(4 * count >= step * step, middle, 0.0)


def _surface(z: Float[np.ndarray, "h w"], K: Float[np.ndarray, "3 3"], kept: Bool[np.ndarray, "h w"]) -> _Surface:
    """The graph of the blocks that are `kept`; each has up to eight neighbours."""
    height, width = z.shape
    node = np.full(z.shape, -1)
    node[kept] = np.arange(kept.sum())
    rows, columns = np.indices(z.shape)
    points = np.stack([(columns - K[0, 2]) / K[0, 0] * z, (rows - K[1, 2]) / K[1, 1] * z, z], axis=-1)
    joined = []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        one = slice(0, height - down), slice(max(0, -right), width - max(0, right))
        other = slice(down, height), slice(max(0, right), width - max(0, -right))
        both = (node[one] >= 0) & (node[other] >= 0) & (abs(z[one] - z[other]) < JUMP_M)
        length = np.linalg.norm(points[one][both] - points[other][both], axis=-1)
        joined.append((length, node[one][both], node[other][both]))
    length, start, end = map(np.concatenate, zip(*joined, strict=True))
    edges = coo_array((length, (start, end)), shape=(kept.sum(), kept.sum()))
    _, piece = csgraph.connected_components(edges, directed=False)
    area_m2 = np.bincount(piece, z[kept] ** 2 / (K[0, 0] * K[1, 1]))
    return _Surface(points, float(K[0, 0]), node, np.nonzero(kept), edges, piece, area_m2)


def _by_distance(surface: _Surface) -> list[int]:
    """The pieces that are large enough for a hand, the nearest first."""
    z = surface.z[surface.place]
    large = np.flatnonzero(surface.area_m2 > HAND_AREA_M2)
    return sorted(large.tolist(), key=lambda piece: float(np.quantile(z[surface.piece == piece], 0.02)))


def _hand_of(surface: _Surface, piece: int) -> Bool[np.ndarray, "h w"] | None:
    """The hand at the end of an arm; None if the piece is none."""
    arm = surface.mask(surface.piece == piece)
    way = csgraph.dijkstra(surface.edges, directed=False, indices=surface.node[_root(surface, arm)], min_only=True)
    from_root = np.where(arm, way[surface.node], -np.inf)
    whole = np.asarray(ndimage.binary_fill_holes(arm))  # a sensor leaves holes
    filled = np.pad(whole, 1)  # what the picture cuts off ends there
    to_edge = np.asarray(ndimage.distance_transform_edt(filled))[1:-1, 1:-1]
    radius = to_edge * surface.z / surface.focal
    to_tip = from_root.max() - from_root
    width = np.where(to_tip < TIP_TO_PALM_M, radius - NARROWING * to_tip, -np.inf)
    palm = np.unravel_index(np.argmax(width), arm.shape)
    if not PALM_RADIUS_M[0] < radius[palm] < PALM_RADIUS_M[1]:
        return None
    behind = from_root[palm] - from_root
    return arm & (behind < _wrist_m(surface, arm, behind)) | _fingers(surface, surface.points[palm])


def _wrist_m(surface: _Surface, arm: Bool[np.ndarray, "h w"], behind: Float[np.ndarray, "h w"]) -> float:
    """How far behind its palm an arm is narrowest, by the area of rings around it."""
    area, behind = surface.z[arm] ** 2, behind[arm]
    places = np.arange(WRIST_M[0], WRIST_M[1], RING_M / 2)
    rings = np.array([area[abs(behind - place) < RING_M / 2].sum() for place in places])
    return float(places[np.argmin(np.where(rings > 0, rings, np.inf))])


def _root(surface: _Surface, arm: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Where an arm begins: on the longest way along which it leaves the picture, else where it is furthest away."""
    edge = _on_edge(arm)
    ways = np.zeros(edge.shape, np.int32)
    if ndimage.label(edge, np.ones((3, 3)), output=ways):
        length_m = np.bincount(ways.ravel(), surface.z.ravel() / surface.focal)[1:]
        if length_m.max() > ARM_EDGE_M:
            return ways == 1 + np.argmax(length_m)
    return arm & (surface.z >= np.quantile(surface.z[arm], 0.97))


def _on_edge(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    edge = mask.copy()
    edge[1:-1, 1:-1] = False
    return edge


def _fingers(surface: _Surface, palm_m: Float[np.ndarray, " 3"]) -> Bool[np.ndarray, "h w"]:
    """Small pieces around a palm: fingers that another one hides from it, or that stand out towards the camera."""
    away = np.linalg.norm(surface.points[surface.place] - palm_m, axis=-1)
    pieces = np.arange(len(surface.area_m2))
    furthest = ndimage.maximum(away, surface.piece, pieces)
    edge = _on_edge(np.ones(surface.node.shape, bool))[surface.place]
    leaves = np.bincount(surface.piece, edge) > 0
    small = (surface.area_m2 > FINGER_AREA_M2) & (surface.area_m2 < HAND_AREA_M2)
    return surface.mask((small & ~leaves & (furthest < FINGER_REACH_M))[surface.piece])


def _pixels(mask: Bool[np.ndarray, "a b"], step: int, shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Blocks as pixels; what is left over at the right and below belongs to no block."""
    pixels = mask.repeat(step, 0).repeat(step, 1)
    return np.pad(pixels, [(0, whole - part) for whole, part in zip(shape, pixels.shape, strict=True)])
