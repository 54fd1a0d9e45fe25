"""A trained network as a function: RGB crops to joints."""

from __future__ import annotations

import functools
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float, UInt8

from pmd_jax import export_folder
from pmd_jax.checkpoint import CheckpointError
from pmd_jax.config import ConfigError
from pmd_jax.data.augment import normalise_rgb
from pmd_jax.models.fold import fold
from pmd_jax.models.pmd_net import PMDNet
from pmd_jax.rows import ROWS

DEMO = Path(__file__).resolve().parent.parent / "checkpoints" / "demo"  # comes with the repository


class Predictor:
    """RGB crops to joints.

    Attributes:
        row, config: which network this is, and the configuration it was trained with.
    """

    def __init__(self, exported: export_folder.Exported):
        self.row, self.config = exported.row, exported.config
        graph, params = nnx.split(fold(nnx.merge(exported.network.evaluation, *exported.weights)))
        self._params = jax.device_put(params)
        self._run = jax.jit(functools.partial(_predict, graph))

    def __call__(self, rgb: UInt8[np.ndarray, "b 64 64 3"]) -> Float[np.ndarray, "b 21 3"]:
        """Joints relative to the middle MCP, in units of the wrist to middle MCP distance; axes as the camera's.

        Raises:
            TypeError: the crops are not uint8.
            ValueError: their shape is not (B, 64, 64, 3).
        """
        rgb = np.asarray(rgb)
        if rgb.dtype != np.uint8:
            raise TypeError(f"The crops are {rgb.dtype}; give uint8 values 0…255.")
        if rgb.ndim != 4 or rgb.shape[1:] != (64, 64, 3):
            raise ValueError(f"The crops have shape {rgb.shape}; give (B, 64, 64, 3), for one crop rgb[None].")
        return np.asarray(self._run(self._params, rgb))


def _predict(graph: nnx.GraphDef[PMDNet], params: nnx.State, rgb: jax.Array) -> jax.Array:
    return nnx.merge(graph, params, copy=True)(normalise_rgb(rgb)).pose


def load(path: str | Path | None = None) -> Predictor:
    """An exported student as a function of uint8 crops.

    Args:
        path: an export's folder; None for the demo network that comes with the repository.

    Raises:
        CheckpointError: the folder is missing or broken, of another version, or its arrays do not fit its description.
        ConfigError: the folder holds a depth teacher, which cannot see RGB.
    """
    if path is None and not DEMO.is_dir():
        raise CheckpointError(f"There is no demo network at {DEMO}: install the checkout, or name an export folder.")
    path = DEMO if path is None else path
    exported = export_folder.read(path)
    if ROWS[exported.row].modality != "rgb":
        raise ConfigError(f"{path} holds {exported.row!r}, which sees depth; give an RGB network's export.")
    return Predictor(exported)
