"""What runs a network: ONNX Runtime on CPUs, JAX on accelerators. Neither is imported before it is used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Float, UInt8

from pmd_jax.data.hand import NUM_JOINTS
from pmd_jax.models.description import GRAPH, Description
from pmd_jax.runtime.cores import usable_cores
from pmd_jax.runtime.errors import first_line

if TYPE_CHECKING:
    from pmd_jax.models.saved_model import SavedModel

ENGINES = ("onnx", "jax")
BATCH_LIMIT = 256  # crops at once: what a large batch takes in memory stays bounded

Crops = UInt8[np.ndarray, "b 64 64 3"]
Joints = Float[np.ndarray, "b 21 3"]


class GraphError(Exception):
    """The ONNX graph cannot be used; the message says why."""


class Engine(Protocol):
    """Crops to joints, as `Predictor.__call__`; what goes in has been checked."""

    name: str

    def __call__(self, rgb: Crops) -> Joints: ...


class OnnxEngine:
    """A saved model's graph in ONNX Runtime, on CPU cores."""

    name = "onnx"

    def __init__(self, folder: Path, description: Description, threads: int | None = None):
        """Opens the graph, if it is the one that was saved with the network.

        Args:
            threads: at most so many at once; None: as many as there are cores to use.

        Raises:
            GraphError: there is no graph, it is another one, or ONNX Runtime is missing or cannot run it.
        """
        graph = _graph(folder, description)
        try:
            import onnxruntime
        except ImportError as error:
            raise GraphError(f"ONNX Runtime is not installed ({error})") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no base of their own
            raise GraphError(f"ONNX Runtime {onnxruntime.__version__} cannot run it ({first_line(error)})") from error

    def __call__(self, rgb: Crops) -> Joints:
        return in_parts(self._part, rgb)

    def _part(self, rgb: Crops) -> Joints:
        return np.asarray(self._session.run(["joints"], {"rgb": rgb})[0])


def _graph(folder: Path, description: Description) -> bytes:
    """The graph's bytes. Raises as `OnnxEngine`."""
    if description.graph_sha256 is None:
        raise GraphError("it was saved without one")
    try:
        graph = (folder / GRAPH).read_bytes()
    except OSError as error:
        raise GraphError(f"it cannot be read ({error})") from error
    if hashlib.sha256(graph).hexdigest() != description.graph_sha256:
        raise GraphError("it is not the one that was saved with this network")
    return graph


class JaxEngine:
    """A network in JAX, on whatever device JAX prefers; batch norm folded into the convolutions."""

    name = "jax"

    def __init__(self, saved: SavedModel):
        import functools

        import jax
        from flax import nnx

        from pmd_jax.data.inputs import normalise_rgb
        from pmd_jax.models.fold_batch_norm import fold

        graph, params = nnx.split(fold(nnx.merge(saved.network.evaluation, *saved.weights)))

        def predict(params: nnx.State, rgb: jax.Array) -> jax.Array:
            return nnx.merge(graph, params, copy=True)(normalise_rgb(rgb)).pose

        self._run = functools.partial(jax.jit(predict), jax.device_put(params))

    def __call__(self, rgb: Crops) -> Joints:
        return in_parts(self._padded, rgb)

    def _padded(self, rgb: Crops) -> Joints:
        """By way of a batch whose size is a power of two: each size is compiled anew, so there must be few."""
        padded = np.zeros((1 << (len(rgb) - 1).bit_length(), *rgb.shape[1:]), np.uint8)
        padded[: len(rgb)] = rgb
        return np.asarray(self._run(padded))[: len(rgb)]


def in_parts(run: Callable[[Crops], Joints], rgb: Crops) -> Joints:
    """Runs at most `BATCH_LIMIT` crops at once; none at all give no joints."""
    parts = [run(rgb[start : start + BATCH_LIMIT]) for start in range(0, len(rgb), BATCH_LIMIT)]
    if not parts:
        return np.zeros((0, NUM_JOINTS, 3), np.float32)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
