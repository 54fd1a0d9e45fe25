"""How a depth network's error grows with turned, wrong or disturbed crops → benchmarks/results/depth_robustness.json.

    python -m benchmarks.depth_robustness FOLDER --label=before    # an export or a run; two minutes on two cores

Rendered hands of the test stream, which no training sees, as whole depth maps of STB's camera. Each figure is of crops
that one thing is done to: turned, of another width, moved, before a wall, seen by a worse camera; and of all together.
The depth counts from where the network's configuration says, found in the map as it is shown. Root and scale are known.
The file keeps a row a label, so that networks stand side by side; a label that is measured again is replaced.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt16

from benchmarks import RESULTS
from benchmarks.full_images import moved, rendered
from benchmarks.measure import record
from pmd_jax.config.backbones import CROP_SIZE_PX as SIZE
from pmd_jax.config.methods import METHODS
from pmd_jax.data import cropping, hand
from pmd_jax.data.cropping import CropBox
from pmd_jax.data.depth_background import Surface, with_surface
from pmd_jax.data.depth_origin import RULES
from pmd_jax.data.depth_sensor import COARSE, sense_depth, shape_draws
from pmd_jax.data.geometry import CropWarp, warp_labels
from pmd_jax.data.inputs import normalise_depth
from pmd_jax.models.description import DESCRIPTION, describe
from pmd_jax.models.saved_model import SavedModel, read
from pmd_jax.runtime.errors import InputError
from pmd_jax.runtime.files import read_text
from pmd_jax.runtime.markdown import markdown_table

FILE = RESULTS / "depth_robustness.json"
BATCH = 250
WAYS = ((-1, 0), (1, 0), (0, -1), (0, 1))


class Change(NamedTuple):
    """What is done to a crop."""

    angle_deg: float = 0.0
    scale: float = 1.0  # times as wide as the box around the joints
    shift: float = 0.0  # of the box's side, the mean of four directions
    wall_m: float = 0.0  # behind what is farthest of the hand; 0: nothing is measured there
    sensor: float = 0.0  # level of the camera's faults (`depth_sensor`)


AXES: dict[str, list[Change]] = {
    "rotation_deg": [Change(angle_deg=angle) for angle in (-60, -30, 0, 30, 60, 90, 180)],
    "scale": [Change(scale=scale) for scale in (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)],
    "shift": [Change(shift=shift) for shift in (0.0, 0.05, 0.1, 0.2)],
    "wall_cm": [Change(wall_m=metres) for metres in (0.02, 0.05, 0.1, 0.2, 0.5, 0.0)],
    "sensor": [Change(sensor=level) for level in (0.0, 0.25, 0.5, 1.0)],
    "together": [Change(60, 1.3, 0.05, 0.05, 0.5)],
}


class Maps(NamedTuple):
    """Whole depth maps of one hand each, with the truth."""

    depth: UInt16[np.ndarray, "n h w"]
    xyz_m: Float[np.ndarray, "n 21 3"]
    uv_px: Float[np.ndarray, "n 21 2"]
    K: Float[np.ndarray, "n 3 3"]


class Crops(NamedTuple):
    """What a network is shown, and the joints as it should see them."""

    depth: UInt16[np.ndarray, "n s s"]
    xyz_m: Float[np.ndarray, "n 21 3"]


def draw(count: int) -> Maps:
    """The first hands of the test stream."""
    drawn = rendered(count)
    return Maps(*(drawn[name] for name in ("depth", "xyz", "uv", "K")))


def name_of(axis: str, change: Change) -> str:
    """Of a figure in the file."""
    if axis == "wall_cm":
        return f"{100 * change.wall_m:g}" if change.wall_m else "none"
    values = {"rotation_deg": change.angle_deg, "scale": change.scale, "shift": change.shift, "sensor": change.sensor}
    return "all" if axis == "together" else f"{values[axis]:g}"


def crop(maps: Maps, change: Change, way: tuple[int, int]) -> Crops:
    """All hands as one change shows them."""
    shown = [_crop_one(maps, row, change, way) for row in range(len(maps.depth))]
    return Crops(*(np.stack(column) for column in zip(*shown, strict=True)))


def _crop_one(maps: Maps, row: int, change: Change, way: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    shift = (change.shift * way[0], change.shift * way[1])
    box = moved(cropping.crop_box(maps.uv_px[row]), shift, change.scale)
    angle = np.float32(np.deg2rad(change.angle_deg))
    warp = CropWarp(np.cos(angle), np.sin(angle), np.float32(1), np.zeros(2, np.float32))
    K = cropping.crop_intrinsics(maps.K[row], box, SIZE).astype(np.float32)
    uv = cropping.crop_points(maps.uv_px[row], box, SIZE).astype(np.float32)
    xyz, _, K = warp_labels(maps.xyz_m[row], uv, K, warp, SIZE)
    depth, origin_m = _turned(maps.depth[row], box, angle), xyz[hand.ROOT, 2]
    if change.wall_m:
        depth = with_surface(depth, xyz, K, origin_m, _wall(change.wall_m))
    if change.sensor:
        depth = sense_depth(depth, K[0, 0], _camera(row, change.sensor))
    return depth, xyz


def _turned(depth: UInt16[np.ndarray, "h w"], box: CropBox, angle: np.floating) -> UInt16[np.ndarray, "s s"]:
    """The nearest pixel of the whole map to each of the crop, so that what comes into view is really there; 0 beyond.

    Pixels are square here, so they turn as the camera does.
    """
    v, u = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    cos, sin = np.cos(angle), np.sin(angle)
    step = box.side / SIZE
    column = np.floor(box.x0 + box.side / 2 + step * (cos * u + sin * v)).astype(int)
    row = np.floor(box.y0 + box.side / 2 + step * (cos * v - sin * u)).astype(int)
    height, width = depth.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return np.where(inside, depth[row.clip(0, height - 1), column.clip(0, width - 1)], 0).astype(np.uint16)


def _wall(behind_m: float) -> Surface:
    """Flat, and parallel to the picture."""
    zero = np.float32(0)
    nowhere = np.zeros(2, np.float32)
    return Surface(
        np.float32(behind_m), nowhere, zero, nowhere, np.float32(1), np.bool_(False), cut_m=np.float32(np.inf)
    )


def _camera(row: int, level: float):
    """The same faults of a hand's camera at every level, but for their strength."""
    random = np.random.default_rng(row)
    uniform, slow, noise = random.random(3), random.standard_normal((2, COARSE, COARSE)), random.standard_normal
    return shape_draws(np.float32(level), uniform, slow, noise((SIZE, SIZE)), random.random((4, SIZE, SIZE)))


