"""The same network and losses in PyTorch, written from the paper and our list of readings, to hold ours against.

Modules are named as ours, so that `carry_over` is a matter of layout: PyTorch keeps a convolution's kernel as (out, in,
height, width) and a dense one as (out, in). Only for the tests that compare the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

STEMS = {
    "64/32/16/8": {"kernel_size": 3, "stride": 1, "padding": 1},
    "32/16/8/8": {"kernel_size": 7, "stride": 2, "padding": 3},
}
STAGE_STRIDES = {"64/32/16/8": (1, 2, 2, 2), "32/16/8/8": (1, 2, 2, 1)}
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


class Shortcut(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        return self.norm(self.conv(x))


class BasicBlock(nn.Module):
    """ResNet's block of two 3×3 convolutions (He et al. 2016)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        changes_shape = stride > 1 or channels_in != channels_out
        self.projection = Shortcut(channels_in, channels_out, stride) if changes_shape else nn.Identity()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        inner = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.projection(x) + self.norm2(self.conv2(inner)))


class Backbone(nn.Module):
    """ResNet-34 of the paper (blocks 3, 4, 6, 3; width 64), without max-pool, with global average pooling."""

    def __init__(self, channels: int, width: int, blocks: tuple[int, ...], reading: str):
        super().__init__()
        self.stem = nn.Conv2d(channels, width, bias=False, **STEMS[reading])
        self.norm = nn.BatchNorm2d(width)
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        self.blocks = nn.Sequential()
        for stage, count in enumerate(blocks):
            self.blocks.append(BasicBlock(widths[stage], widths[stage + 1], STAGE_STRIDES[reading][stage]))
            self.blocks.extend(BasicBlock(widths[stage + 1], widths[stage + 1], 1) for _ in range(count - 1))

    def forward(self, images: Float[Tensor, "b c 64 64"]) -> Float[Tensor, "b f"]:
        feature_map = self.blocks(functional.relu(self.norm(self.stem(images))))
        return functional.adaptive_avg_pool2d(feature_map, 1).flatten(1)


class FullyConnected(nn.Module):
    """Three layers 256, 64, outputs (section 3.1)."""

    def __init__(self, features: int, outputs: int):
        super().__init__()
        self.fc1 = nn.Linear(features, 256)
        self.fc2 = nn.Linear(256, 64)
        self.fc3 = nn.Linear(64, outputs)

    def forward(self, feature: Float[Tensor, "b f"]) -> tuple[Float[Tensor, "b 64"], Float[Tensor, "b outputs"]]:
        """The second last layer before its ReLU, and the output."""
        second_last = self.fc2(functional.relu(self.fc1(feature)))
        return second_last, self.fc3(functional.relu(second_last))


class Answer(NamedTuple):
    feature: Float[Tensor, "b f"]
    hidden: list[Float[Tensor, "b 64"]]  # f₋₂ of X, Y and Z, or of the joint head
    first_pose: Float[Tensor, "b 21 3"]
    pose: Float[Tensor, "b 21 3"]  # refined where there is a refine branch


class TorchPMDNet(nn.Module):
    """The whole network (sections 3.1 and 3.3); the arguments are those of ours."""

    def __init__(
        self,
        channels: int,
        *,
        width: int,
        blocks: tuple[int, ...],
        reading: str,
        heads: str,
        refine: bool,
        hidden_before_relu: bool = False,
    ):
        super().__init__()
        self.hidden_before_relu = hidden_before_relu
        self.backbone = Backbone(channels, width, blocks, reading)
        outputs = {"separate": [21, 21, 21], "joint": [63]}[heads]
        self.heads = nn.ModuleList(FullyConnected(8 * width, count) for count in outputs)
        self.refine = FullyConnected(8 * width, 63) if refine else None

    def forward(self, images: Float[Tensor, "b c 64 64"]) -> Answer:
        feature = self.backbone(images)
        hidden, outputs = [], []
        for head in self.heads:
            second_last, output = head(feature)
            hidden.append(second_last if self.hidden_before_relu else functional.relu(second_last))
            outputs.append(output)
        # 63 values are the X of all joints, then Y, then Z: the joint head has the separate ones' order.
        axes = torch.cat(outputs, dim=1).split(21, dim=1)
        first_pose = torch.stack(axes, dim=2)
        if self.refine is None:
            return Answer(feature, hidden, first_pose, first_pose)
        residual = torch.stack(self.refine(feature)[1].split(21, dim=1), dim=2)
        return Answer(feature, hidden, first_pose, first_pose + residual)


def to_torch(tree: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Our nested parameters, gradients or statistics by PyTorch's names and in its layout, as float64."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{name}": leaf for name, leaf in to_torch(value).items()}
        else:
            array = np.array(value, np.float64)
            if key == "kernel":  # ours: (height, width, in, out) and (in, out)
                array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            flat[LEAVES[key]] = torch.from_numpy(np.ascontiguousarray(array))
    return flat


def carry_over(model: TorchPMDNet, params: Mapping[Any, Any], batch_stats: Mapping[Any, Any]) -> TorchPMDNet:
    """Gives `model` our parameters and running statistics, in float64; it must have exactly these."""
    model.double().load_state_dict(to_torch(params) | to_torch(batch_stats), strict=True)
    return model


def regression_loss(pose: Float[Tensor, "b 21 3"], label: Float[Tensor, "b 21 3"]) -> Float[Tensor, ""]:
    """Eq. 1, 2 and 4, averaged over the samples."""
    return torch.linalg.vector_norm((pose - label).flatten(1), dim=1).mean()


def stage_two_loss(
    student: Answer,
    teacher: Answer,
    label: Float[Tensor, "b 21 3"],
    *,
    weights: tuple[float, ...],
    alpha: float,
    beta: float | None,
) -> Float[Tensor, ""]:
    """Eq. 3–6: Σ λ_i ‖ψ_i − φ_i‖₁ + α·L_reg.

    `weights` are for the feature and each head; without a refine branch `beta` is None.
    """
    ours, theirs = [student.feature, *student.hidden], [teacher.feature, *teacher.hidden]
    distances = [(psi - phi).abs().sum(dim=1).mean() for psi, phi in zip(ours, theirs, strict=True)]
    distillation = sum(weight * distance for weight, distance in zip(weights, distances, strict=True))
    regression = regression_loss(student.pose, label)
    if beta is not None:
        regression = beta * regression_loss(student.first_pose, label) + regression
    return distillation + alpha * regression
