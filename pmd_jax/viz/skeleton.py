"""Hands drawn on crops, with Pillow alone: skeletons, depth in false colour, contact sheets."""

from __future__ import annotations

import matplotlib
import numpy as np
from jaxtyping import Bool, Num, UInt8, UInt16
from PIL import Image, ImageDraw

from pmd_jax.config.backbones import CROP_SIZE_PX
from pmd_jax.data.hand import BONES, DEPTH_UNIT_M, FINGERS, NUM_JOINTS

FINGER_COLOURS = dict(zip(FINGERS, ("#d55e00", "#e69f00", "#009e73", "#56b4e9", "#cc79a7"), strict=True))
WRIST_COLOUR = "#bbbbbb"
JOINT_COLOURS = (WRIST_COLOUR, *(colour for colour in FINGER_COLOURS.values() for _ in range(4)))
MISSING_COLOUR = (128, 128, 128)  # depth that was not measured: viridis has no grey
COLOURED_DEPTH = 0.3 / DEPTH_UNIT_M  # units of the depth map
_OUTLINE = "#1a1a1a"
_SUPERSAMPLING = 3  # Pillow's lines have hard edges: draw larger, then average


# ---- pictures


def draw_skeleton(
    rgb: UInt8[np.ndarray, "h w 3"],
    uv_px: Num[np.ndarray, "21 2"],
    zoom: int = 4,
    visible: Bool[np.ndarray, " 21"] | None = None,
    z: Num[np.ndarray, " 21"] | None = None,
) -> Image.Image:
    """The crop magnified `zoom` times with bones and joints, one colour a finger; hidden joints are hollow.

    Pixel centres lie at integers, so joint (u, v) is drawn at ((u + ½)·zoom, (v + ½)·zoom). Joints that are not finite
    are left out. What is nearer by `z` lies over what is farther.
    """
    size = max(rgb.shape[:2])
    scale = zoom * _SUPERSAMPLING
    image = Image.fromarray(rgb).resize((rgb.shape[1] * scale, rgb.shape[0] * scale), Image.Resampling.NEAREST)
    z = np.zeros(NUM_JOINTS) if z is None else z
    visible = np.ones(NUM_JOINTS, bool) if visible is None else visible
    draw, unit = ImageDraw.Draw(image), size * scale / CROP_SIZE_PX
    xy = (np.clip(uv_px, -4 * size, 5 * size) + 0.5) * scale  # Pillow does not bear coordinates near infinity
    drawn = set(np.flatnonzero(np.isfinite(xy).all(axis=-1)).tolist())

    bones = [(parent, joint) for parent, joint in BONES if {parent, joint} <= drawn]
    for parent, joint in sorted(bones, key=lambda bone: -z[list(bone)].mean()):
        width = unit if visible[parent] and visible[joint] else unit / 2
        draw.line((*xy[parent], *xy[joint]), fill=_OUTLINE, width=round(width * 1.4))
        draw.line((*xy[parent], *xy[joint]), fill=JOINT_COLOURS[joint], width=round(width * 0.9))
    for joint in sorted(drawn, key=lambda joint: -z[joint]):
        colour = JOINT_COLOURS[joint]
        fill, edge = (colour, _OUTLINE) if visible[joint] else (_OUTLINE, colour)
        draw.circle(tuple(xy[joint]), unit * 1.2, fill=fill, outline=edge, width=max(1, round(unit * 0.3)))
    return image.reduce(_SUPERSAMPLING)


def false_colour(depth: UInt16[np.ndarray, "s s"]) -> UInt8[np.ndarray, "s s 3"]:
    """Depth in units of 0.1 mm as colours, near bright and far dark over the measured range; grey where missing (0).

    The range ends 0.3 m behind the nearest: the wall behind a hand would take up all the colours.
    """
    measured = depth > 0
    near, far = np.percentile(depth[measured], [2, 98]) if measured.any() else (0.0, 1.0)
    far = min(far, near + COLOURED_DEPTH)
    nearness = ((far - depth.astype(float)) / max(far - near, 1.0)).clip(0, 1)
    colours = (matplotlib.colormaps["viridis"](nearness)[..., :3] * 255).astype(np.uint8)
    return np.where(measured[..., None], colours, np.array(MISSING_COLOUR, np.uint8))


def contact_sheet(
    rgb: UInt8[np.ndarray, "n s s 3"],
    depth: UInt16[np.ndarray, "n s s"],
    uv: Num[np.ndarray, "n 21 2"],
    columns: int = 8,
    zoom: int = 2,
) -> Image.Image:
    """Crops in reading order, each with its joints (crop pixels) beside its depth (0.1 mm) in false colour.

    Raises:
        ValueError: there is no crop to show.
    """
    if not len(rgb):
        raise ValueError("A contact sheet needs at least one crop; it was given none.")
    side, gap = rgb.shape[1] * zoom, 4
    columns = min(columns, len(rgb))
    rows = -(-len(rgb) // columns)
    pitch_x, pitch_y = 2 * side + gap, side + gap
    sheet = Image.new("RGB", (columns * pitch_x + gap, rows * pitch_y + gap), "white")
    for i in range(len(rgb)):
        x, y = gap + i % columns * pitch_x, gap + i // columns * pitch_y
        sheet.paste(draw_skeleton(rgb[i], uv[i], zoom), (x, y))
        false = Image.fromarray(false_colour(depth[i]))
        sheet.paste(false.resize((side, side), Image.Resampling.NEAREST), (x + side, y))
    return sheet
