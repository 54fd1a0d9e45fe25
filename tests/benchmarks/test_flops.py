"""The analytic counts against published figures, the networks themselves and XLA's own count."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from conftest import small_config

from benchmarks import flops
from pmd_jax.config import ModelConfig
from pmd_jax.config.methods import METHODS
from pmd_jax.models.network import build
from pmd_jax.models.resnet import parameter_count

FULL = ModelConfig()
PARAMETERS = {
    "depth_teacher": 21_723_263,
    "pmd_net": 21_724_415,
    "pmd_net_refine": 21_876_286,
    "pmd_net_joint": 21_428_863,
}


def macs_without_padding(c_in: int, c_out: int, kernel: int, stride: int, side: int) -> int:
    """A convolution's multiply-adds on real pixels alone: what XLA's cost analysis counts."""
    pad, out = kernel // 2, -(-side // stride)
    along = sum(0 <= at * stride + tap - pad < side for at in range(out) for tap in range(kernel))
    return along * along * c_in * c_out


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_the_full_network(name):
    assert flops.parameters(flops.layers(FULL, METHODS[name])) == PARAMETERS[name]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("reading", ["64/32/16/8", "32/16/8/8"])
def test_layers_are_those_of_the_network(name, reading):
    config = small_config(model=ModelConfig(width=4, blocks=(1, 2, 1, 1), reading=reading))
    _, weights = build(config, METHODS[name], seed=0)
    counted = flops.layers(config.model, METHODS[name])
    assert flops.parameters(counted) == parameter_count(weights.params)
    assert flops.norm_values(counted) == parameter_count(weights.batch_stats)


@pytest.mark.parametrize(("reading", "giga_macs"), [("64/32/16/8", 4.64), ("32/16/8/8", 1.80)])
def test_multiply_adds_of_the_two_readings(reading, giga_macs):
    """The figures of docs/paper.md."""
    network = flops.layers(ModelConfig(reading=reading), METHODS["pmd_net"])
    assert sum(layer.macs for layer in network) / 1e9 == pytest.approx(giga_macs, abs=0.005)


def test_resnet34_at_224_pixels(monkeypatch):
    """He et al. 2016, table 1: 3.6 billion multiply-adds, with a stem of 7×7 and a max-pool that halves its map."""
    monkeypatch.setattr(flops, "SIZE", 112)
    monkeypatch.setitem(flops.BACKBONES, "resnet", (7, 2, (1, 2, 2, 2)))
    convolutions = list(flops.backbone_layers(ModelConfig(reading="resnet"), 3))
    stem = 4 * convolutions[0].macs  # it reads 224 pixels, and the pool halves what it writes
    assert (stem + sum(layer.macs for layer in convolutions[1:])) / 1e9 == pytest.approx(3.6, abs=0.1)


@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 1, 8), (3, 2, 16), (7, 2, 64), (1, 2, 16)])
def test_xla_counts_the_taps_on_real_pixels(kernel, stride, side):
    pad = kernel // 2

    def convolve(images, weights):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            images, weights, (stride, stride), [(pad, pad)] * 2, dimension_numbers=layout
        )

    shapes = (
        jax.ShapeDtypeStruct((1, side, side, 4), jnp.float32),
        jax.ShapeDtypeStruct((kernel, kernel, 4, 6), jnp.float32),
    )
    counted = jax.jit(convolve).lower(*shapes).cost_analysis()["flops"]
    real = 2 * macs_without_padding(4, 6, kernel, stride, side)
    every_tap = 2 * flops.conv_layer("", 4, 6, kernel, stride, side).macs
    assert counted == pytest.approx(real, rel=1e-6)
    assert every_tap >= real


def test_a_step_is_three_forward_passes_and_the_teachers():
    """Of the student's multiply-adds; but the stem needs no gradient of the image."""
    student, teacher = flops.layers(FULL, METHODS["pmd_net"]), flops.layers(FULL, METHODS["depth_teacher"])
    step = flops.step_cost(FULL, METHODS["pmd_net"], METHODS["depth_teacher"], 64, itemsize=4)
    expected = 2 * 64 * (3 * sum(x.macs for x in student) - student[0].macs + sum(x.macs for x in teacher))
    assert step.flops == pytest.approx(expected, rel=0.01)  # norms and the optimiser are the rest
    assert step.flops > expected
    without = flops.step_cost(FULL, METHODS["pmd_net"], None, 64, itemsize=4)
    assert step.flops - without.flops == 2 * 64 * sum(x.macs for x in teacher)


def test_bytes_of_one_layer_by_hand():
    """A 3×3 convolution, 2 → 4 channels on 8×8 pixels, two images in bfloat16, with a shortcut behind its norm."""
    layer = flops.conv_layer("", 2, 4, 3, 1, 8, shortcut=True)
    reads, writes, weights = 2 * 8 * 8 * 2, 2 * 8 * 8 * 4, 72
    assert flops.evaluate_cost(layer, 2, 2).bytes == 2 * (reads + 2 * writes + weights)
    conv, norm = flops.forward_cost(layer, 2, 2)
    assert (conv.bytes, norm.bytes) == (2 * (reads + writes + weights), 2 * 3 * writes)
    assert [cost.bytes for cost in flops.backward_cost(layer, 2, 2)] == [conv.bytes, conv.bytes, 2 * 5 * writes]


def test_roofline_takes_the_slower_of_computing_and_moving():
    cost = flops.Cost(flops=100, bytes=10)
    assert cost.seconds(flops_per_s=10, bytes_per_s=10) == 10
    assert cost.seconds(flops_per_s=1000, bytes_per_s=1) == 10
    step = flops.StepCost([], [cost], [cost], [flops.Cost(0, 50)])
    assert step.roofline_seconds(10, 10) == 10 + 10 + 5
