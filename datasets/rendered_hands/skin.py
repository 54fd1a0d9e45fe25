"""What the surface looks like before light: skin tones, palms, nails, creases, blotches, and sleeves."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw, ImageFilter

from .draws import Draws
from .mesh import HandMesh, load

# From very light to very dark; sRGB. Own choice, spread like published skin tone scales.
_TONES_SRGB = np.array(
    [
        (247, 222, 206), (240, 208, 184), (229, 189, 158), (213, 166, 132), (192, 142, 106),
        (164, 114, 82), (133, 89, 63), (102, 68, 50), (76, 51, 41),
    ]
)  # fmt: skip
_CLOTH_SRGB = np.array(
    [
        (34, 38, 52), (58, 70, 98), (92, 116, 150), (120, 36, 40), (150, 88, 60), (46, 78, 60), (124, 128, 116),
        (196, 192, 184), (228, 224, 216), (40, 40, 42), (86, 82, 80), (170, 140, 100), (104, 72, 110), (196, 160, 70),
    ]
)  # fmt: skip
DETAIL_SIZE = 256
DETAIL_LOW_M, DETAIL_SIDE_M = np.array([-0.085, -0.05], np.float32), np.float32(0.24)


def to_linear(srgb: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """sRGB 0…255 to linear 0…1."""
    share = np.asarray(srgb) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


_TONES, _CLOTH, _NAIL = (
    to_linear(srgb).astype(np.float32) for srgb in (_TONES_SRGB, _CLOTH_SRGB, np.array([232, 190, 176]))
)


class Look(NamedTuple):
    """Skin and clothes of a batch. Colours are linear RGB."""

    tone: Float[np.ndarray, "b 3"]
    palm: Float[np.ndarray, "b 3"]
    redness: Float[np.ndarray, " b"]
    wave: Float[np.ndarray, "b 4 3"]  # blotches: wave vectors in 1/m
    phase: Float[np.ndarray, "b 4"]
    blotch: Float[np.ndarray, " b"]
    detail: Float[np.ndarray, " b"]  # strength of creases
    shine: Float[np.ndarray, " b"]
    has_sleeve: Bool[np.ndarray, " b"]
    cut_m: Float[np.ndarray, " b"]  # the sleeve covers rest y below this
    thickness_m: Float[np.ndarray, " b"]
    cloth: Float[np.ndarray, "b 2 3"]  # colour and stripe colour
    stripe: Float[np.ndarray, " b"]  # stripes a metre along the arm; 0 for plain


def sample_look(draws: Draws) -> Look:
    """Draws skin and clothes."""
    position = draws.uniform(high=len(_TONES_SRGB) - 1.001)
    step, share = np.floor(position).astype(int), (position % 1)[:, None]
    tones = _TONES
    tone = (tones[step] * (1 - share) + tones[step + 1] * share) * (1 + draws.normal(3, std=0.04))
    # Palms have little melanin: the darker the hand, the more they stand out.
    pale = tones[2] * np.array([1.0, 0.92, 0.88])
    melanin = 0.25 + 0.25 * position[:, None] / len(_TONES_SRGB)
    palm = tone * (1 - melanin) + melanin * np.maximum(tone * np.array([1.15, 0.97, 0.93]), 0.5 * pale + 0.5 * tone)
    cloth = _CLOTH[draws.integer(0, len(_CLOTH), 2)] * (1 + draws.normal(2, 3, std=0.08))
    look = Look(
        tone=tone,
        palm=palm,
        redness=draws.uniform(low=0.2, high=1.0),
        wave=draws.direction(4) * draws.uniform(4, 1, low=60, high=260),
        phase=draws.uniform(4, high=2 * np.pi),
        blotch=draws.uniform(low=0.01, high=0.05),
        detail=draws.uniform(low=0.4, high=1.2),
        shine=draws.uniform(low=0.3, high=1.3),
        has_sleeve=draws.chance(0.5),
        cut_m=draws.uniform(low=-0.05, high=-0.002),
        thickness_m=draws.uniform(low=0.002, high=0.008),
        cloth=cloth,
        stripe=np.where(draws.chance(0.3), draws.uniform(low=40, high=140), 0),
    )
    return Look(*(values if values.dtype == bool else values.astype(np.float32) for values in look))


@cache
def palm_share() -> Float[np.ndarray, " v"]:
    """1 on the palm, 0 on the back, by the rest normal."""
    mesh = load()
    return np.clip(0.5 + 1.4 * mesh.normals[:, 2], 0, 1) * np.clip((mesh.vertices[:, 1] + 0.02) / 0.03, 0, 1)


def albedo(mesh: HandMesh, look: Look) -> Float[np.ndarray, "b v 3"]:
    """Diffuse colour of the skin at each vertex, linear."""
    palm = palm_share()[:, None].astype(np.float32)
    colour = look.tone[:, None] * (1 - palm) + look.palm[:, None] * palm
    flush = (look.redness[:, None] * mesh.redness)[..., None]
    colour = colour * (1 + flush * np.array([0.10, -0.13, -0.10], np.float32))
    colour *= 1 + _blotches(mesh, look)[..., None] * np.array([0.5, 1.0, 1.0], np.float32)
    nail = mesh.nail[:, None] * 0.75
    nail_colour = colour * 0.55 + 0.45 * _NAIL * (0.4 + 0.6 * look.tone[:, None, :1])
    return np.clip(colour * (1 - nail) + nail_colour * nail, 0.01, 0.95)


def _blotches(mesh: HandMesh, look: Look) -> Float[np.ndarray, "b v"]:
    """A few waves through the rest shape."""
    phase = np.matmul(look.wave, mesh.vertices.T) + look.phase[..., None]
    waves = np.sin(phase)
    return look.blotch[:, None] * (waves[:, 0] + waves[:, 1] + waves[:, 2] + waves[:, 3])


def sleeve_offset(mesh: HandMesh, look: Look) -> Float[np.ndarray, "b v"]:
    """How far a sleeve lifts each vertex along its normal, metres."""
    along = np.clip((look.cut_m[:, None] + 0.006 - mesh.vertices[:, 1]) / 0.012, 0, 1)
    return (look.thickness_m * look.has_sleeve)[:, None] * along * along * (3 - 2 * along)


def surface_colour(
    look: Look,
    sample: np.ndarray,
    rest_xy: Float[np.ndarray, "n 2"],
    palm: Float[np.ndarray, " n"],
    skin: Float[np.ndarray, "n 3"],
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, " n"]]:
    """Diffuse colour and gloss of pixels: skin with its creases, or cloth below the sleeve's cut."""
    texel = np.clip((rest_xy - DETAIL_LOW_M) * (DETAIL_SIZE / DETAIL_SIDE_M), 0, DETAIL_SIZE - 1).astype(np.int32)
    palmar, dorsal = (detail[texel[:, 1], texel[:, 0]] for detail in detail_maps())
    crease = 1 + (palmar * palm + dorsal * (1 - palm)) * look.detail[sample]
    colour, shine = skin * crease[:, None], look.shine[sample]
    covered = np.flatnonzero(look.has_sleeve[sample] & (rest_xy[:, 1] < look.cut_m[sample]))
    of, y = sample[covered], rest_xy[covered, 1]
    striped = np.sin(y * (np.float32(2 * np.pi) * look.stripe)[of]) > 0
    below = look.cut_m[of] - y
    hem = np.where((below > 0.006) & (below < 0.008), np.float32(0.75), np.float32(1))
    colour[covered] = look.cloth[of, striped.astype(np.int8)] * hem[:, None]
    shine[covered] = 0
    return colour, shine


