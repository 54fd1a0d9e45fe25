"""The feature extractor: a ResNet of basic blocks at 64×64 (He et al. 2016; paper, section 3.1)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from pmd_jax.config.backbones import BACKBONES
from pmd_jax.models import dtypes
from pmd_jax.models.winograd import conv_general_dilated


def host_generator(key: jax.Array) -> np.random.Generator:
    """NumPy's generator for a JAX key: initial weights are drawn on the host.

    They are then the same on every device, and nothing is compiled for numbers that are drawn once (XLA took 20 s on
    two cores to compile the draws of the smallest network). It reads the key, so a network cannot be built under
    `jax.jit` or `nnx.eval_shape`.
    """
    return np.random.Generator(np.random.Philox([int(word) for word in jax.random.key_data(key).ravel()]))


def he_normal(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
    """He et al.'s initialisation by fan out, for (height, width, in, out) kernels."""
    fan_out = shape[0] * shape[1] * shape[3]
    return jnp.asarray(host_generator(key).normal(0, np.sqrt(2 / fan_out), shape).astype(dtype))


def conv(channels_in: int, channels_out: int, kernel: int, stride: int, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Conv:
    """A convolution without bias, padded alike on all sides (XLA's SAME would shift strided ones by half a pixel)."""
    pad = kernel // 2
    return nnx.Conv(
        channels_in,
        channels_out,
        (kernel, kernel),
        strides=stride,
        padding=((pad, pad), (pad, pad)),
        use_bias=False,
        kernel_init=he_normal,
        dtype=dtype,
        promote_dtype=dtypes.keep_parameters,
        conv_general_dilated=conv_general_dilated,
        rngs=rngs,
    )


def batch_norm(channels: int, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """Statistics over the global batch, always in float32 (docs/paper.md, "batch norm").

    So is the normalisation, in training and in evaluation; what it returns is of `dtype`.
    """
    return nnx.BatchNorm(
        channels, momentum=0.9, epsilon=1e-5, dtype=dtype, promote_dtype=dtypes.at_least_float32, rngs=rngs
    )


class Folded(nnx.Module):
    """Stands in a norm's place once it is folded into its convolution (fold.py): what is left is the norm's dtype."""

    def __init__(self, dtype: jnp.dtype):
        self.dtype = dtype

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return x.astype(self.dtype)


Norm = nnx.BatchNorm | Folded


class Projection(nnx.Module):
    """The shortcut where a block changes the shape: a 1×1 convolution and its norm."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.conv = conv(channels_in, channels_out, 1, stride, dtype, rngs)
        self.norm: Norm = batch_norm(channels_out, dtype, rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        return self.norm(self.conv(x))


class BasicBlock(nnx.Module):
    """Two 3×3 convolutions and a shortcut, projected where the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.conv1 = conv(channels_in, channels_out, 3, stride, dtype, rngs)
        self.norm1 = batch_norm(channels_out, dtype, rngs)
        self.conv2 = conv(channels_out, channels_out, 3, 1, dtype, rngs)
        self.norm2 = batch_norm(channels_out, dtype, rngs)
        same_shape = stride == 1 and channels_in == channels_out
        self.projection = None if same_shape else Projection(channels_in, channels_out, stride, dtype, rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        shortcut = x if self.projection is None else self.projection(x)
        x = nnx.relu(self.norm1(self.conv1(x)))
        return nnx.relu(self.norm2(self.conv2(x)) + shortcut)


class ResNet(nnx.Module):
    """Images to the last feature map.

    Args:
        channels: of the input: 3 for RGB, 1 for depth.
        width: channels of the first stage; the last one has 8 · width (64 → 512, ResNet-34).
        blocks: basic blocks in each of the four stages ((3, 4, 6, 3) is ResNet-34).
        reading: a name in `BACKBONES`.
        dtype: of the computation; parameters and statistics stay float32.
    """

    def __init__(
        self, channels: int, *, width: int, blocks: tuple[int, ...], reading: str, dtype: jnp.dtype, rngs: nnx.Rngs
    ):
        kernel, stem_stride, strides = BACKBONES[reading]
        self.stem = conv(channels, width, kernel, stem_stride, dtype, rngs)
        self.norm: Norm = batch_norm(width, dtype, rngs)
        layers, channels_in = [], width
        for stage, (count, stride) in enumerate(zip(blocks, strides, strict=True)):
            channels_out = width * 2**stage
            for index in range(count):
                layers.append(BasicBlock(channels_in, channels_out, stride if index == 0 else 1, dtype, rngs))
                channels_in = channels_out
        self.blocks = nnx.List(layers)

    def __call__(self, images: Float[Array, "b 64 64 c"]) -> Float[Array, "b h w f"]:
        """Normalised images (B,64,64,channels) to the last map (B,8,8,8·width), in the dtype of the computation."""
        x = nnx.relu(self.norm(self.stem(images)))
        for block in self.blocks:
            x = block(x)
        return x


def average(x: Float[Array, "b h w f"]) -> Float[Array, "b f"]:
    """The average pool: a feature map to one feature vector, at least float32."""
    wide = jnp.promote_types(x.dtype, jnp.float32)
    if x.dtype != wide:
        # On CPUs XLA (JAX 0.12.0.1) makes infinities of this sum where it fuses it with the last block's ReLU.
        x = jax.lax.optimization_barrier(x)
    return jnp.mean(x, axis=(1, 2), dtype=wide)


def parameter_count(tree) -> int:
    """How many numbers a parameter tree holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
