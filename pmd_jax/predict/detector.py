"""Where the hands in a picture are: MediaPipe's palm detector, run by LiteRT (the extra `detect`).

The detector is a single-shot network over 192×192 pixels (Bazarevsky et al. 2019 and Zhang et al. 2020, "MediaPipe
Hands"; model and licence in checkpoints/palm_detector). For each of 2,016 anchors it says a score, a square around the
palm and seven points of it. What follows here is ours: anchors, suppression, and the box of our crop rule.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from pmd_jax.data.cropping import CropBox, overlap
from pmd_jax.runtime.errors import InputError
from pmd_jax.runtime.packaged import install_command, packaged

MODEL = packaged("checkpoints/palm_detector/palm_detection_full.tflite")
SHA256 = "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54"
SIZE_PX = 192
GRIDS = ((24, 2), (12, 6))  # cells a side, anchors a cell
WRIST, MIDDLE_MCP = 0, 2  # of the seven points
LEAST_SCORE, MOST_OVERLAP = 0.5, 0.3
# The picture's longer side takes 1/PADDINGS of the input; a hand that fills the picture needs the second look.
PADDINGS = (1.25, 2.0)
# Our box, in sides of the palm's square: how far its middle lies from the palm's towards the fingers, and its side.
# Chosen on 500 photographs with hand boxes (benchmarks/hand_detection.py).
TOWARDS_FINGERS, SIDE = 0.4, 2.4


class Detection(NamedTuple):
    """A hand that was found.

    Attributes:
        box: the square around it by our crop rule, about 1.5 times as wide as its joints' larger extent.
        score: how sure the detector is, 0.5 to 1.
    """

    box: CropBox
    score: float


class Palms(NamedTuple):
    """What the detector says, in pixels of the picture."""

    centre: Float[np.ndarray, "n 2"]
    side: Float[np.ndarray, " n"]
    points: Float[np.ndarray, "n 7 2"]
    score: Float[np.ndarray, " n"]


def is_installed() -> bool:
    """Whether the extra is there."""
    return importlib.util.find_spec("ai_edge_litert") is not None


class PalmDetector:
    """Pictures to hands. One thread; not for several threads at once.

    Args:
        model: the detector's file.

    Raises:
        InputError: the extra is not installed, or the file is missing or not the one that was shipped.
    """

    def __init__(self, model: Path = MODEL):
        if not is_installed():
            raise InputError(
                f"ai_edge_litert not found: the extra 'detect' is not installed; {install_command('detect')}"
            )
        try:
            content = model.read_bytes()
        except OSError as error:
            raise InputError(f"{model} cannot be read ({error.strerror}); install pmd_jax again.") from None
        if hashlib.sha256(content).hexdigest() != SHA256:
            raise InputError(f"{model} is damaged or another model (its checksum differs); install pmd_jax again.")
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        [self._input] = (entry["index"] for entry in self._interpreter.get_input_details())
        self._values, self._scores = sorted(
            self._interpreter.get_output_details(), key=lambda entry: -entry["shape"][-1]
        )

    def __call__(self, picture: UInt8[np.ndarray, "h w 3"]) -> list[Detection]:
        """The hands, the surest first; none is an empty list."""
        for padding in PADDINGS:
            canvas, scale, corner = letterbox(picture, padding)
            self._interpreter.set_tensor(self._input, canvas[None].astype(np.float32) / 255)
            self._interpreter.invoke()
            values, logits = (self._interpreter.get_tensor(each["index"])[0] for each in (self._values, self._scores))
            palms = decode(values, logits[:, 0], LEAST_SCORE)
            kept = suppress(palms, MOST_OVERLAP)
            if kept:
                return [hand_of(palms, each, scale, corner) for each in kept]
        return []


def letterbox(
    picture: UInt8[np.ndarray, "h w 3"], padding: float
) -> tuple[UInt8[np.ndarray, "192 192 3"], float, Float[np.ndarray, " 2"]]:
    """The picture in the middle of a black square; input pixels a picture's pixel, and where its corner lies."""
    height, width = picture.shape[:2]
    scale = SIZE_PX / (padding * max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    canvas = Image.new("RGB", (SIZE_PX, SIZE_PX))
    corner = ((SIZE_PX - size[0]) // 2, (SIZE_PX - size[1]) // 2)
    canvas.paste(small, corner)
    return np.asarray(canvas), scale, np.array(corner, float)


def anchors() -> Float[np.ndarray, "2016 2"]:
    """Their middles, 0 to 1, row by row: two a cell of 8 pixels, then six a cell of 16."""
    grids = []
    for cells, each in GRIDS:
        v, u = np.indices((cells, cells))
        grids.append(np.repeat(np.stack([u.ravel(), v.ravel()], -1) + 0.5, each, axis=0) / cells)
    return np.concatenate(grids)


def decode(values: Float[np.ndarray, "2016 18"], logits: Float[np.ndarray, " 2016"], least_score: float) -> Palms:
    """The anchors that are sure enough, in pixels of the detector's input.

    An anchor's values are offsets from its middle, in pixels: the square's middle, its width and height, and the
    points.
    """
    score = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -60, 60)))
    sure = np.flatnonzero(score >= least_score)
    middles, chosen = SIZE_PX * anchors()[sure], values[sure].astype(np.float64)
    points = chosen[:, 4:].reshape(-1, 7, 2) + middles[:, None]
    return Palms(chosen[:, :2] + middles, chosen[:, 2:4].max(1, initial=0), points, score[sure])


def suppress(palms: Palms, most_overlap: float) -> list[int]:
    """One for each palm: the surest, without those that overlap it by more (intersection over union)."""
    corners = palms.centre - palms.side[:, None] / 2
    squares = [CropBox(x0, y0, side) for (x0, y0), side in zip(corners.tolist(), palms.side.tolist(), strict=True)]
    kept: list[int] = []
    for each in np.argsort(-palms.score, kind="stable").tolist():
        if all(overlap(squares[each], squares[other]) <= most_overlap for other in kept):
            kept.append(each)
    return kept


def hand_of(palms: Palms, which: int, scale: float, corner: Float[np.ndarray, " 2"]) -> Detection:
    """A palm of the detector's input as a hand's box in the picture."""
    towards = palms.points[which, MIDDLE_MCP] - palms.points[which, WRIST]
    towards = towards / max(float(np.linalg.norm(towards)), 1e-6)
    side = float(palms.side[which])
    middle = (palms.centre[which] + TOWARDS_FINGERS * side * towards - corner) / scale
    x0, y0 = middle - SIDE * side / scale / 2
    return Detection(CropBox(float(x0), float(y0), SIDE * side / scale), float(palms.score[which]))
