"""Figures for people: arrays in, a Pillow image or a Matplotlib figure out; nothing here touches the disk.

Colours are Okabe and Ito's, which stay apart for colour-blind readers; curves differ in line style too. The figures are
built on `matplotlib.figure.Figure` itself, so no global pyplot state is read or left behind.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Int, Num, UInt8, UInt16
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image, ImageDraw

from pmd_jax.data.hand import BONES, DEPTH_UNIT_M, FINGERS, JOINT_NAMES, NUM_JOINTS, project

FINGER_COLOURS = dict(zip(FINGERS, ("#d55e00", "#e69f00", "#009e73", "#56b4e9", "#cc79a7"), strict=True))
WRIST_COLOUR = "#bbbbbb"
JOINT_COLOURS = (WRIST_COLOUR, *(colour for colour in FINGER_COLOURS.values() for _ in range(4)))
MISSING_COLOUR = (128, 128, 128)  # depth that was not measured: viridis has no grey
COLOURED_DEPTH = 0.3 / DEPTH_UNIT_M  # units of the depth map
METHOD_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
METHOD_LINES = ("-", "--", "-.", (0, (1, 1)))
AXES = ("x (right)", "y (down)", "z (depth)")
_OUTLINE = "#1a1a1a"
_SUPERSAMPLING = 3  # Pillow's lines have hard edges: draw larger, then average

Curves = Mapping[str, tuple[Num[np.ndarray, " n"], Num[np.ndarray, " n"]]]  # method → (x, y)


def _rotation(yaw_deg: float, pitch_deg: float) -> Float[np.ndarray, "3 3"]:
    """Turns camera-frame points by `yaw_deg` about the y axis, then by `pitch_deg` about the x axis."""
    (cy, cp), (sy, sp) = np.cos(np.deg2rad([yaw_deg, pitch_deg])), np.sin(np.deg2rad([yaw_deg, pitch_deg]))
    return np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])


# Both show the depth axis, which the overlay on the picture hides.
VIEWPOINTS = {"from the side": _rotation(75, 10), "from above": _rotation(0, 75)}


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
    draw, unit = ImageDraw.Draw(image), size * scale / 64
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


# ---- curves and bars


def pck_curves(curves: Curves, auc: Mapping[str, float]) -> Figure:
    """Share of joints within a threshold, 20 to 50 mm, area under the curve in the legend (paper, figure 6).

    `curves` maps a method to (thresholds in mm, PCK from 0 to 1), `auc` a method to its AUC over 20–50 mm.
    """
    figure, axes = _chart("Error threshold (mm)", "PCK: share of joints within it")
    labels = {name: f"{name} (AUC {auc[name]:.3f})" if name in auc else name for name in curves}
    _lines(figure, curves, labels)
    axes.set_xlim(20, 50)
    lowest = min((y[(x >= 20) & (x <= 50)].min(initial=0.9) for x, y in curves.values()), default=0.9)
    axes.set_ylim(np.floor(lowest * 10) / 10, 1)
    return figure


def loss_curves(curves: Curves, window: int = 25) -> Figure:
    """Training loss against the step, a running mean of `window` logged steps, on a logarithmic axis.

    A method without points keeps its place in the order of colours, so that colours agree between figures.
    """
    figure, axes = _chart("Step", f"Training loss (mean of {window} logged steps)")
    _lines(figure, {name: (x, running_mean(y, window)) for name, (x, y) in curves.items()})
    for i, (x, y) in enumerate(curves.values()):
        axes.plot(x, y, color=METHOD_COLOURS[i % len(METHOD_COLOURS)], alpha=0.3, linewidth=0.6, zorder=1)
    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter=NullFormatter())
    return figure


def epe_curves(curves: Curves) -> Figure:
    """Mean end point error (mm) at each evaluation during training, against the step."""
    figure, _ = _chart("Step", "Evaluation EPE (mm)")
    _lines(figure, curves, marker="o")
    return figure


def epe_by_labels(points: Mapping[str, Float[np.ndarray, "3 n"]], counts: Sequence[str]) -> Figure:
    """Mean end point error (mm) at each number of labels: rows of place in `counts`, mean, half the mean's interval."""
    figure, axes = _chart("Labelled training samples", "EPE (mm)", height=3.6)
    _lines(figure, {name: (place, mean) for name, (place, mean, _) in points.items()}, marker="o")
    for colour, (place, mean, half) in zip(METHOD_COLOURS, points.values(), strict=False):
        axes.errorbar(place, mean, np.nan_to_num(half), fmt="none", ecolor=colour, capsize=3, linewidth=1.2)
    axes.set_xticks(range(len(counts)), counts)
    return figure


