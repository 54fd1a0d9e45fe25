"""How well a hand is tracked through a video, and what that costs → benchmarks/results/following.json.

    python -m benchmarks.tracking    # a minute on two cores

Films of rendered hands of the test stream in the camera of STB (640 × 480), of which each picture's true box is known:
a hand that stands still, one that moves sideways, one that comes nearer and goes away, all with noise on each picture.
The first box is the true one. The table of docs/numbers.md comes from the file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from benchmarks import RESULTS
from benchmarks.full_images import CAMERA, PAGE
from benchmarks.measure import publish
from pmd_jax.data import cropping
from pmd_jax.data.cropping import CropBox
from pmd_jax.predict.pipeline import InferenceOptions, predict_video
from pmd_jax.predict.predictor import Predictor, load
from pmd_jax.prepare.registry import register_datasets
from pmd_jax.runtime.markdown import markdown_table

FILE = RESULTS / "following.json"
MARKS = ("<!-- following:begin -->", "<!-- following:end -->")
HANDS, FRAMES, NOISE = 6, 60, 3  # films of each way; two seconds; grey levels
# By the picture's number: pixels to the right, and how many times as large.
WAYS: dict[str, Callable[[int], tuple[float, float]]] = {
    "stands still": lambda t: (0.0, 1.0),
    "moves 2.5 px a picture to the right": lambda t: (2.5 * (t - 30), 1.0),
    "comes nearer, 1.35 times as large, and goes": lambda t: (0.0, 1 + 0.35 * np.sin(t / 20)),
}


class Film(NamedTuple):
    """What `pipeline.predict_video` takes for a video, and where the hand is in it."""

    rgb: list[UInt8[np.ndarray, "h w 3"]]
    boxes: list[CropBox]
    name: str = "film"
    rate: float = 30.0

    def __iter__(self) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], float]]:
        return ((rgb, i / self.rate) for i, rgb in enumerate(self.rgb))


def film(index: int, way: Callable[[int], tuple[float, float]], frames: int, camera: dict[str, float]) -> Film:
    """One hand of the test stream, moved picture by picture in front of its background."""
    register_datasets()
    from pmd_datasets.rendered_hands import generate, rendered_hands_dataset_builder, scene, view  # pyright: ignore

    frame = view.FullFrame(**camera)
    seed = rendered_hands_dataset_builder.split_seed(0, "test")
    hands = scene.sample_scene(seed, [index], "rhd_like", frame)
    start, noise = hands.placement.translation, np.random.default_rng(index)
    pictures, boxes, drawn, last = [], [], {}, None
    for moment in map(way, range(frames)):
        if moment != last:
            right_px, zoom = last = moment
            place = start / zoom  # nearer on the same ray
            place[:, 0] += right_px / camera["fx"] * place[:, 2]
            drawn = generate.picture(hands._replace(placement=hands.placement._replace(translation=place)), frame)
        noisy = drawn["rgb"][0] + noise.normal(0, NOISE, drawn["rgb"][0].shape)
        pictures.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
        boxes.append(cropping.crop_box(drawn["uv"][0]))
    return Film(pictures, boxes)


def tracked_boxes(network: Predictor, shown: Film) -> list[tuple[float, float]]:
    """Each picture's box against the true one: how many times as large, and how far its middle is off, in its sides."""
    found = predict_video(network, shown, InferenceOptions(box=shown.boxes[0]))  # pyright: ignore[reportArgumentType]
    hands = (one.hand for one in found if one.hand is not None)  # all have one: nothing is detected
    return [_against(hand.box, true) for hand, true in zip(hands, shown.boxes, strict=True)]


def _against(box: CropBox, true: CropBox) -> tuple[float, float]:
    off = np.subtract(box[:2], true[:2]) + (box.side - true.side) / 2
    return box.side / true.side, float(np.linalg.norm(off)) / true.side


def measure(network: Predictor) -> dict[str, Any]:
    """Sizes and places of the boxes at the films' ends and in between, and the time a picture takes."""
    tracked_boxes(network, film(0, WAYS["stands still"], 2, CAMERA))  # compiles
    rows, seconds = {}, []
    for name, way in WAYS.items():
        runs = []
        for index in range(HANDS):
            shown = film(index, way, FRAMES, CAMERA)
            began = time.perf_counter()
            runs.append(tracked_boxes(network, shown))
            seconds.append((time.perf_counter() - began) / FRAMES)
        size, off = np.moveaxis(np.array(runs), -1, 0)  # each (hands, pictures)
        rows[name] = {
            "size_mean": float(size.mean()),
            "size_least": float(size.min()),
            "size_most": float(size.max()),
            "off_mean": float(off.mean()),
            "off_most": float(off.max()),
        }
    return {
        "hands": HANDS,
        "pictures": FRAMES,
        "ways": rows,
        "picture_s": float(np.median(seconds)),
        "slowest_film_picture_s": max(seconds),
    }


def render(measured: dict[str, Any]) -> str:
    """The section of docs/numbers.md."""
    result, hardware = measured["result"], measured["hardware"]
    rows = [
        (
            name,
            f"{row['size_mean']:.2f} ({row['size_least']:.2f} to {row['size_most']:.2f})",
            f"{100 * row['off_mean']:.0f} % ({100 * row['off_most']:.0f} %)",
        )
        for name, row in result["ways"].items()
    ]
    return "\n\n".join(
        [
            f"{result['hands']} videos of {result['pictures']} frames (640 × 480) each way; checkpoints/demo; "
            f"{hardware.get('cpu', '')}, {hardware['cores']} cores, {measured['date']}, commit {measured['commit']}. A "
            f"frame takes {1000 * result['picture_s']:.0f} ms, tracking and network together, and "
            f"{1000 * result['slowest_film_picture_s']:.0f} ms in the slowest video. Values: "
            "benchmarks/results/following.json.",
            markdown_table(
                ("the hand", "box's side over the true one, mean (least to most)", "middle off, of its side (most)"),
                rows,
            ),
        ]
    )


def main() -> None:
    """Measures, writes the file and the page's section."""
    publish(FILE, PAGE, MARKS, render, result=measure(load()))


if __name__ == "__main__":
    main()
