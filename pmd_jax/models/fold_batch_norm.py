"""Batch norm folded into the convolutions before it, for inference."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from pmd_jax.models.pmd_net import PMDNet
from pmd_jax.models.resnet import Folded, Norm
from pmd_jax.models.winograd import plain


def fold(model: PMDNet) -> PMDNet:
    """The same network in evaluation mode without batch norm: every convolution has a bias instead.

    γ · (conv(x, w) − μ) / √(σ² + ε) + β = conv(x, s · w) + (β − s · μ), with s = γ / √(σ² + ε).

    Args:
        model: in either mode; left as it is.

    Returns:
        A network that holds parameters only, in float32 as before; its answers differ by rounding.
    """
    model = nnx.clone(model)
    backbone = model.backbone
    backbone.stem, backbone.norm = _fold(backbone.stem, backbone.norm)
    for block in backbone.blocks:
        block.conv1, block.norm1 = _fold(block.conv1, block.norm1)
        block.conv2, block.norm2 = _fold(block.conv2, block.norm2)
        if block.projection is not None:
            block.projection.conv, block.projection.norm = _fold(block.projection.conv, block.projection.norm)
    return model


def _fold(conv: nnx.Conv, norm: Norm) -> tuple[nnx.Conv, Folded]:
    """`conv` with the norm's scale in its kernel and the norm's shift as its bias, and what takes the norm's place.

    The bias is added in float32 as the norm's shift was (`dtypes.keep_parameters`).
    """
    assert isinstance(norm, nnx.BatchNorm), "already folded"
    assert norm.scale is not None
    assert norm.bias is not None
    scale = norm.scale[...] * jax.lax.rsqrt(norm.var[...] + norm.epsilon)
    conv.kernel = nnx.Param(conv.kernel[...] * scale)  # in place it would write into a NumPy array of the caller's
    conv.bias = nnx.Param(norm.bias[...] - scale * norm.mean[...])
    conv.use_bias = True
    conv.conv_general_dilated = plain  # a program for any platform
    return conv, Folded(jnp.dtype(norm.dtype))