@cache
def detail_maps() -> tuple[Float[np.ndarray, "256 256"], Float[np.ndarray, "256 256"]]:
    """Creases of the palm and wrinkles and veins of the back, as relative brightness over rest x and y."""
    mesh = load()
    return _detail_map(_palmar_strokes(mesh)), _detail_map(_dorsal_strokes(mesh))


def _detail_map(strokes: list[tuple[np.ndarray, float, float]]) -> Float[np.ndarray, "256 256"]:
    """Draws (points in metres, width in texels, relative brightness) twice as large, then reduces."""
    zoom = 2
    total = np.zeros((DETAIL_SIZE, DETAIL_SIZE), np.float32)
    for points, width, strength in strokes:
        canvas = Image.new("L", (DETAIL_SIZE * zoom, DETAIL_SIZE * zoom))
        texels = (points - DETAIL_LOW_M) * (DETAIL_SIZE * zoom / DETAIL_SIDE_M)
        ImageDraw.Draw(canvas).line([tuple(map(float, p)) for p in texels], fill=255, width=round(width * zoom))
        canvas = canvas.filter(ImageFilter.GaussianBlur(width * zoom * 0.6)).reduce(zoom)
        total += strength / 255 * np.asarray(canvas, np.float32)
    grain = np.random.RandomState(7).randn(DETAIL_SIZE, DETAIL_SIZE).astype(np.float32)
    return np.clip(total + 0.015 * grain, -0.5, 0.3)