def per_joint_bars(epe_mm: Mapping[str, Float[np.ndarray, " 21"]]) -> Figure:
    """Mean error of every joint (mm), grouped by joint."""
    labels = tuple(name.replace("_", " ") for name in JOINT_NAMES)
    return _bars(epe_mm, labels, "EPE (mm)", height=0.35 + NUM_JOINTS * max(0.24, 0.085 * len(epe_mm)))


def per_axis_bars(error_mm: Mapping[str, Float[np.ndarray, " 3"]]) -> Figure:
    """Mean absolute error along each camera axis (mm): the paper expects depth to gain most."""
    return _bars(error_mm, AXES, "Mean absolute error (mm)", height=0.7 + 3 * max(0.4, 0.2 * len(error_mm)))


def running_mean(values: Num[np.ndarray, " n"], window: int) -> Float[np.ndarray, " n"]:
    """Centred mean of up to `window` values; at the ends of what there is."""
    ones = np.ones(max(1, min(window, len(values))))
    if not len(values):
        return np.zeros(0)
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def _chart(x_label: str, y_label: str, height: float = 3.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, height), layout="constrained")
    axes = figure.add_subplot(xlabel=x_label, ylabel=y_label)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _lines(figure: Figure, curves: Curves, labels: Mapping[str, str] | None = None, marker: str = "") -> None:
    handles, names = [], []
    for i, (name, (x, y)) in enumerate(curves.items()):
        if len(x):
            colour, line = METHOD_COLOURS[i % len(METHOD_COLOURS)], METHOD_LINES[i % len(METHOD_LINES)]
            style = {"color": colour, "linestyle": line, "linewidth": 1.8, "marker": marker, "markersize": 4}
            handles += figure.axes[0].plot(x, y, **style)
            names.append(labels[name] if labels else name)
    _legend(figure, handles, names)


def _bars(values: Mapping[str, Num[np.ndarray, " n"]], labels: tuple[str, ...], x_label: str, height: float) -> Figure:
    figure, axes = _chart(x_label, "", height)
    places, thickness, handles = np.arange(len(labels)), 0.8 / max(1, len(values)), []
    for i, value in enumerate(values.values()):
        offset = (i + 0.5) * thickness - 0.4
        colour = METHOD_COLOURS[i % len(METHOD_COLOURS)]
        handles.append(axes.barh(places + offset, value, thickness * 0.92, color=colour))
    axes.set_yticks(places, labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)  # first label on top
    axes.grid(visible=False, axis="y")
    _legend(figure, handles, list(values))
    return figure


