"""What hands wear: sleeves of any cloth, gloves, rings, watches and bracelets; also painted nails and hair.

All of it is decided at the pixel from its place on the rest shape; sleeves, gloves and watches also lift the surface.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw

from .draws import Draws
from .mesh import FINGER_BONES, TIP_JOINTS, HandMesh, load
from .skin import DETAIL_LOW_M, DETAIL_SIDE_M, DETAIL_SIZE, to_linear

_METALS = to_linear(np.array([(212, 175, 90), (200, 200, 205), (222, 170, 140), (60, 60, 62)])).astype(np.float32)
_RINGS = 2


class Wear(NamedTuple):
    """Clothes and jewellery of a batch. Colours are linear RGB, places metres on the rest shape."""

    sleeve: Bool[np.ndarray, " b"]
    cut_m: Float[np.ndarray, " b"]  # the sleeve covers rest y below this
    slant: Float[np.ndarray, " b"]  # how much further it reaches on one side, metres a metre
    thickness_m: Float[np.ndarray, " b"]
    flare: Float[np.ndarray, " b"]  # added thickness, metres a metre up the arm
    folds: Float[np.ndarray, "b 2 5"]  # waves of the surface: wave vector in 1/m, phase, height in metres
    cloth: Float[np.ndarray, "b 3 3"]  # colours: ground, pattern, cuff
    pattern: Float[np.ndarray, "b 3"]  # stripes a metre along and around, contrast of the weave; 0 for none
    cuff_m: Float[np.ndarray, " b"]
    glove: Bool[np.ndarray, " b"]
    glove_cut_m: Float[np.ndarray, " b"]  # covers rest y above this
    ring: Bool[np.ndarray, "b 2"]
    ring_at: Float[np.ndarray, "b 2 2 3"]  # middle and unit axis
    ring_half_m: Float[np.ndarray, "b 2"]
    watch: Bool[np.ndarray, " b"]
    watch_y_m: Float[np.ndarray, " b"]
    watch_half_m: Float[np.ndarray, " b"]
    dial_m: Float[np.ndarray, " b"]  # radius; 0 for a bracelet
    metal: Float[np.ndarray, "b 3 3"]  # rings, strap, dial
    polish: Float[np.ndarray, "b 4"]  # colour and cover of the nails
    hair: Float[np.ndarray, " b"]


def sample_wear(draws: Draws) -> Wear:
    """Draws clothes, jewellery, nails and hair."""
    bones = np.array(FINGER_BONES)[1 + draws.integer(0, 4, _RINGS)]
    joints = load().joints
    base, after = joints[bones[..., 0]], joints[bones[..., 1]]
    axis = (after - base) / np.linalg.norm(after - base, axis=-1, keepdims=True)
    place = base + (after - base) * draws.uniform(_RINGS, 1, low=0.5, high=0.72)
    waves = np.concatenate(
        [
            draws.normal(2, 3, std=70),
            draws.uniform(2, 1, high=2 * np.pi),
            draws.uniform(2, 1, low=0.0005, high=0.004),
        ],
        -1,
    )
    pattern = draws.uniform(3, low=(30), high=160) * (draws.uniform(3) < (0.3, 0.22, 0.5))
    polish = np.concatenate([draws.uniform(3) ** 2, 0.9 * draws.chance(0.12, 1)], -1)
    strap = np.where(draws.chance(0.4, 1), _dull(draws), _METALS[draws.integer(0, 4)])
    metal = np.stack([_METALS[draws.integer(0, 3)], strap, draws.uniform(1, low=0.01, high=0.6) + np.zeros(3)], 1)
    glove = draws.chance(0.05)
    cut = draws.uniform(low=-0.17, high=0.012)
    wear = Wear(
        sleeve=draws.chance(0.55),
        cut_m=cut,
        slant=draws.normal(std=0.15),
        thickness_m=draws.uniform(low=0.002, high=0.011),
        flare=np.maximum(draws.normal(std=0.12), 0),
        folds=waves,
        cloth=np.stack([_cloth(draws), _cloth(draws), _cloth(draws)], 1),
        pattern=pattern,
        cuff_m=draws.uniform(low=0.008, high=0.05) * draws.chance(0.4),
        glove=glove,
        glove_cut_m=draws.uniform(low=-0.06, high=-0.01),
        ring=(draws.uniform(_RINGS) < (0.2, 0.1)) & ~glove[:, None],
        ring_at=np.stack([place, axis], 2),
        ring_half_m=draws.uniform(_RINGS, low=0.0012, high=0.003),
        watch=draws.chance(0.16) & (cut < -0.02),
        watch_y_m=draws.uniform(low=-0.045, high=-0.018),
        watch_half_m=draws.uniform(low=0.003, high=0.011),
        dial_m=draws.uniform(low=0.012, high=0.02) * draws.chance(0.75),
        metal=metal,
        polish=polish,
        hair=0.7 * draws.uniform() ** 2 * draws.chance(0.5),
    )
    return Wear(*(values if values.dtype == bool else values.astype(np.float32) for values in wear))


def _cloth(draws: Draws) -> Float[np.ndarray, "b 3"]:
    """Cloth is grey, white, black or navy more often than it is coloured."""
    return np.where(draws.chance(0.45, 1), _dull(draws), draws.uniform(3) ** 2.2)


def _dull(draws: Draws) -> Float[np.ndarray, "b 3"]:
    return np.clip(draws.uniform(1) ** 2 * (1 + draws.normal(3, std=0.12)), 0.004, 0.9)


def lift(mesh: HandMesh, wear: Wear) -> Float[np.ndarray, "b v"]:
    """How far what is worn lifts each vertex along its normal, metres."""
    x, y = mesh.vertices.T[:2]
    into = _hem(wear, x, y)
    folds = (
        np.sin(np.matmul(wear.folds[..., :3], mesh.vertices.T) + wear.folds[..., 3, None]) * wear.folds[..., 4, None]
    )
    deep = np.clip(into, 0, 0.06)
    height = wear.thickness_m[:, None] + wear.flare[:, None] * deep + folds.sum(1) * np.clip(into / 0.01, 0, 1)
    sleeve = _step(into + 0.006, 0.012) * np.maximum(height, 0.001) * wear.sleeve[:, None]
    glove = _step(y - wear.glove_cut_m[:, None], 0.006) * (0.0012 * wear.glove)[:, None]
    near = wear.watch_half_m[:, None] + 0.006 - np.abs(y - wear.watch_y_m[:, None])
    return np.maximum(np.maximum(sleeve, glove), _step(near, 0.006) * (0.003 * wear.watch)[:, None])


def _hem(wear: Wear, x, y) -> Float[np.ndarray, "b v"]:
    """How far below the sleeve's end each vertex lies."""
    return wear.cut_m[:, None] + wear.slant[:, None] * x - y