def errors_mm(saved: SavedModel, crops: Crops) -> dict[str, float]:
    """Mean over joints and hands: distance, and distance in depth alone."""
    rule, truth = saved.config.data.depth_origin, hand.normalise(crops.xyz_m)
    origin_m = truth.root_m[:, 2] if rule == "root" else RULES[rule](crops.depth)
    found = np.concatenate(
        [
            _predict(saved, crops.depth[start : start + BATCH], origin_m[start : start + BATCH])
            for start in range(0, len(crops.depth), BATCH)
        ]
    )
    off = 1000 * (found - truth.pose) * truth.scale_m[:, None, None]
    return {"epe_mm": float(np.linalg.norm(off, axis=-1).mean()), "z_mm": float(np.abs(off[..., 2]).mean())}


def _predict(saved: SavedModel, depth: np.ndarray, origin_m: np.ndarray) -> Float[np.ndarray, "n 21 3"]:
    """Joints in hand scales; the last batch is filled up, so that one program serves all."""
    missing = BATCH - len(depth)
    filled, origins = np.pad(depth, ((0, missing), (0, 0), (0, 0))), np.pad(origin_m, (0, missing))
    pose = _program(saved.network, saved.weights, filled, origins.astype(np.float32))
    return np.asarray(pose, np.float32)[: len(depth)]


@jax.jit(static_argnums=0)
def _program(network, weights, depth, origin_m):
    return network.evaluate(weights, normalise_depth(depth, origin_m)).pose


def measure(saved: SavedModel, maps: Maps) -> dict[str, Any]:
    """A row of the file."""
    row: dict[str, Any] = {
        "hands": len(maps.depth),
        "network": {"row": saved.method, "width": saved.config.model.width, "blocks": list(saved.config.model.blocks)},
        "depth_origin": saved.config.data.depth_origin,
    }
    for axis, changes in AXES.items():
        found = {}
        for change in changes:
            ways = WAYS if change.shift else WAYS[:1]
            each = [errors_mm(saved, crop(maps, change, way)) for way in ways]
            found[name_of(axis, change)] = {key: float(np.mean([one[key] for one in each])) for key in each[0]}
        row[axis] = found
    return row


def read_network(folder: Path) -> SavedModel:
    """The depth network of an export's or a run's folder.

    Raises:
        InputError: there is none or more than one, or it cannot be read.
    """
    places = [
        place
        for place in (folder, folder / "export", *sorted(folder.glob("*/export")))
        if (place / DESCRIPTION).is_file()
    ]
    found = [place for place in places if METHODS[describe(place).method].modality == "depth"]
    if len(found) != 1:
        raise InputError(f"{folder} holds {len(found)} depth networks; give the folder of one export or of its run.")
    return read(found[0])


def render(rows: dict[str, Any]) -> str:
    """A table: EPE in mm by what is done to the crops, a column a label."""
    lines = []
    for axis, changes in AXES.items():
        for name in (name_of(axis, change) for change in changes):
            cells = (f"{row[axis][name]['epe_mm']:.1f}" for row in rows.values())
            lines.append((f"{axis} {name}", *cells))
    return markdown_table(("EPE, mm", *rows), lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures a network, and writes its row beside those of the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="an export of a depth network, or the run that trained one")
    parser.add_argument("--label", required=True, help="of its row")
    parser.add_argument("--hands", type=int, default=500, help="(%(default)s)")
    parser.add_argument("--out", type=Path, default=FILE, help="(%(default)s)")
    options = parser.parse_args(arguments)
    try:
        rows = json.loads(read_text(options.out))["rows"] if options.out.is_file() else {}
        saved = read_network(options.folder)
    except (InputError, ValueError, KeyError) as error:
        raise SystemExit(f"{error}") from error
    rows[options.label] = measure(saved, draw(options.hands))
    record(options.out, rows=rows)
    print(render(rows))


if __name__ == "__main__":
    main()
