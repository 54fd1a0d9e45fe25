"""What a network can be exported as: how each format is written, and the few lines that read it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx
from jax import export as jax_export
from jax.extend.mlir.dialects import stablehlo as stablehlo_dialect

from pmd_jax.config.backbones import CROP_SIZE_PX
from pmd_jax.config.methods import METHODS
from pmd_jax.data.inputs import normalise_rgb
from pmd_jax.models import saved_model
from pmd_jax.models.fold_batch_norm import fold
from pmd_jax.models.network import build
from pmd_jax.models.pmd_net import PMDNet
from pmd_jax.models.saved_model import SavedModel
from pmd_jax.runtime import digest

PLATFORMS = ("cpu", "cuda", "tpu")
# By itself JAX writes one that is a month old, which a JAX of three months before cannot read. All later ones can read
# this, and JAX 0.10.
STABLEHLO_VERSION = "1.13.0"


class Format(NamedTuple):
    """One way to carry a network elsewhere.

    Attributes:
        files: what it consists of, in the export's folder.
        runs_on: the packages that the reader imports, as pip names them.
        needs: modules that writing and checking import, beyond those that the package depends on.
        write: writes the files of a network into a folder.
        reader: Python that makes of them `predict`, from uint8 (B, 64, 64, 3) to (B, 21, 3); run in their folder.
    """

    files: tuple[str, ...]
    runs_on: tuple[str, ...]
    needs: tuple[str, ...]
    write: Callable[[SavedModel, Path], None]
    reader: str


def in_float32(exported: SavedModel) -> SavedModel:
    """The same network, computing in float32 whatever device this is."""
    config = replace(exported.config, compute_dtype="float32")
    return exported._replace(network=build(config, METHODS[exported.method], seed=0)[0])


def folded(exported: SavedModel) -> PMDNet:
    """The network with batch norm in its convolutions."""
    return fold(nnx.merge(exported.network.evaluation, *exported.weights, copy=True))


def stablehlo(model: PMDNet) -> bytes:
    """The network as `jax.export` serialises it: for CPU, CUDA and TPU, any batch, its weights inside.

    It is in `STABLEHLO_VERSION`, whatever JAX this is, and asks for float32 products on every platform; by default TPUs
    and newer GPUs would round their factors.
    """
    graph, params = nnx.split(model)
    params = jax.device_get(params)

    def predict(rgb: jax.Array) -> jax.Array:
        return nnx.merge(graph, params, copy=True)(normalise_rgb(rgb)).pose

    crops = jax.ShapeDtypeStruct(jax_export.symbolic_shape(f"batch, {CROP_SIZE_PX}, {CROP_SIZE_PX}, 3"), np.uint8)
    with jax.default_matmul_precision("float32"):
        program = jax_export.export(jax.jit(predict), platforms=PLATFORMS)(crops)
    module = stablehlo_dialect.serialize_portable_artifact_str(program.mlir_module(), STABLEHLO_VERSION)
    return bytes(replace(program, mlir_module_serialized=module).serialize())


def _write_orbax(exported: SavedModel, folder: Path) -> None:
    saved_model.write(folder, exported.method, exported.config, exported.weights, (), exported.crop_margin)


def _write_stablehlo(exported: SavedModel, folder: Path) -> None:
    (folder / "model.stablehlo").write_bytes(stablehlo(folded(in_float32(exported))))


def _write_onnx(exported: SavedModel, folder: Path) -> None:
    graph = saved_model.graph_of(exported.method, exported.config, exported.weights)
    assert graph is not None  # `needs` makes sure of onnx, `read_student` of RGB
    (folder / "model.onnx").write_bytes(graph)


FORMATS = {
    "orbax": Format(
        files=("network.json", "weights", "network.onnx", digest.NAME),
        runs_on=("pmd_jax",),
        needs=(),
        write=_write_orbax,
        reader="""\
import pmd_jax

predict = pmd_jax.load(".")
""",
    ),
    "stablehlo": Format(
        files=("model.stablehlo",),
        runs_on=("jax", "flatbuffers"),
        needs=("flatbuffers",),
        write=_write_stablehlo,
        reader="""\
import jax
from jax import export

with open("model.stablehlo", "rb") as file:
    network = export.deserialize(bytearray(file.read()))
predict = jax.jit(network.call)
""",
    ),
    "onnx": Format(
        files=("model.onnx",),
        runs_on=("onnxruntime",),
        needs=("onnx", "onnxruntime"),
        write=_write_onnx,
        reader="""\
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])


def predict(rgb):
    return session.run(["joints"], {"rgb": rgb})[0]
""",
    ),
}
