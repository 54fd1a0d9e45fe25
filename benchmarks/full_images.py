"""Full images: errors of boxes and of placing, and the predict command's time → benchmarks/results/whole_pictures.json.

    python -m benchmarks.full_images                       # checkpoints/demo; two minutes on two cores
    python -m benchmarks.full_images --checkpoint=FOLDER   # another export

Boxes that do not fit, joints placed in the picture, and the predict command on a folder. The pictures are rendered
hands of the test stream, in the camera of STB (640 × 480); no network has seen these scenes in training. The tables of
docs/numbers.md come from the file.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from benchmarks import RESULTS, ROOT
from benchmarks.measure import publish
from pmd_jax.data import cropping, hand
from pmd_jax.data.cropping import CropBox
from pmd_jax.predict.hand_pose import place_hand
from pmd_jax.predict.predictor import Predictor, load
from pmd_jax.prepare.registry import register_datasets
from pmd_jax.runtime.markdown import markdown_table
from pmd_jax.runtime.timing import by_turns

FILE = RESULTS / "whole_pictures.json"
PAGE, MARKS = ROOT / "docs" / "numbers.md", ("<!-- pictures:begin -->", "<!-- pictures:end -->")
CAMERA = {"width": 640, "height": 480, "fx": 608.0, "fy": 608.0, "cx": 320.0, "cy": 240.0}
SHIFTS, SCALES = (0.0, 0.05, 0.1, 0.2), (0.8, 0.9, 1.0, 1.1, 1.25)
DIRECTIONS = [way for way in itertools.product((-1, 0, 1), repeat=2) if way != (0, 0)]


class Hands(NamedTuple):
    """Pictures of one hand each, with the truth."""

    rgb: UInt8[np.ndarray, "n h w 3"]
    xyz_m: Float[np.ndarray, "n 21 3"]
    uv_px: Float[np.ndarray, "n 21 2"]
    K: Float[np.ndarray, "n 3 3"]
    boxes: list[CropBox]


def rendered(count: int) -> dict[str, np.ndarray]:
    """The first hands of the test stream, as whole pictures, with all that the renderer tells of them."""
    register_datasets()
    from pmd_datasets.rendered_hands import generate, rendered_hands_dataset_builder, view  # pyright: ignore

    seed, settings = rendered_hands_dataset_builder.split_seed(0, "test"), generate.Settings(view.FullFrame(**CAMERA))
    parts = [generate.render(seed, range(start, min(start + 50, count)), settings) for start in range(0, count, 50)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def draw(count: int) -> Hands:
    """Of these, what predictions are held against."""
    drawn = rendered(count)
    boxes = [cropping.crop_box(uv) for uv in drawn["uv"]]
    return Hands(drawn["rgb"], drawn["xyz"], drawn["uv"], drawn["K"], boxes)


def moved(box: CropBox, shift: tuple[float, float], scale: float) -> CropBox:
    """The box `scale` times as large about its middle, then moved by shares of its old side."""
    side = box.side * scale
    corner = (box.side - side) / 2
    return CropBox(box.x0 + corner + shift[0] * box.side, box.y0 + corner + shift[1] * box.side, side)


def crops_at(hands: Hands, boxes: list[CropBox]) -> UInt8[np.ndarray, "n 64 64 3"]:
    """What the network sees of each picture at its box."""
    return np.stack([cropping.crop_rgb(rgb, box, 64) for rgb, box in zip(hands.rgb, boxes, strict=True)])


def predict_at(network: Predictor, hands: Hands, boxes: list[CropBox]) -> Float[np.ndarray, "n 21 3"]:
    """Joints in hand scales for the crops at `boxes`."""
    return network(crops_at(hands, boxes))


def epe_mm(joints: Float[np.ndarray, "n 21 3"], hands: Hands) -> float:
    """Mean over joints and hands, root and scale known."""
    truth = hand.normalise(hands.xyz_m)
    return float(1000 * (np.linalg.norm(joints - truth.pose, axis=-1) * truth.scale_m[:, None]).mean())


def box_errors(network: Predictor, hands: Hands) -> dict[str, list[dict[str, float]]]:
    """EPE by shift, the mean over eight directions, and by scale."""

    def error(shift: tuple[float, float], scale: float) -> float:
        return epe_mm(predict_at(network, hands, [moved(box, shift, scale) for box in hands.boxes]), hands)

    by_shift = []
    for share in SHIFTS:
        ways = DIRECTIONS if share else [(0, 0)]
        errors = [error((share * u, share * v), 1.0) for u, v in ways]
        by_shift.append({"shift": share, "epe_mm": float(np.mean(errors)), "worst_direction_epe_mm": max(errors)})
    return {"shift": by_shift, "scale": [{"scale": scale, "epe_mm": error((0, 0), scale)} for scale in SCALES]}


def placement_errors(network: Predictor, hands: Hands) -> list[dict[str, Any]]:
    """Distance of `uv_px` from the true pixels, by joints, box and what is known; true joints show the rule's part."""
    truth = hand.normalise(hands.xyz_m)
    moved_boxes = [moved(box, (0.1, 0.0), 1.0) for box in hands.boxes]
    cases = [
        ("true", "true", hands.boxes, truth.pose),
        ("the network's", "true", hands.boxes, predict_at(network, hands, hands.boxes)),
        ("the network's", "moved right by a tenth", moved_boxes, predict_at(network, hands, moved_boxes)),
    ]
    axes = {"true": "camera", "the network's": network.axes}
    rows = []
    for whose, box_name, boxes, joints in cases:
        for known in ("nothing", "K", "K, scale and root depth"):
            px = np.zeros(len(boxes))
            for i, box in enumerate(boxes):
                K = None if known == "nothing" else hands.K[i]
                lengths = (float(truth.scale_m[i]), float(truth.root_m[i, 2])) if "scale" in known else (None, None)
                placed = place_hand(joints[i], box, K, *lengths, axes=axes[whose])
                px[i] = np.linalg.norm(placed.uv_px - hands.uv_px[i], axis=-1).mean()
            share = px / [box.side for box in boxes]
            rows.append(
                {
                    "joints": whose,
                    "box": box_name,
                    "known": known,
                    "px": float(px.mean()),
                    "of_box": float(share.mean()),
                }
            )
    return rows


