"""What a network and a training step compute and move, counted layer by layer from the architecture: plain arithmetic.

A multiply-add counts as two operations, and every tap of a convolution counts, also those that fall on padding (XLA's
own count leaves these out, and adds what it spends on masks, reductions and the optimiser). Bytes are what a perfect
implementation still has to move through memory, each array read or written once where it is used:

* a convolution or dense layer reads its input and its weights, and writes its output;
* batch norm in training takes its statistics while the convolution writes, then reads and writes the map once together
  with its ReLU, and reads the shortcut where one is added. In evaluation it is part of the convolution;
* backwards a layer reads the gradient of its output twice: for the gradient of its input, with the weights, and for
  that of its weights, with the input. Batch norm reads map and gradient once for its two sums and once for the result;
* Adam with L2 reads gradient, weights and two moments and writes the last three, in float32.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pmd_jax.config import ModelConfig
from pmd_jax.config.backbones import BACKBONES
from pmd_jax.config.methods import Method
from pmd_jax.data.hand import NUM_JOINTS
from pmd_jax.models.map_positions import value_count

SIZE = 64  # pixels of a crop
ADAM_BYTES = 7 * 4  # a parameter: gradient, weight and two moments read; weight and moments written; float32
ADAM_FLOPS = 18  # a parameter: L2, two running means with their corrections, root, division, update


class Layer(NamedTuple):
    """One layer with weights, for one image; batch norm belongs to the convolution before it."""

    name: str
    macs: int  # multiply-adds, every tap
    inputs: int  # numbers read
    outputs: int  # numbers written
    weights: int  # kernel and bias
    norm: int = 0  # numbers of scale and bias of the norm behind it; 0 = no norm
    shortcut: bool = False  # a shortcut is added behind the norm
    first: bool = False  # sees the image: no gradient of its input is needed
    itemsize: int | None = None  # bytes a number where it is not the computation's (the heads stay float32)


class Cost(NamedTuple):
    """Floating-point operations and bytes through memory."""

    flops: float
    bytes: float

    def __add__(self, other: tuple) -> Cost:  # pyright: ignore[reportIncompatibleMethodOverride] (a sum, not a longer tuple)
        return Cost(self.flops + other[0], self.bytes + other[1])

    def seconds(self, flops_per_s: float, bytes_per_s: float) -> float:
        """The roofline: whichever of computing and moving takes longer."""
        return max(self.flops / flops_per_s, self.bytes / bytes_per_s)


# ---- layers


def conv_layer(name: str, c_in: int, c_out: int, kernel: int, stride: int, side: int, **more) -> Layer:
    """A square convolution without bias, padded by half its kernel, on maps of side × side, with its norm."""
    out = -(-side // stride)
    taps = kernel * kernel * c_in * c_out
    return Layer(name, out * out * taps, side * side * c_in, out * out * c_out, taps, norm=2 * c_out, **more)


def dense_layer(name: str, inputs: int, outputs: int) -> Layer:
    return Layer(name, inputs * outputs, inputs, outputs, inputs * outputs + outputs, itemsize=4)


def backbone_layers(model: ModelConfig, channels: int) -> Iterator[Layer]:
    """`models/resnet.py`, convolution by convolution."""
    kernel, stem_stride, strides = BACKBONES[model.reading]
    yield conv_layer("stem", channels, model.width, kernel, stem_stride, SIZE, first=True)
    side, c_in = SIZE // stem_stride, model.width
    for stage, (count, stage_stride) in enumerate(zip(model.blocks, strides, strict=True)):
        c_out = model.width * 2**stage
        for index in range(count):
            stride, name = stage_stride if index == 0 else 1, f"stage{stage + 1}/block{index + 1}"
            yield conv_layer(f"{name}/conv1", c_in, c_out, 3, stride, side)
            if stride != 1 or c_in != c_out:
                yield conv_layer(f"{name}/projection", c_in, c_out, 1, stride, side)
            side = -(-side // stride)
            yield conv_layer(f"{name}/conv2", c_out, c_out, 3, 1, side, shortcut=True)
            c_in = c_out


def head_layers(name: str, features: int, outputs: int) -> Iterator[Layer]:
    sizes = (features, 256, 64, outputs)
    for index, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        yield dense_layer(f"{name}/fc{index + 1}", n_in, n_out)


def pool_layers(model: ModelConfig, count: int) -> Iterator[Layer]:
    """The 1×1 convolutions of `models/spatial.py`; what the maps then weigh has no weights and is left out."""
    places, features = int(model.reading.split("/")[-1]) ** 2, 8 * model.width
    for name, channels in (("maps", NUM_JOINTS), ("values", value_count(model.width))):
        kernel = features * count * channels
        numbers = places * features, places * count * channels, kernel + count * channels
        yield Layer(f"pool/{name}", places * kernel, *numbers, itemsize=4)


def layers(model: ModelConfig, row: Method) -> list[Layer]:
    """All layers of a row's network (`models/pmd_net.py`)."""
    found = list(backbone_layers(model, 1 if row.modality == "depth" else 3))
    outputs = [NUM_JOINTS] * 3 if row.heads == "separate" else [3 * NUM_JOINTS]
    inputs = [8 * model.width] * len(outputs)
    if row.pool != "average":
        read = NUM_JOINTS * (value_count(model.width) + 2)
        found += pool_layers(model, 3 if row.pool == "attention" else 1)
        inputs = [*inputs[:2], read] if row.pool == "heatmap" else [read] * 3
        outputs = outputs if row.pool == "attention" else [NUM_JOINTS + 1, NUM_JOINTS + 1, NUM_JOINTS]
    for index, (features, count) in enumerate(zip(inputs, outputs, strict=True)):
        found += head_layers(f"head{index + 1}", features, count)
    if row.refine:
        found += head_layers("refine", 8 * model.width, 3 * NUM_JOINTS)
    return found


