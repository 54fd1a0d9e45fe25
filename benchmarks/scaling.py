"""What a stage II step computes and communicates, and what that predicts for many devices: docs/scaling.md.

    python -m benchmarks.scaling      # writes the page's tables anew

Predictions, not measurements: the peaks are the vendor's, the latency and the share of the limit are assumed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from benchmarks import ROOT, flops
from benchmarks.render import fill
from pmd_jax.config import ModelConfig
from pmd_jax.config.methods import METHODS
from pmd_jax.data.hand import NUM_JOINTS
from pmd_jax.runtime.markdown import markdown_table

PAGE = ROOT / "docs" / "scaling.md"
MARKS = ("<!-- scaling:begin -->", "<!-- scaling:end -->")
ROW, TEACHER = METHODS["pmd_net"], METHODS["depth_teacher"]
MODEL = ModelConfig()  # full size
BFLOAT16, FLOAT32 = 2, 4  # bytes
DEVICES = (1, 2, 4, 8, 16, 64, 256, 1024)
SAMPLE_BYTES = (
    64 * 64 * (3 + 2) + FLOAT32 * NUM_JOINTS * (3 + 2) + NUM_JOINTS + 9 * FLOAT32 + 1 + FLOAT32 + 4
)  # data/augment.py, Batch


class Cluster(NamedTuple):
    """Nodes of eight H100 SXM. The vendor's figures, but for the last two."""

    flops_per_s: float = 989e12  # bfloat16, dense
    bytes_per_s: float = 3.35e12  # memory
    in_node: int = 8
    link_bytes_per_s: float = 450e9  # NVLink, each way
    network_bytes_per_s: float = 50e9  # a network card of 400 Gbit/s for each device
    hop_s: float = 10e-6  # assumed: one round of a small all-reduce, of which there are log2(devices)
    share: float = 0.7  # assumed: what of the roofline the computation reaches; our aim for one device


class Step(NamedTuple):
    """Predicted seconds of one step."""

    compute: float
    gradients: float  # their all-reduce
    norms: float  # batch norm's sums over the global batch: one small all-reduce each, forward and backward

    @property
    def seconds(self) -> float:
        """Without any overlap of computing and communicating."""
        return sum(self)


def gradient_bytes() -> int:
    """What the all-reduce of the gradients carries: one float32 a parameter."""
    return FLOAT32 * flops.parameters(flops.layers(MODEL, ROW))


def norm_collectives() -> int:
    """Small all-reduces of a step: each norm of the student, forward and backward; each waits for the one before."""
    return 2 * sum(layer.norm > 0 for layer in flops.layers(MODEL, ROW))


def predict(devices: int, batch_a_device: int, cluster: Cluster, *, cached: bool = False) -> Step:
    """A step of `devices` × `batch_a_device` images."""
    work = flops.step_cost(MODEL, ROW, None if cached else TEACHER, batch_a_device, BFLOAT16)
    local = min(devices, cluster.in_node)
    nodes = devices // local
    # A ring passes (n − 1)/n of the data twice. Within the node first; then each device carries its part to the others.
    within = 2 * (local - 1) / local * gradient_bytes() / cluster.link_bytes_per_s
    between = 2 * (nodes - 1) / nodes * gradient_bytes() / local / cluster.network_bytes_per_s
    rounds = math.ceil(math.log2(devices))
    return Step(
        compute=work.roofline_seconds(cluster.flops_per_s, cluster.bytes_per_s) / cluster.share,
        gradients=within + between,
        norms=norm_collectives() * rounds * cluster.hop_s,
    )


def render(cluster: Cluster | None = None) -> str:
    """The page's tables."""
    cluster = cluster or Cluster()
    header = ("devices", "batch a device", "computing, ms", "gradients, ms", "batch norm, ms", "images/s", "efficiency")
    weak = [_prediction(devices, 256, cluster) for devices in DEVICES]
    strong = [_prediction(devices, 4096 // devices, cluster) for devices in DEVICES if devices <= 256]
    return "\n\n".join(
        (
            markdown_table(("full size, PMD-Net with its teacher", ""), _facts(cluster)),
            "256 images a device:",
            markdown_table(header, _with_efficiency(weak)),
            "4,096 images in all:",
            markdown_table(header, _with_efficiency(strong)),
        )
    )


def _facts(cluster: Cluster) -> list[tuple[str, ...]]:
    """What one step computes and moves."""
    network = flops.layers(MODEL, ROW)
    whole, cached = (flops.step_cost(MODEL, ROW, teacher, 256, BFLOAT16) for teacher in (TEACHER, None))
    learnt, sums = flops.parameters(network), 2 * FLOAT32 * flops.norm_values(network)
    step_s = predict(1, 256, cluster).compute
    wanted = f"8 · 256 / {step_s * 1e3:.1f} ms = {8 * 256 / step_s:,.0f} a second"
    return [
        ("multiply-adds of a forward pass, an image", f"{sum(layer.macs for layer in network) / 1e9:.3f} · 10⁹"),
        ("operations of a step, an image", f"{whole.flops / 256 / 1e9:.1f} GFLOP"),
        ("… with the teacher's cache", f"{cached.flops / 256 / 1e9:.1f} GFLOP"),
        ("bytes through memory, an image (bfloat16, batch 256)", f"{whole.bytes / 256 / 1e6:.0f} MB"),
        ("… with the teacher's cache", f"{cached.bytes / 256 / 1e6:.0f} MB"),
        ("gradients to sum over the devices, a step", f"4 bytes · {learnt:,} = {gradient_bytes() / 1e6:.1f} MB"),
        ("batch norm's sums, a step", f"{norm_collectives()} all-reduces, {sums / 1e3:.0f} kB in all"),
        ("a prepared sample, host to device", f"{SAMPLE_BYTES:,} bytes"),
        ("samples that a host of 8 devices must bring", wanted),
    ]


def _prediction(devices: int, batch: int, cluster: Cluster) -> tuple[int, int, Step]:
    return devices, batch, predict(devices, batch, cluster)


def _with_efficiency(predicted: list[tuple[int, int, Step]]) -> list[tuple[str, ...]]:
    """Efficiency: images/s a device, over those of the first line."""
    speeds = [batch / step.seconds for _, batch, step in predicted]
    return [
        (
            f"{devices:,}",
            f"{batch:,}",
            *(f"{1000 * part:.2f}" for part in step),
            f"{devices * speed:,.0f}",
            f"{speed / speeds[0]:.2f}",
        )
        for (devices, batch, step), speed in zip(predicted, speeds, strict=True)
    ]


if __name__ == "__main__":
    fill(PAGE, MARKS, render())