def command_speed(hands: Hands, count: int, checkpoint: str | None, rounds: int = 3) -> dict[str, float]:
    """The predict command on a folder of JPEGs with boxes; and on half as many, to tell its start from the rest."""
    with tempfile.TemporaryDirectory() as name:
        whole, half = (_command_s(hands, n, checkpoint, rounds, Path(name)) for n in (count, count // 2))
    return {
        "pictures": count,
        "command_s": whole,
        "pictures_per_s_with_start": count / whole,
        "pictures_per_s": (count - count // 2) / (whole - half),
    }


def _command_s(hands: Hands, count: int, checkpoint: str | None, rounds: int, work: Path) -> float:
    """Median seconds of the command."""
    folder, out, boxes = work / f"{count}", work / f"{count}_out", work / f"{count}.jsonl"
    folder.mkdir()
    lines = []
    for i in range(count):
        row = i % len(hands.rgb)
        Image.fromarray(hands.rgb[row]).save(folder / f"{i:05d}.jpg", quality=90)
        lines.append(json.dumps({"file": f"{i:05d}.jpg", "box": hands.boxes[row]}))
    boxes.write_text("\n".join(lines), encoding="utf-8")
    call = [sys.executable, "-m", "pmd_jax.predict", str(folder), f"--boxes={boxes}", f"--out={out}"]
    call += [f"--checkpoint={checkpoint}"] if checkpoint else []
    command = functools.partial(subprocess.run, call, check=True, cwd=ROOT, capture_output=True)
    spent = by_turns({"command": command}, seconds=0, rounds=rounds)["command"]
    found = len((out / "joints.jsonl").read_text(encoding="utf-8").splitlines())
    if found != count:
        raise RuntimeError(f"The command found {found} hands in {count} pictures")
    return spent


def measure(count: int, pictures: int, checkpoint: str | None) -> dict[str, Any]:
    """All three."""
    network, hands = load(checkpoint), draw(count)
    return {
        "hands": count,
        "boxes": box_errors(network, hands),
        "placing": placement_errors(network, hands),
        "command": command_speed(hands, pictures, checkpoint),
    }


def render(measured: dict[str, Any]) -> str:
    """The section of docs/numbers.md."""
    found, hardware = measured["result"], measured["hardware"]
    boxes, speed = found["boxes"], found["command"]
    shift = [
        (f"{100 * row['shift']:.0f} %", f"{row['epe_mm']:.1f}", f"{row['worst_direction_epe_mm']:.1f}")
        for row in boxes["shift"]
    ]
    scale = [(f"{row['scale']:g}", f"{row['epe_mm']:.1f}") for row in boxes["scale"]]
    place = [
        (row["joints"], row["box"], row["known"], f"{row['px']:.1f}", f"{100 * row['of_box']:.1f} %")
        for row in found["placing"]
    ]
    return "\n\n".join(
        [
            f"{found['hands']:,} rendered hands of the test stream in images of 640 × 480; {measured['checkpoint']}; "
            f"{hardware.get('cpu', hardware['platform'])}, {hardware['cores']} cores, {measured['date']}, commit "
            f"{measured['commit']}. Values: benchmarks/results/whole_pictures.json.",
            markdown_table(("box moved by, of its side", "EPE, mm, mean of 8 directions", "worst direction"), shift),
            markdown_table(("box's side, times the true one", "EPE, mm"), scale),
            markdown_table(("joints", "box", "known", "`uv_px` off by, px", "of the box's side"), place),
            f"The command on {speed['pictures']:,} JPEGs with boxes, no overlays: {speed['command_s']:.1f} s, its "
            f"start included ({speed['pictures_per_s_with_start']:.0f} images/s). Once started: "
            f"{speed['pictures_per_s']:.0f} images/s, decoding included.",
        ]
    )


def main() -> None:
    """Measures, writes the file and the page's section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="an export's folder (checkpoints/demo)")
    parser.add_argument("--hands", type=int, default=1000)
    parser.add_argument("--pictures", type=int, default=2000, help="JPEGs for the command")
    options = parser.parse_args()
    result = measure(options.hands, options.pictures, options.checkpoint)
    name = options.checkpoint or "checkpoints/demo"
    publish(FILE, PAGE, MARKS, render, checkpoint=name, result=result)


if __name__ == "__main__":
    main()