def _legend(figure: Figure, handles: list, names: list[str]) -> None:
    """A legend above the axes, which keep their height.

    Names appear as they are: Matplotlib alone would drop those that start with _ and read $…$ as mathematics.
    """
    if not handles:
        return
    columns = max(1, min(3, 60 // (max(map(len, names)) + 7)))
    figure.set_figheight(figure.get_figheight() + 0.21 * -(-len(names) // columns))
    numbers = [str(i) for i in range(len(names))]
    legend = figure.legend(handles, numbers, loc="outside upper left", ncols=columns, frameon=False)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=name, parse_math=False)


# ---- poses and augmentation


def pose_grid(
    rgb: UInt8[np.ndarray, "n s s 3"],
    depth: UInt16[np.ndarray, "n s s"],
    K: Float[np.ndarray, "n 3 3"],
    true_m: Float[np.ndarray, "n 21 3"],
    predicted_m: Mapping[str, Float[np.ndarray, "n 21 3"]],
) -> Figure:
    """Pictures on top, then a row of skeletons for each method, the truth last (paper, figure 7).

    Poses are metres in the camera frame. Each skeleton is drawn on the crop and from `VIEWPOINTS`, there over the truth
    in grey; all views of one hand share one scale. The number below a prediction is its own error in mm.
    """
    rows = [*predicted_m.items(), ("Ground truth", true_m)]
    panels = 1 + len(VIEWPOINTS)
    shape = (1 + len(rows), len(rgb) * panels)
    figure = Figure(figsize=(0.6 + 1.05 * shape[1], 0.2 + 1.2 * shape[0]))
    grid = figure.subplots(*shape, squeeze=False, gridspec_kw={"wspace": 0.04, "hspace": 0.14})
    left, top = 0.6 / figure.get_figwidth(), 1 - 0.2 / figure.get_figheight()
    figure.subplots_adjust(left=left, right=0.998, top=top, bottom=0.02)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for row, name in enumerate(("RGB and depth", *(name for name, _ in rows))):
        grid[row, 0].set_ylabel(textwrap.fill(name, 18), fontsize=8, parse_math=False)

    for i in range(len(rgb)):
        pictures, *others = grid[:, i * panels : (i + 1) * panels]
        pictures[0].imshow(rgb[i], interpolation="nearest")
        pictures[1].imshow(false_colour(depth[i]), interpolation="nearest")
        for axes, view in zip(others[0][1:], VIEWPOINTS, strict=True):
            axes.set_title(view, fontsize=7, pad=2)
        for (_, pose), (overlay, *views) in zip(rows, others, strict=True):
            overlay.imshow(draw_skeleton(rgb[i], project(pose[i], K[i])))
            if pose is not true_m:
                epe_mm = 1000 * np.linalg.norm(pose[i] - true_m[i], axis=-1).mean()
                overlay.set_xlabel(f"{epe_mm:.1f} mm", fontsize=7, labelpad=2)
            for axes, rotation in zip(views, VIEWPOINTS.values(), strict=True):
                _draw_view(axes, pose[i], true_m[i], rotation)
    return figure


def _draw_view(axes: Axes, pose_m: Float[np.ndarray, "21 3"], true_m: Float[np.ndarray, "21 3"], rotation) -> None:
    """Orthographic view of a pose over the truth in grey, with a bar of 50 mm."""
    middle = (true_m.min(0) + true_m.max(0)) / 2
    reach = 1.15 * np.linalg.norm(true_m - middle, axis=-1).max()
    true_xy, (*pose_xy, distance) = (true_m - middle) @ rotation.T, ((pose_m - middle) @ rotation.T).T
    pose_xy = np.stack(pose_xy, -1)
    bones = sorted(BONES, key=lambda bone: -distance[list(bone)].mean())  # far bones first
    axes.add_collection(LineCollection(list(true_xy[np.array(BONES), :2]), colors="#c8c8c8", linewidths=2.4))
    colours = [JOINT_COLOURS[joint] for _, joint in bones]
    axes.add_collection(LineCollection(list(pose_xy[np.array(bones)]), colors=colours, linewidths=1.6))
    axes.scatter(*pose_xy.T, s=5, c=JOINT_COLOURS, zorder=3)
    axes.plot([-reach, 0.05 - reach], [reach * 0.97] * 2, color="#555555", linewidth=1)
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal")


def occlusion_examples(
    rgb_before: UInt8[np.ndarray, "m s s 3"],
    rgb_after: UInt8[np.ndarray, "m s s 3"],
    block: Int[np.ndarray, "m 3"],
) -> Figure:
    """Random block replacement: solid the block that is replaced, dashed the one it is copied from (paper, figure 4).

    `block` holds row, column and size in pixels of the replaced block; its source lies directly to its right. Size 0
    means that the picture was left alone.
    """
    figure = Figure(figsize=(0.35 + 1.5 * len(block), 3.1), layout="constrained")
    grid = figure.subplots(2, len(block), squeeze=False)
    for (top, bottom), before, after, (row, column, size) in zip(grid.T, rgb_before, rgb_after, block, strict=True):
        for axes, picture in ((top, before), (bottom, after)):
            axes.imshow(picture, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            for shift, line in ((0, "-"), (size, (0, (2, 1.5)))) if size else ():
                corner = column + shift - 0.5, row - 0.5
                for colour, width, style in (("white", 2.6, "-"), ("#c00000", 1.4, line)):
                    frame = {"edgecolor": colour, "linewidth": width, "linestyle": style}
                    axes.add_patch(Rectangle(corner, size, size, fill=False, **frame))
    grid[0, 0].set_ylabel("Before")
    grid[1, 0].set_ylabel("After")
    return figure


# ---- bytes


def svg_bytes(figure: Figure) -> bytes:
    """The figure as SVG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "pmd_jax"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def png_bytes(picture: Figure | Image.Image, dpi: int = 150) -> bytes:
    """A figure (at `dpi`) or an image as PNG; the same picture gives the same bytes."""
    buffer = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    else:
        picture.save(buffer, format="PNG")
    return buffer.getvalue()
