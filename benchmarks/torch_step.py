"""The same training step and network in PyTorch, as one would write them for speed: channels-last, fused Adam.

The network and the losses are those that the tests hold ours against (reference/pmd_net_torch.py).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pmd_jax.config import Config
from pmd_jax.config.methods import METHODS, Method
from pmd_jax.data import hand
from pmd_jax.data.inputs import DEPTH_WINDOW_M, Batch
from reference.pmd_net_torch import TorchPMDNet, stage_two_loss


def network(config: Config, row: Method, device: str = "cpu") -> TorchPMDNet:
    """A row's network in PyTorch's fastest layout."""
    model = TorchPMDNet(
        1 if row.modality == "depth" else 3,
        width=config.model.width,
        blocks=config.model.blocks,
        reading=config.model.reading,
        heads=row.heads,
        refine=row.refine,
    )
    return model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def training(
    config: Config, row: str, batch: Batch, *, compiled: bool = False, device: str = "cpu"
) -> Callable[[], None]:
    """A stage II step (flips, teacher forward, losses, gradients, Adam with L2) on a batch that stays on the device.

    bfloat16 where `config.compute_dtype` says so, by PyTorch's autocast.
    """
    student, teacher = network(config, METHODS[row], device), network(config, METHODS["depth_teacher"], device).eval()
    adam = torch.optim.Adam(
        student.parameters(), config.optim.learning_rate, weight_decay=config.optim.weight_decay, fused=True
    )
    tensors = _tensors(batch, device)
    loss_of = _stage_two(config, student, teacher, METHODS[row].refine)
    if compiled:
        loss_of = torch.compile(loss_of)

    def step() -> None:
        adam.zero_grad(set_to_none=True)
        flips = torch.rand(2, len(batch.rgb), device=device) < 0.5
        loss = loss_of(*tensors, *flips)
        loss.backward()
        adam.step()
        loss.item()

    return step


def _tensors(batch: Batch, device: str) -> tuple[Tensor, ...]:
    """Crops as (b, c, h, w) in channels-last memory, and joints in metres."""
    rgb = torch.from_numpy(np.ascontiguousarray(batch.rgb)).permute(0, 3, 1, 2)
    depth = torch.from_numpy(batch.depth.astype(np.int32))[:, None]
    return tuple(x.to(device) for x in (rgb, depth, torch.from_numpy(batch.xyz)))


def _stage_two(config: Config, student: TorchPMDNet, teacher: TorchPMDNet, refine: bool) -> Callable[..., Tensor]:
    half_precision = config.compute_dtype == "bfloat16"

    def loss_of(rgb: Tensor, depth: Tensor, xyz: Tensor, flip_u: Tensor, flip_v: Tensor) -> Tensor:
        root, scale = xyz[:, hand.ROOT], torch.linalg.vector_norm(xyz[:, hand.WRIST] - xyz[:, hand.ROOT], dim=1)
        target = (xyz - root[:, None]) / scale[:, None, None]
        target = target * torch.stack([1 - 2.0 * flip_u, 1 - 2.0 * flip_v, torch.ones_like(flip_u) * 1.0], 1)[:, None]
        relative = ((depth * hand.DEPTH_UNIT_M - root[:, 2, None, None, None]) / DEPTH_WINDOW_M).clamp(-1, 1)
        relative = _mirror(torch.where(depth == 0, 1.0, relative), flip_u, flip_v)
        pictures = _mirror(rgb / 127.5 - 1, flip_u, flip_v)
        with torch.autocast(rgb.device.type, torch.bfloat16, enabled=half_precision):
            with torch.no_grad():
                taught = teacher(relative)
            answer = student(pictures)
        return stage_two_loss(
            answer,
            taught,
            target,
            weights=(config.loss.lambda_feature, *config.loss.lambda_hidden),
            alpha=config.loss.alpha,
            beta=config.loss.beta if refine else None,
        )

    return loss_of


def _mirror(images: Tensor, flip_u: Tensor, flip_v: Tensor) -> Tensor:
    images = torch.where(flip_u[:, None, None, None], images.flip(3), images)
    return torch.where(flip_v[:, None, None, None], images.flip(2), images)


def inference(config: Config, row: str, crops: np.ndarray) -> Callable[[], np.ndarray]:
    """uint8 crops in memory to joints in memory, by the running statistics."""
    model = network(config, METHODS[row]).eval()

    @torch.inference_mode()
    def predict() -> np.ndarray:
        pictures = torch.from_numpy(crops).permute(0, 3, 1, 2) / 127.5 - 1
        return model(pictures).pose.numpy()

    return predict
