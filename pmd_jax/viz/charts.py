"""Curves and bars: arrays in, a Matplotlib figure out; nothing here touches the disk."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from jaxtyping import Float, Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image

from pmd_jax.data.hand import JOINT_NAMES, NUM_JOINTS

METHOD_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
METHOD_LINES = ("-", "--", "-.", (0, (1, 1)))
AXES = ("x (right)", "y (down)", "z (depth)")

Curves = Mapping[str, tuple[Num[np.ndarray, " n"], Num[np.ndarray, " n"]]]  # method → (x, y)


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


def differences(values: Mapping[str, tuple[float, float]], to: str) -> Figure:
    """EPE less that of the method `to` (mm), a line a variant: mean and half its interval (NaN where there is none)."""
    figure, axes = _chart(f"EPE less that of {to} (mm)", "", height=0.8 + 0.24 * len(values))
    means, halves = np.array(list(values.values()), float).reshape(-1, 2).T
    places = np.arange(len(values))
    axes.errorbar(means, places, xerr=np.nan_to_num(halves), fmt="o", color=METHOD_COLOURS[0], capsize=3, markersize=4)
    axes.axvline(0, color="#777777", linewidth=0.8)
    axes.set_yticks(places, list(values))
    axes.set_ylim(len(values) - 0.5, -0.5)  # first variant on top
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
