"""Writes a recording of an RGB-D camera in the folder form, of rendered hands whose truth is known.

Nothing here uses the reader or `pmd_jax.data.rgbd_form`: the form is written down a second time.

    python -m reference.mini_recording data/raw/rgbd_folder/rendered --frames=64
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pmd_jax.prepare import registry

registry.register_datasets()

from pmd_datasets.rendered_hands import generate, view  # noqa: E402 (needs the line above)

WIDTH, HEIGHT, FOCAL = 160, 120, 150.0
WALL_M, UNIT_M = 1.8, 0.001
CAMERA = {
    "fx": FOCAL,
    "fy": FOCAL,
    "cx": WIDTH / 2,
    "cy": HEIGHT / 2,
    "width": WIDTH,
    "height": HEIGHT,
    "depth_unit_m": UNIT_M,
}


def hands(count: int, seed: int = 0, side: str = "right", scale: int = 1) -> list[dict[str, np.ndarray]]:
    """Full pictures of `count` hands of one side, `scale` times the size of `CAMERA`'s: rgb, depth (0.1 mm), xyz."""
    frame = view.FullFrame(
        WIDTH * scale, HEIGHT * scale, *(value * scale for value in (FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2))
    )
    found: list[dict[str, np.ndarray]] = []
    index = 0
    while len(found) < count:
        batch = generate.render(seed, range(index, index + 16), generate.Settings(frame))
        index += 16
        chosen = np.flatnonzero(batch["is_left"] == (side == "left"))
        found += [{name: column[i] for name, column in batch.items()} for i in chosen]
    return found[:count]


def write(
    folder: Path, drawn: list[dict[str, np.ndarray]], *, joints: bool = True, side: str = "right", **described: Any
) -> Path:
    """A recording of these pictures before a wall; `described` goes into intrinsics.json, over what belongs there."""
    for place in ("color", "depth", "joints"):
        (folder / place).mkdir(parents=True)
    (folder / "intrinsics.json").write_text(json.dumps({**CAMERA, "hand": side, **described}))
    for number, one in enumerate(drawn):
        depth_m = np.where(one["depth"] > 0, one["depth"] * 1e-4, WALL_M)
        Image.fromarray(one["rgb"]).save(folder / "color" / f"{number:06d}.jpg", quality=95)
        write_depth(folder, number, depth_m)
        if joints:
            (folder / "joints" / f"{number:06d}.json").write_text(json.dumps({side: one["xyz"].tolist()}))
    return folder


def write_depth(folder: Path, number: int, depth_m: np.ndarray) -> None:
    """A frame's depth in counts of `UNIT_M`."""
    Image.fromarray(np.rint(depth_m / UNIT_M).astype(np.uint16)).save(folder / "depth" / f"{number:06d}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes a recording of rendered hands in the folder form.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="train")
    options = parser.parse_args()
    write(options.folder, hands(options.frames, options.seed), split=options.split)


if __name__ == "__main__":
    main()
