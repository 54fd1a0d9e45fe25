"""The network as an ONNX graph, node by node.

Seven operators make the whole network, so a converter would be longer than this file, and each node is known: batch
norm is in the convolutions' weights already, and there is nothing to optimise away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from flax import nnx

from pmd_jax.config.backbones import CROP_SHAPE
from pmd_jax.data.hand import NUM_JOINTS
from pmd_jax.models.pmd_net import Head, PMDNet
from pmd_jax.models.resnet import BasicBlock

if TYPE_CHECKING:
    import onnx

OPSET = 17  # with IR 8: what ONNX Runtime reads since 1.12 (2022)
IR = 8


def to_onnx(model: PMDNet) -> onnx.ModelProto:
    """The graph of a network whose batch norms are folded (`pmd_jax.models.fold_batch_norm`).

    Its input `rgb` is uint8 (batch, 64, 64, 3), its output `joints` float32 (batch, 21, 3): relative to joint 9, in
    hand scales. The batch is free. Everything is computed in float32.
    """
    from onnx import TensorProto, checker, helper

    graph = _Graph()
    x = graph.call("Cast", "rgb", to=TensorProto.FLOAT)  # first: TensorRT knows no other operator on uint8
    x = graph.call("Transpose", x, perm=[0, 3, 1, 2])  # ONNX convolves (batch, channel, row, column)
    x = graph.call("Div", x, np.float32(127.5))
    x = graph.call("Sub", x, np.float32(1))
    x = graph.call("Relu", graph.conv(model.backbone.stem, x))
    for block in model.backbone.blocks:
        x = _block(graph, block, x)
    feature = graph.call("Flatten", graph.call("GlobalAveragePool", x))
    pose = graph.call("Concat", *(_head(graph, head, feature) for head in model.heads), axis=1)
    if model.refine is not None:
        pose = graph.call("Add", pose, _head(graph, model.refine, feature))
    axes_first = graph.call("Reshape", pose, np.array([0, 3, NUM_JOINTS]))  # 0: the batch, as it comes
    graph.nodes.append(helper.make_node("Transpose", [axes_first], ["joints"], perm=[0, 2, 1]))

    rgb = helper.make_tensor_value_info(
        "rgb", TensorProto.UINT8, ["batch", *CROP_SHAPE], "a crop around one hand, sRGB"
    )
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

    def conv(self, conv: nnx.Conv, x: str) -> str:
        """A convolution with bias; its kernel is (height, width, in, out) here, (out, in, height, width) there."""
        assert conv.bias is not None, "fold batch norm first"
        kernel, bias = np.asarray(conv.kernel[...]).transpose(3, 2, 0, 1), np.asarray(conv.bias[...])
        pads = np.asarray(conv.padding).T.ravel().tolist()  # top, left, bottom, right
        strides = np.broadcast_to(np.asarray(conv.strides), 2).tolist()
        return self.call("Conv", x, kernel, bias, pads=pads, strides=strides)

    def linear(self, layer: nnx.Linear, x: str) -> str:
        assert layer.bias is not None
        return self.call("Gemm", x, np.asarray(layer.kernel[...]), np.asarray(layer.bias[...]))


def _block(graph: _Graph, block: BasicBlock, x: str) -> str:
    shortcut = x if block.projection is None else graph.conv(block.projection.conv, x)
    x = graph.call("Relu", graph.conv(block.conv1, x))
    return graph.call("Relu", graph.call("Add", graph.conv(block.conv2, x), shortcut))


def _head(graph: _Graph, head: Head, feature: str) -> str:
    hidden = graph.call("Relu", graph.linear(head.fc1, feature))
    return graph.linear(head.fc3, graph.call("Relu", graph.linear(head.fc2, hidden)))