def _step(value, width: float):
    share = np.clip(value / width, 0, 1)
    return share * share * (3 - 2 * share)


def dress(
    wear: Wear,
    sample: np.ndarray,
    rest: Float[np.ndarray, "n 3"],
    nail: Float[np.ndarray, " n"],
    palm: Float[np.ndarray, " n"],
    colour: Float[np.ndarray, "n 3"],
    shine: Float[np.ndarray, " n"],
) -> None:
    """Puts what is worn onto bare skin, in place.

    Args:
        sample: row of `wear` of each pixel.
        rest: place on the rest shape, metres.
        nail, palm: 0…1.
        colour, shine: diffuse colour and gloss of the skin, overwritten where something covers it.
    """
    hairy = wear.hair[sample] * (1 - palm)
    colour *= 1 - (hairy * _texel(_hair(), rest))[:, None] * np.array([0.75, 0.85, 0.95], np.float32)
    painted = np.clip(nail * 1.5, 0, 1) * wear.polish[sample, 3]
    colour += (wear.polish[sample, :3] - colour) * painted[:, None]
    shine *= 1 + 1.5 * painted
    for number in range(_RINGS):
        _put_on_ring(wear, sample, rest, number, colour, shine)
    _put_on_watch(wear, sample, rest, colour, shine)
    _put_on_cloth(wear, sample, rest, colour, shine)


def _put_on_ring(wear: Wear, sample, rest, number, colour, shine) -> None:
    rows = np.flatnonzero(wear.ring[sample, number])
    of, middle, axis = sample[rows], *np.moveaxis(wear.ring_at[sample[rows], number], 1, 0)
    offset = rest[rows] - middle
    along = (offset * axis).sum(-1)
    off = np.sqrt(np.maximum((offset**2).sum(-1) - along**2, 0))
    on = rows[(np.abs(along) < wear.ring_half_m[of, number]) & (off < 0.0125)]
    colour[on] = wear.metal[sample[on], 0]
    shine[on] = 6


