"""The network as an ONNX graph, node by node, of its weights as plain arrays.

A dozen operators make the whole network, so a converter would be longer than this file, and each node is known: batch
norm goes into the convolutions' weights, and there is nothing to optimise away. No JAX is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from pmd_jax.config import ModelConfig
from pmd_jax.config.backbones import BACKBONES, CROP_SHAPE
from pmd_jax.data.hand import NUM_JOINTS, ROOT
from pmd_jax.models.map_positions import map_positions, value_count

if TYPE_CHECKING:
    import onnx

Tree = Mapping[Any, Any]  # nested, of arrays
EPSILON = 1e-5  # of batch norm (`resnet.batch_norm`)
OPSET = 17  # with IR 8: what ONNX Runtime reads since 1.12 (2022)
IR = 8


def to_onnx(params: Tree, batch_stats: Tree, model: ModelConfig, pool: str = "average") -> onnx.ModelProto:
    """The graph of a network that sees RGB.

    Its input `rgb` is uint8 (batch, 64, 64, 3), its output `joints` float32 (batch, 21, 3): relative to joint 9, in
    hand scales. The batch is free. Everything is computed in float32.

    Args:
        params, batch_stats: of `network.Weights`, on the host.
        model: the architecture that they are of.
        pool: of the method (`config.methods`).
    """
    from onnx import TensorProto, checker, helper

    graph = _Graph()
    x = graph.call("Cast", "rgb", to=TensorProto.FLOAT)  # first: TensorRT knows no other operator on uint8
    x = graph.call("Transpose", x, perm=[0, 3, 1, 2])  # ONNX convolves (batch, channel, row, column)
    x = graph.call("Div", x, np.float32(127.5))
    x = graph.call("Sub", x, np.float32(1))
    x = _backbone(graph, x, params, batch_stats, model)
    feature = graph.call("Flatten", graph.call("GlobalAveragePool", x))
    heads = POOLS[pool](graph, params, x, feature, model)
    pose = graph.call("Concat", *heads, axis=1)
    if "refine" in params:
        pose = graph.call("Add", pose, _head(graph, params["refine"], feature))
    axes_first = graph.call("Reshape", pose, np.array([0, 3, NUM_JOINTS]))  # 0: the batch, as it comes
    graph.nodes.append(helper.make_node("Transpose", [axes_first], ["joints"], perm=[0, 2, 1]))

    crops = "a crop around one hand, sRGB"
    rgb = helper.make_tensor_value_info("rgb", TensorProto.UINT8, ["batch", *CROP_SHAPE], crops)
    units = "x right, y down, z away from the camera, relative to joint 9, in units of the distance from joint 0 to 9"
    joints = helper.make_tensor_value_info("joints", TensorProto.FLOAT, ["batch", NUM_JOINTS, 3], units)
    made = helper.make_graph(graph.nodes, "pmd_net", [rgb], [joints], graph.weights)
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="pmd_jax")
    proto.ir_version = IR
    checker.check_model(proto, full_check=True)
    return proto


class _Graph:
    """Nodes in the order they are computed, and the weights they use."""

    def __init__(self):
        self.nodes, self.weights = [], []

    def call(self, operator: str, *inputs: str | np.generic | np.ndarray, **attributes) -> str:
        """Adds a node, and those of its inputs that are arrays as weights; returns the name of its value."""
        from onnx import helper, numpy_helper

        name = f"{operator.lower()}_{len(self.nodes)}"
        names = []
        for position, value in enumerate(inputs):
            if not isinstance(value, str):
                self.weights.append(numpy_helper.from_array(np.asarray(value), f"{name}.{position}"))
            names.append(value if isinstance(value, str) else f"{name}.{position}")
        self.nodes.append(helper.make_node(operator, names, [name], name, **attributes))
        return name

    def conv(self, conv: Tree, norm: Tree, stats: Tree, x: str, stride: int = 1) -> str:
        """A convolution, padded alike on all sides, with the batch norm after it in its weights (`fold_batch_norm`).

        Its kernel is (height, width, in, out) here, (out, in, height, width) there.
        """
        scale = norm["scale"].astype(np.float64) / np.sqrt(stats["var"].astype(np.float64) + EPSILON)
        kernel = np.ascontiguousarray((conv["kernel"] * scale).transpose(3, 2, 0, 1), np.float32)
        bias = (norm["bias"] - scale * stats["mean"]).astype(np.float32)
        pads = [side // 2 for side in kernel.shape[2:]] * 2  # top, left, bottom, right
        return self.call("Conv", x, kernel, bias, pads=pads, strides=[stride, stride])

    def linear(self, layer: Tree, x: str) -> str:
        return self.call("Gemm", x, _float32(layer["kernel"]), _float32(layer["bias"]))


def _backbone(graph: _Graph, x: str, params: Tree, batch_stats: Tree, model: ModelConfig) -> str:
    """Pictures to the last feature map; strides as `resnet.ResNet` has them."""
    backbone, stats = params["backbone"], batch_stats["backbone"]
    _, stem_stride, strides = BACKBONES[model.reading]
    x = graph.call("Relu", graph.conv(backbone["stem"], backbone["norm"], stats["norm"], x, stem_stride))
    first = [sum(model.blocks[:stage]) for stage in range(len(model.blocks))]
    for index in sorted(backbone["blocks"]):
        stride = strides[first.index(index)] if index in first else 1
        x = _block(graph, backbone["blocks"][index], stats["blocks"][index], x, stride)
    return x


def _block(graph: _Graph, block: Tree, stats: Tree, x: str, stride: int) -> str:
    shortcut = x
    if "projection" in block:
        projection = block["projection"]
        shortcut = graph.conv(projection["conv"], projection["norm"], stats["projection"]["norm"], x, stride)
    x = graph.call("Relu", graph.conv(block["conv1"], block["norm1"], stats["norm1"], x, stride))
    x = graph.conv(block["conv2"], block["norm2"], stats["norm2"], x)
    return graph.call("Relu", graph.call("Add", x, shortcut))


def _head(graph: _Graph, head: Tree, feature: str) -> str:
    hidden = graph.call("Relu", graph.linear(head["fc1"], feature))
    return graph.linear(head["fc3"], graph.call("Relu", graph.linear(head["fc2"], hidden)))


def _average(graph: _Graph, params: Tree, x: str, feature: str, model: ModelConfig) -> list[str]:
    """What each head says of the averaged feature."""
    return [_head(graph, params["heads"][index], feature) for index in sorted(params["heads"])]


def _attention(graph: _Graph, params: Tree, x: str, feature: str, model: ModelConfig) -> list[str]:
    """As `spatial.Attention`."""
    read, _ = _read(graph, params["pool"], x, 3, model)
    each = [graph.call("Flatten", graph.call("Gather", read, np.int64(axis), axis=1)) for axis in range(3)]
    return [_head(graph, params["heads"][axis], inputs) for axis, inputs in enumerate(each)]


def _heatmap(graph: _Graph, params: Tree, x: str, feature: str, model: ModelConfig) -> list[str]:
    """As `spatial.Heatmap`."""
    read, position = _read(graph, params["pool"], x, 1, model)
    return _from_positions(graph, params["heads"], position, [feature, feature, graph.call("Flatten", read)])


def _shared_maps(graph: _Graph, params: Tree, x: str, feature: str, model: ModelConfig) -> list[str]:
    """As `spatial.SharedMaps`."""
    read, position = _read(graph, params["pool"], x, 1, model)
    return _from_positions(graph, params["heads"], position, [graph.call("Flatten", read)] * 3)


def _from_positions(graph: _Graph, heads: Tree, position: str, inputs: list[str]) -> list[str]:
    """As `spatial._from_positions`."""
    from_root = graph.call("Sub", position, graph.call("Gather", position, np.array([ROOT]), axis=2))
    answers = []
    for axis in range(2):
        said = _head(graph, heads[axis], inputs[axis])
        offset = graph.call("Slice", said, np.array([0]), np.array([NUM_JOINTS]), np.array([1]))
        scale = graph.call("Softplus", graph.call("Gather", said, np.array([NUM_JOINTS]), axis=1))
        along = graph.call("Flatten", graph.call("Gather", from_root, np.int64(axis), axis=3))
        answers.append(graph.call("Add", offset, graph.call("Mul", scale, along)))
    return [*answers, _head(graph, heads[2], inputs[2])]


def _read(graph: _Graph, pool: Tree, x: str, count: int, model: ModelConfig) -> tuple[str, str]:
    """What each joint reads by its map, (batch, count, 21, values + 2), of which the last two are its position."""
    side = int(model.reading.split("/")[-1])
    values = value_count(model.width)

    def each(layer: Tree, channels: int) -> str:
        kernel = _float32(layer["kernel"]).T[:, :, None, None]  # a dense layer over the places is a 1×1 convolution
        along = graph.call("Conv", x, np.ascontiguousarray(kernel), _float32(layer["bias"]))
        return graph.call("Reshape", along, np.array([0, count, channels, side * side]))

    maps = graph.call("Softmax", each(pool["maps"], NUM_JOINTS), axis=-1)
    said = graph.call("MatMul", maps, graph.call("Transpose", each(pool["values"], values), perm=[0, 1, 3, 2]))
    position = graph.call("MatMul", maps, map_positions(side, side))
    return graph.call("Concat", said, position, axis=3), position


POOLS = {"average": _average, "attention": _attention, "heatmap": _heatmap, "shared_maps": _shared_maps}


def _float32(array: Any) -> Float[np.ndarray, ...]:
    return np.asarray(array, np.float32)
