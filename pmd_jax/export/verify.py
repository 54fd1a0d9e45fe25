"""Is what was exported the network? Each format is read again in a new process, where the format allows without us."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from pmd_jax.config.backbones import CROP_SHAPE
from pmd_jax.export.formats import Format
from pmd_jax.models import saved_model
from pmd_jax.models.saved_model import SavedModel

PICTURES = 64
TOLERANCE = 1e-4  # hand scales, that is 9 µm on an adult's hand; float32 rounding is some hundred times less

_PROGRAM = """
import statistics, sys, time
import numpy as np

if {alone}:
    sys.modules["pmd_jax"] = None  # importing it is an error from here on
{reader}
rgb = np.load(sys.argv[1])
joints = np.asarray(predict(rgb))
seconds = []
for turn in range(-5, 100):
    began = time.perf_counter()
    np.asarray(predict(rgb[:1]))
    if turn >= 0:
        seconds.append(time.perf_counter() - began)
    if sum(seconds) > 3:
        break
np.savez(sys.argv[2], joints=joints, ms=1000 * statistics.median(seconds))
"""


class Checked(NamedTuple):
    """How a format did."""

    largest_deviation: float  # from the network's joints, hand scales
    ms_per_picture: float  # one crop in memory to its joints in memory, median


def made_up_crops(count: int = PICTURES) -> UInt8[np.ndarray, "{count} 64 64 3"]:
    """Noise of every coarseness, from two patches a crop to one a pixel: the same crops whenever it is called."""
    random = np.random.default_rng(0)
    crops = []
    for index in range(count):
        patches = random.integers(0, 256, (2 ** (1 + index % 6),) * 2 + (3,), np.uint8)
        crops.append(np.asarray(Image.fromarray(patches).resize(CROP_SHAPE[:2], Image.Resampling.BICUBIC)))
    return np.stack(crops)


def check(
    folder: Path, form: Format, rgb: UInt8[np.ndarray, "b 64 64 3"], expected: Float[np.ndarray, "b 21 3"]
) -> Checked:
    """Reads a format in a new process and compares its joints with the network's.

    Raises:
        RuntimeError: it cannot be read, or its joints are not the network's to `TOLERANCE`: a fault of ours.
    """
    alone = "pmd_jax" not in form.runs_on
    program = _PROGRAM.format(alone=alone, reader=form.reader)
    paths = [os.environ.get("PYTHONPATH", ""), *([] if alone else [str(Path(__file__).resolve().parents[2])])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with tempfile.TemporaryDirectory() as scratch:
        given, answered = Path(scratch) / "rgb.npy", Path(scratch) / "joints.npz"
        np.save(given, rgb)
        command = [sys.executable, "-c", program, str(given), str(answered)]
        ended = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        if ended.returncode != 0:
            raise RuntimeError(f"{form.files[0]} cannot be read again:\n{ended.stderr}")
        with np.load(answered) as answer:
            joints, ms = answer["joints"], float(answer["ms"])
    if (joints.shape, joints.dtype) != (expected.shape, expected.dtype):
        raise RuntimeError(
            f"{form.files[0]} gives {joints.dtype} {joints.shape}, not {expected.dtype} {expected.shape}."
        )
    deviation = float(np.abs(joints - expected).max())
    if not deviation <= TOLERANCE:
        raise RuntimeError(f"{form.files[0]} deviates from the network by {deviation:.1e}, more than {TOLERANCE:.0e}.")
    return Checked(deviation, ms)


def check_weights(folder: Path, exported: SavedModel) -> None:
    """Reads the weights again and compares them with the network's: what loads it on CPUs reads its graph instead.

    Raises:
        RuntimeError: they are not bit-identical: a fault of ours.
    """
    read = saved_model.read(folder).weights
    same = jax.tree.map(lambda a, b: np.array_equal(np.asarray(a), np.asarray(b)), read, exported.weights)
    if not all(jax.tree.leaves(same)):
        raise RuntimeError(f"{folder} does not hold the network's weights.")