def _across(mesh: HandMesh, joint: int, half_width_m: float, shift_m: float = 0.0, bow_m: float = 0.001):
    """A short bowed line across a finger at a joint."""
    along = (mesh.joints[joint + 1 if joint % 3 != 0 else joint] - mesh.joints[joint - 1])[:2]
    along = along / np.linalg.norm(along)
    side = np.array([along[1], -along[0]])
    share = np.linspace(-1, 1, 9)[:, None]
    return mesh.joints[joint, :2] + shift_m * along + half_width_m * share * side + bow_m * (share**2) * along


def _palmar_strokes(mesh: HandMesh):
    strokes = []
    for finger in range(1, 5):
        base, middle, end = range(7 + 3 * finger, 10 + 3 * finger)
        strokes += [(_across(mesh, middle, 0.008, shift), 1.3, -0.35) for shift in (-0.001, 0.0025)]
        strokes += [(_across(mesh, end, 0.007), 1.2, -0.3)]
        foot = mesh.joints[base] * 0.42 + mesh.joints[middle] * 0.58
        side = np.linspace(-0.009, 0.009, 5)[:, None] * np.array([1.0, 0.15])
        strokes.append((foot[:2] + side, 1.4, -0.35))
    index, little = mesh.joints[10, :2], mesh.joints[19, :2]
    t = np.linspace(0, 1, 16)[:, None]
    heart = little + [-0.012, -0.010] + t * (index - little + [0.012, 0.004]) + [0, 0.012] * (t - 1) * t * 1.5
    head = index + [0.012, -0.022] + t * [-0.062, -0.030] + [0, 0.012] * t * (1 - t)
    angle = np.linspace(0.15, 1.35, 16)[:, None] * np.pi / 2
    life = np.array([0.042, 0.020]) + 0.048 * np.concatenate([-np.sin(angle) * 0.85, np.cos(angle) * 1.05], 1)
    strokes += [(heart, 1.5, -0.3), (head, 1.5, -0.28), (life, 1.7, -0.35)]
    wrist = np.stack([np.linspace(-0.024, 0.026, 8), np.full(8, -0.004)], 1)
    return [*strokes, (wrist, 1.4, -0.25), (wrist - [0, 0.008], 1.2, -0.2)]


def _dorsal_strokes(mesh: HandMesh):
    strokes = []
    for finger in range(1, 5):
        base, middle, end = range(7 + 3 * finger, 10 + 3 * finger)
        for shift in (-0.004, -0.0015, 0.001, 0.0035):
            strokes.append((_across(mesh, middle, 0.006, shift, 0.002 if shift > 0 else -0.002), 1.0, -0.28))
        strokes += [(_across(mesh, end, 0.005, shift), 0.9, -0.2) for shift in (-0.001, 0.0015)]
        strokes.append((_across(mesh, base, 0.005, 0.0), 4.0, 0.12))  # the knuckle catches light
        tendon = np.stack([mesh.joints[base, :2] * 0.95, mesh.joints[base, :2] * 0.45 + [0.001, 0.0]])
        strokes.append((tendon, 2.5, 0.08))
    for start, bend, end in (
        ((0.012, 0.03), (0.016, 0.055), (0.010, 0.08)),
        ((-0.012, 0.02), (-0.008, 0.05), (-0.026, 0.078)),
    ):
        strokes.append((np.array([start, bend, end]), 2.2, -0.10))
    return strokes
