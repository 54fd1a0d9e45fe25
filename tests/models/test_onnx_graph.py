"""The ONNX graph computes what the network computes, for every kind of network."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from conftest import small_config
from flax import nnx

from pmd_jax.config import ModelConfig
from pmd_jax.config.methods import METHODS
from pmd_jax.data.inputs import normalise_rgb
from pmd_jax.models.network import Weights, build
from pmd_jax.models.pmd_net import PMDNet
from reference.made_up_columns import make_columns

pytest.importorskip("onnx", reason="needs the extra 'export'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra 'export'")
from pmd_jax.models.onnx_graph import EPSILON, to_onnx  # noqa: E402


def a_network(row: str, reading: str = "32/16/8/8"):
    """One whose batch norms have something to say, as after training."""
    config = small_config(model=ModelConfig(width=4, blocks=(2, 1, 1, 1), reading=reading))
    network, weights = build(config, METHODS[row], seed=0)
    random = np.random.default_rng(1)

    def stirred(tree):
        return jax.tree.map(lambda x: np.asarray(x) + random.uniform(-0.1, 0.1, x.shape).astype(np.float32), tree)

    return network, Weights(*map(stirred, weights)), config.model


@pytest.mark.parametrize(
    ("row", "reading"),
    [
        ("rgb_baseline", "64/32/16/8"),
        ("pmd_net_joint", "32/16/8/8"),
        ("pmd_net_refine", "32/16/8/8"),
        ("pmd_net_plus", "32/16/8/8"),
        ("pmd_net_heatmap", "64/32/16/8"),
        ("pmd_net_shared_maps", "32/16/8/8"),
    ],
)
def test_it_gives_the_networks_joints(row, reading):
    network, weights, architecture = a_network(row, reading)
    proto = to_onnx(*weights, architecture, METHODS[row].pool)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    rgb = make_columns(5).rgb
    expected = np.asarray(network.evaluate(weights, normalise_rgb(rgb)).pose)
    for crops, joints in ((rgb, expected), (rgb[:1], expected[:1])):
        (answered,) = session.run(["joints"], {"rgb": crops})
        assert answered.dtype == np.float32
        np.testing.assert_allclose(answered, joints, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_batch_norms_own_constant():
    """The graph folds by a constant of its own, which must be the network's."""
    assert PMDNet(3, width=4, blocks=(1, 1, 1, 1), rngs=nnx.Rngs(0)).backbone.norm.epsilon == EPSILON


def test_it_says_what_goes_in_and_comes_out():
    _, weights, architecture = a_network("rgb_baseline")
    proto = to_onnx(*weights, architecture)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    ((rgb,), (joints,)) = session.get_inputs(), session.get_outputs()
    assert (rgb.name, rgb.type, rgb.shape) == ("rgb", "tensor(uint8)", ["batch", 64, 64, 3])
    assert (joints.name, joints.type, joints.shape) == ("joints", "tensor(float)", ["batch", 21, 3])
    assert "relative to joint 9" in proto.graph.output[0].doc_string


def test_bytes_go_through_nothing_but_the_cast():
    """TensorRT has no other operator on uint8."""
    _, weights, architecture = a_network("rgb_baseline")
    proto = to_onnx(*weights, architecture)
    assert [node.op_type for node in proto.graph.node if "rgb" in node.input] == ["Cast"]
