"""What crops without joints look like where the hand is found in depth → benchmarks/results/segment_boxes.json.

    python -m benchmarks.segment_boxes    # a minute on two cores

STB itself cannot be had here. So its archives are made of rendered hands, as its two cameras would see them before a
wall, and prepared by the real builder with the box around the nearest depth segment. Then the hand finder alone, on
whole pictures of the views that rendered hands have: each hand with its forearm, before a wall, with a sensor's
noise and without. Left out are those whose forearm ends in the picture, which no arm does. The seeds are not those that
its constants were chosen on. The sentences of docs/labels.md and docs/your_camera.md come from the file.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from benchmarks import RESULTS, ROOT
from benchmarks.measure import publish
from benchmarks.render import fill
from pmd_jax.data import cropping
from pmd_jax.data.dataset import read_columns
from pmd_jax.data.hand import DEPTH_UNIT_M
from pmd_jax.data.hand_segment import JUMP_M, NoHand, hand_masks
from pmd_jax.prepare.preparation import prepare
from pmd_jax.prepare.registry import register_datasets
from pmd_jax.runtime.files import read_text
from reference import mini_archives

FILE = RESULTS / "segment_boxes.json"
PAGE, CAMERA_PAGE = ROOT / "docs" / "labels.md", ROOT / "docs" / "your_camera.md"
MARKS = ("<!-- segment-boxes:begin -->", "<!-- segment-boxes:end -->")
PICTURES = 96
VIEWS, VIEW_PICTURES, SEED = ("rhd_like", "everyday"), 400, 900
# A stereo sensor, roughly: noise at half a metre, which grows with distance squared; shares lost; steps of the map.
NOISE_M, LOST_AT_EDGES, LOST_IN_PATCHES, STEP_M = 0.002, 0.6, 0.05, 0.001
CAMERA = {"width": 640, "height": 480, "fx": 608.0, "fy": 608.0, "cx": 320.0, "cy": 240.0}
WALL_M = 2.0
WANTED = (1.3, 1.9)  # of a crop's side over the joints' larger extent; around joints it is 1.5
CROP = 64


def measure(pictures: int) -> dict[str, Any]:
    """STB's way: how wide the crops are, and how many joints they hold."""
    drawn = mini_archives.stb_frames(pictures + 1, seed=3)
    files = mini_archives.stb_files({"B1Random": drawn[:1], "B5Random": drawn[1:]})  # the latter is training's
    with tempfile.TemporaryDirectory() as folder:
        mini_archives.write_stb_zips(Path(folder, "raw", "stb"), files)
        prepared = prepare(
            "stb",
            data_dir=Path(folder, "prepared"),
            manual_dir=Path(folder, "raw"),
            dataset_config="mask_box",
            allow_partial=True,
            allow_bad=pictures,
        )
        columns = read_columns(prepared, "train")
    return {"pictures": pictures, "found": len(columns), **_spread(columns.uv)}


def measure_view(views: str, pictures: int, noisy: bool = False) -> dict[str, Any]:
    """The hand finder alone."""
    register_datasets()
    from pmd_datasets.rendered_hands import generate, view  # pyright: ignore

    settings = generate.Settings(view.FullFrame(**CAMERA), views)
    crops, shown = [], 0
    for start in range(0, pictures, 50):
        drawn = generate.render(SEED, range(start, min(start + 50, pictures)), settings)
        for depth, mask, K, uv in zip(*(drawn[name] for name in ("depth", "mask", "K", "uv")), strict=True):
            forearm = (depth > 0) & ~mask
            if not (forearm[[0, -1]].any() or forearm[:, [0, -1]].any()):
                continue
            depth_m = np.where(depth > 0, depth * DEPTH_UNIT_M, WALL_M)
            depth_m = with_noise(depth_m, shown) if noisy else depth_m
            shown += 1
            try:
                box = cropping.mask_box(hand_masks(depth_m, K.astype(float))[0])
            except NoHand:
                continue
            crops.append(cropping.crop_points(uv, box, CROP))
    return {"pictures": shown, "found": len(crops), **_spread(np.stack(crops))}