def _put_on_watch(wear: Wear, sample, rest, colour, shine) -> None:
    rows = np.flatnonzero(wear.watch[sample])
    of, place = sample[rows], rest[rows]
    up = place[:, 1] - wear.watch_y_m[of]
    strap = np.abs(up) < wear.watch_half_m[of]
    distance = np.hypot(place[:, 0], up)
    dial = (distance < wear.dial_m[of]) & (place[:, 2] < -0.002)
    rim = dial & (distance > 0.82 * wear.dial_m[of])
    for where, part, gloss in ((strap, 1, 2), (dial, 2, 4), (rim, 1, 5)):
        colour[rows[where]] = wear.metal[of[where], part]
        shine[rows[where]] = gloss


def _put_on_cloth(wear: Wear, sample, rest, colour, shine) -> None:
    into = wear.cut_m[sample] + wear.slant[sample] * rest[:, 0] - rest[:, 1]
    sleeve = wear.sleeve[sample] & (into > 0)
    rows = np.flatnonzero(sleeve | (wear.glove[sample] & (rest[:, 1] > wear.glove_cut_m[sample])))
    of, place, into, sleeve = sample[rows], rest[rows], into[rows], sleeve[rows]
    # A glove is of the cuff's colour where there is also a sleeve.
    ground = np.where(sleeve, 0, 2)
    waves = wear.pattern[of] * np.float32(2 * np.pi)
    around = np.arctan2(place[:, 2], place[:, 0]) * np.float32(0.03)
    striped = (np.sin(waves[:, 0] * place[:, 1]) > 0.3) | (np.sin(waves[:, 1] * around) > 0.6)
    cuff = into < wear.cuff_m[of]
    which = np.where(sleeve & cuff, 2, np.where(sleeve & striped, 1, ground))
    weave = 1 + np.float32(0.004) * wear.pattern[of, 2] * (_texel(_weave(), place) - np.float32(0.5))
    phase = (wear.folds[of, :, :3] * place[:, None]).sum(-1) + wear.folds[of, :, 3]
    steep = wear.folds[of, :, 4] * np.sqrt((wear.folds[of, :, :3] ** 2).sum(-1))
    weave *= np.where(sleeve, 1 + 0.9 * np.tanh((np.cos(phase) * steep).sum(-1)), 1)  # folds turn to and from the light
    hem = np.where((np.abs(into - wear.cuff_m[of]) < 0.0012) & sleeve, np.float32(0.6), np.float32(1))
    colour[rows] = wear.cloth[of, which] * (weave * hem)[:, None]
    shine[rows] = np.where(sleeve, 0, np.float32(0.5))


def _texel(image, rest):
    place = np.clip((rest[:, :2] - DETAIL_LOW_M) * (DETAIL_SIZE / DETAIL_SIDE_M), -DETAIL_SIZE, 2 * DETAIL_SIZE)
    column, row = (place.astype(np.int32) % DETAIL_SIZE).T
    return image[row, column]


@cache
def _hair() -> Float[np.ndarray, "256 256"]:
    """Short dark strokes along the arm, 0…1; none on the fingers' last bones."""
    random, joints = np.random.RandomState(31), load().joints
    canvas = Image.new("L", (4 * DETAIL_SIZE, 4 * DETAIL_SIZE))
    brush = ImageDraw.Draw(canvas)
    ends = joints[list(TIP_JOINTS[1:]), :2]
    for start in random.uniform(0, 4 * DETAIL_SIZE, (2600, 2)):
        place = start / (4 * DETAIL_SIZE) * DETAIL_SIDE_M + DETAIL_LOW_M
        if np.linalg.norm(ends - place, axis=1).min() < 0.045:
            continue
        bent = start + random.normal(0, 5, 2) + (random.choice([-1, 1]) * 9, 16)
        brush.line([*map(float, start), *map(float, bent)], fill=255, width=2)
    return np.asarray(canvas.reduce(4), np.float32) / 255


@cache
def _weave() -> Float[np.ndarray, "256 256"]:
    """The unevenness of cloth at two scales, 0…1."""
    random = np.random.RandomState(37)
    coarse = random.rand(32, 32).repeat(8, 0).repeat(8, 1)
    return (0.5 * coarse + 0.5 * random.rand(DETAIL_SIZE, DETAIL_SIZE)).astype(np.float32)