def parameters(network: Sequence[Layer]) -> int:
    """How many numbers are learnt."""
    return sum(layer.weights + layer.norm for layer in network)


def norm_values(network: Sequence[Layer]) -> int:
    """How many numbers the statistics of all batch norms are (a mean and a variance a channel)."""
    return sum(layer.norm for layer in network)


# ---- costs of one layer for a batch


def evaluate_cost(layer: Layer, batch: int, itemsize: int) -> Cost:
    """Forward by the running statistics, the norm folded into the convolution."""
    size = layer.itemsize or itemsize
    moved = batch * (layer.inputs + layer.outputs * (2 if layer.shortcut else 1)) + layer.weights
    return Cost(2 * batch * layer.macs, size * moved)


def forward_cost(layer: Layer, batch: int, itemsize: int) -> list[Cost]:
    """Forward in training: the layer, then its norm with ReLU and shortcut."""
    size = layer.itemsize or itemsize
    costs = [Cost(2 * batch * layer.macs, size * (batch * (layer.inputs + layer.outputs) + layer.weights))]
    if layer.norm:
        passes = 3 if layer.shortcut else 2
        costs.append(Cost(8 * batch * layer.outputs, size * passes * batch * layer.outputs))
    return costs


def backward_cost(layer: Layer, batch: int, itemsize: int) -> list[Cost]:
    """Backward: the norm, then the gradients of the input and of the weights."""
    size = layer.itemsize or itemsize
    whole = Cost(2 * batch * layer.macs, size * (batch * (layer.inputs + layer.outputs) + layer.weights))
    costs = [whole] if layer.first else [whole, whole]
    if layer.norm:
        costs.append(Cost(12 * batch * layer.outputs, size * 5 * batch * layer.outputs))
    return costs


# ---- a whole step


class StepCost(NamedTuple):
    """A training step's parts, each a list of costs: one an operation that a perfect implementation would run."""

    teacher: list[Cost]
    forward: list[Cost]
    backward: list[Cost]
    optimizer: list[Cost]

    @property
    def flops(self) -> float:
        return sum(cost.flops for part in self for cost in part)

    @property
    def bytes(self) -> float:
        return sum(cost.bytes for part in self for cost in part)

    def roofline_seconds(self, flops_per_s: float, bytes_per_s: float) -> float:
        """The least time, operation by operation, on a machine with these peaks."""
        return sum(cost.seconds(flops_per_s, bytes_per_s) for part in self for cost in part)


def step_cost(model: ModelConfig, row: Method, teacher: Method | None, batch: int, itemsize: int) -> StepCost:
    """One update of a row; `teacher` is None where none takes part or its answers are cached."""
    student = layers(model, row)
    taught = layers(model, teacher) if teacher is not None else []
    learnt = parameters(student)
    return StepCost(
        teacher=[evaluate_cost(layer, batch, itemsize) for layer in taught],
        forward=[cost for layer in student for cost in forward_cost(layer, batch, itemsize)],
        backward=[cost for layer in student for cost in backward_cost(layer, batch, itemsize)],
        optimizer=[Cost(ADAM_FLOPS * learnt, ADAM_BYTES * learnt)],
    )
