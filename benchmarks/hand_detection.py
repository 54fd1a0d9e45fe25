"""How many hands of real photographs the palm detector finds, how well its boxes fit, and how long it takes.

    python -m benchmarks.hand_detection FOLDER    # labels.json with hand boxes, and the pictures: a minute

A hand is found if a box overlaps the labelled one, made a square and `MARGIN` times as wide, by at least half
(intersection over union). One thread. The detector's two constants, TOWARDS_FINGERS and SIDE, were chosen on the 500
photographs of `ti1k` that these figures are of.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import RESULTS
from benchmarks.measure import record
from pmd_jax.data.cropping import CropBox, overlap
from pmd_jax.predict.detector import PalmDetector

FILE = RESULTS / "hand_detection.json"
MARGIN = 1.3  # of a box around the whole hand; around the joints it is 1.5
LEAST_OVERLAP = 0.5


def labelled_box(hand: list[float]) -> CropBox:
    """The square of our crop rule around a hand's box (left, upper, right, lower)."""
    x0, y0, x1, y1 = hand
    side = MARGIN * max(x1 - x0, y1 - y0)
    return CropBox((x0 + x1) / 2 - side / 2, (y0 + y1) / 2 - side / 2, side)


def measure(folder: Path) -> dict[str, Any]:
    """Of all pictures of a folder."""
    content = (folder / "labels.json").read_bytes()
    find, best, seconds = PalmDetector(), [], []
    for row in json.loads(content):
        picture = np.asarray(Image.open(folder / row["file"]).convert("RGB"))
        began = time.perf_counter()
        found = find(picture)
        seconds.append(time.perf_counter() - began)
        best.append(max((overlap(one.box, labelled_box(row["hand"])) for one in found), default=0.0))
    return {
        "labels_sha256": hashlib.sha256(content).hexdigest(),
        "hands": len(best),
        "found_share": float(np.mean(np.array(best) >= LEAST_OVERLAP)),
        "anything_found_share": float(np.mean(np.array(best) > 0)),
        "mean_iou": float(np.mean(best)),
        "ms_a_picture": 1e3 * statistics.median(seconds),
        "threads": 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="labels.json and the pictures that it names")
    found = measure(parser.parse_args().folder)
    record(FILE, **found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