def with_noise(depth_m: Float[np.ndarray, "h w"], seed: int) -> Float[np.ndarray, "h w"]:
    """As a stereo sensor measures it: noise, holes in patches and at edges, steps."""
    random = np.random.default_rng(seed)
    measured = depth_m + random.normal(size=depth_m.shape) * NOISE_M * (depth_m / 0.5) ** 2
    edge = ndimage.maximum_filter(depth_m, 7) - ndimage.minimum_filter(depth_m, 7) > JUMP_M
    patches = ndimage.gaussian_filter(random.random(depth_m.shape), 3)
    lost = edge & (random.random(depth_m.shape) < LOST_AT_EDGES) | (patches > np.quantile(patches, 1 - LOST_IN_PATCHES))
    return np.where(lost, 0, np.rint(measured / STEP_M) * STEP_M)


def _spread(uv: Float[np.ndarray, "n 21 2"]) -> dict[str, Any]:
    """Of the crops that these joints lie in."""
    margins = CROP / np.ptp(uv, axis=1).max(1)
    p5, p95 = np.percentile(margins, (5, 95))
    return {
        "margin_median": cropping.crop_margin(uv),
        "margin_least": float(margins.min()),
        "margin_most": float(margins.max()),
        "margin_p5": float(p5),
        "margin_p95": float(p95),
        "wanted_share": float(((margins >= WANTED[0]) & (margins <= WANTED[1])).mean()),
        "joints_inside": float(cropping.inside(uv, (CROP, CROP)).mean()),
    }


def render(measured: dict[str, Any]) -> str:
    """The sentence of docs/labels.md."""
    result = measured["result"]
    return (
        f"In {result['found']} of {result['pictures']} images of rendered hands as STB's cameras would see them, the "
        f"crop around the nearest segment, cut at the wrist, was around the hand; it holds "
        f"{100 * result['joints_inside']:.1f} % of the joints. It is "
        f"{result['margin_median']:.2f} times as wide as the joints' larger extent ({result['margin_p5']:.2f} to "
        f"{result['margin_p95']:.2f} for nine in ten); around joints it is {cropping.MARGIN:g} times. STB's joint 0 is "
        "the palm's centre, which makes the extent smaller than a hand's. Values: "
        "`benchmarks/results/segment_boxes.json`."
    )


def render_views(measured: dict[str, Any]) -> str:
    """The sentence of docs/your_camera.md."""
    lines = []
    for views, what in (
        ("rhd_like", "held up to the camera"),
        ("rhd_like_noisy", "held up to the camera, with noise and holes as a stereo sensor has them"),
        ("everyday", "as people hold and film them, up to 1.3 m away"),
    ):
        one = measured["views"][views]
        lines.append(
            f"* {one['found']} of {one['pictures']} rendered hands {what}: crops {one['margin_median']:.2f} times as "
            f"wide as the joints' larger extent ({one['margin_p5']:.2f} to {one['margin_p95']:.2f} for nine in ten), "
            f"{100 * one['wanted_share']:.0f} % of them within {WANTED[0]} to {WANTED[1]}, with "
            f"{100 * one['joints_inside']:.1f} % of the joints."
        )
    return "\n".join(lines)


def main() -> None:
    """Measures, writes the file and the pages' sentences."""
    views = {name: measure_view(name, VIEW_PICTURES) for name in VIEWS}
    views["rhd_like_noisy"] = measure_view("rhd_like", VIEW_PICTURES, noisy=True)
    publish(FILE, PAGE, MARKS, render, result=measure(PICTURES), views=views)
    fill(CAMERA_PAGE, MARKS, render_views(json.loads(read_text(FILE))))


if __name__ == "__main__":
    main()
