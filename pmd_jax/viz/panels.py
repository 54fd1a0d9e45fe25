"""Figures for people: arrays in, a Pillow image or a Matplotlib figure out; nothing here touches the disk.

Colours are Okabe and Ito's, which stay apart for colour-blind readers; curves differ in line style too. The figures are
built on `matplotlib.figure.Figure` itself, so no global pyplot state is read or left behind.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int, UInt8, UInt16
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pmd_jax.data.hand import BONES, project
from pmd_jax.viz.skeleton import JOINT_COLOURS, draw_skeleton, false_colour


def _rotation(yaw_deg: float, pitch_deg: float) -> Float[np.ndarray, "3 3"]:
    """Turns camera-frame points by `yaw_deg` about the y axis, then by `pitch_deg` about the x axis."""
    (cy, cp), (sy, sp) = np.cos(np.deg2rad([yaw_deg, pitch_deg])), np.sin(np.deg2rad([yaw_deg, pitch_deg]))
    return np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])


# Both show the depth axis, which the overlay on the picture hides.
VIEWPOINTS = {"from the side": _rotation(75, 10), "from above": _rotation(0, 75)}


# ---- poses and augmentation


def pose_grid(
    rgb: UInt8[np.ndarray, "n s s 3"],
    depth: UInt16[np.ndarray, "n s s"],
    K: Float[np.ndarray, "n 3 3"],
    true_m: Float[np.ndarray, "n 21 3"],
    predicted_m: Mapping[str, Float[np.ndarray, "n 21 3"]],
    truth: str = "Ground truth",
) -> Figure:
    """Pictures on top, then a row of skeletons for each method, the truth last (paper, figure 7).

    Poses are metres in the camera frame. Each skeleton is drawn on the crop and from `VIEWPOINTS`, there over the truth
    in grey; all views of one hand share one scale. The number below a prediction is its own error in mm. What counts as
    the truth is named by `truth`.
    """
    rows = [*predicted_m.items(), (truth, true_m)]
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
