"""What STB's crops without joints look like → benchmarks/results/segment_boxes.json.

    python -m benchmarks.segment_boxes    # two minutes on two cores

STB itself cannot be had here. So its archives are made of rendered hands, as its two cameras would see them before a
wall, and prepared by the real builder with the box around the nearest depth segment. The sentence of docs/labels.md
comes from the file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import RESULTS, ROOT
from benchmarks.measure import publish
from pmd_jax.data import cropping
from pmd_jax.data.dataset import read_columns
from pmd_jax.prepare.preparation import prepare
from reference import mini_archives

FILE = RESULTS / "segment_boxes.json"
PAGE = ROOT / "docs" / "labels.md"
MARKS = ("<!-- segment-boxes:begin -->", "<!-- segment-boxes:end -->")
PICTURES = 96


def measure(pictures: int) -> dict[str, Any]:
    """How wide the crops are, and how many joints they hold."""
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
        )
        columns = read_columns(prepared, "train")
    inside = ((columns.uv > -0.5) & (columns.uv < 63.5)).all(-1)
    margins = 64 / np.ptp(columns.uv, axis=1).max(1)
    return {
        "pictures": len(columns),
        "margin_median": cropping.crop_margin(columns.uv),
        "margin_least": float(margins.min()),
        "margin_most": float(margins.max()),
        "joints_inside": float(inside.mean()),
    }


def render(measured: dict[str, Any]) -> str:
    """The sentence of docs/labels.md."""
    result = measured["result"]
    return (
        f"In {result['pictures']} images of rendered hands as STB's cameras would see them, the nearest segment's "
        f"crop holds {100 * result['joints_inside']:.1f} % of the joints. It takes in a part of the forearm, and is "
        f"{result['margin_median']:.2f} times as wide as the joints' larger extent ({result['margin_least']:.1f} to "
        f"{result['margin_most']:.1f}) instead of {cropping.MARGIN:g} times. Values: "
        "`benchmarks/results/segment_boxes.json`."
    )


def main() -> None:
    """Measures, writes the file and the page's sentence."""
    publish(FILE, PAGE, MARKS, render, result=measure(PICTURES))


if __name__ == "__main__":
    main()
