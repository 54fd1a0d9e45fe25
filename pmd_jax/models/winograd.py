"""Convolutions on CPUs by Winograd's minimal filtering, where that is faster than XLA's own.

Four neighbouring outputs of a filter of three taps need six products instead of twelve (Lavin and Gray 2016, "Fast
Algorithms for Convolutional Neural Networks", F(4, 3)): with the matrices below, y = Aᵀ [(G w) ⊙ (Bᵀ x)] for six inputs
x. Along rows only, this halves the products of a 3×3 convolution; along rows and columns it quarters them. What it adds
are sums that XLA computes at the speed of memory, so it pays for some shapes only: docs/cpu_speed.md has the figures.
The answers differ from the plain convolution's by about 10⁻⁵ of the largest (tests/models/test_conv.py).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from pmd_jax.models.dtypes import precision_of
from pmd_jax.runtime.sharding import DATA

TILE = 4  # outputs; TILE + 2 inputs
B_T = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float32) / 24
A_T = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32)
DIMENSIONS = ("NHWC", "HWIO", "NHWC")
SAME = ((1, 1), (1, 1))

# Measured on two cores (docs/cpu_speed.md).
FEWEST_CHANNELS = 64  # below, the products are too small to be worth the sums
LEAST_SIDE_BY_CHANNELS = 2048  # side · channels; smaller layers gain little, and compiling them takes longer than XLA's
MOST_CHANNELS = 256  # with more, products of few tiles each are slower than XLA's convolution


def conv_general_dilated(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k k c d"],
    strides: tuple[int, int],
    padding: Any,
    **options: Any,
) -> Float[Array, "b h2 w2 d"]:
    """`lax.conv_general_dilated` as `nnx.Conv` calls it, by the fastest way that was found for the shape on CPUs.

    Chosen when it is traced, by JAX's default backend: a program that is traced for another must use `plain` (`fold`
    sees to that for exports).
    """
    on_cpu = jax.default_backend() == "cpu" and x.dtype == kernel.dtype == jnp.float32
    if on_cpu and is_large(x.shape, kernel.shape):
        if kernel.shape[:2] == (1, 1) and tuple(strides) == (2, 2):
            return x[:, ::2, ::2] @ kernel[0, 0]  # XLA takes seven times as long for the kernel's gradient
        if tuple(strides) == (1, 1) and _is_same(padding) and fits(x.shape, kernel.shape):
            return conv3x3(x, kernel)
    return device_by_device(functools.partial(plain, strides=strides, padding=padding, **options), x, kernel)


def plain(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k k c d"],
    strides: tuple[int, int],
    padding: Any,
    *,
    precision: Any = None,
    **options: Any,
) -> Float[Array, "b h2 w2 d"]:
    """XLA's own convolution, the kernel cast to the input's dtype, as exact as `dtypes.precision_of` says."""
    precision = precision_of(x.dtype) if precision is None else precision
    return lax.conv_general_dilated(x, kernel.astype(x.dtype), strides, padding, precision=precision, **options)


def device_by_device(
    convolve: Callable[[jax.Array, jax.Array], jax.Array], x: Float[Array, "b h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "b h2 w2 d"]:
    """A convolution by a kernel that is rounded, so that its gradient is summed over the devices before it is rounded.

    XLA's partitioner sums the devices' parts of a gradient where they arise, in the rounded dtype. Where a mesh is
    known (`compiled_step.CompiledStep`), each device therefore convolves its own images, and the kernel's gradient,
    cast back, is summed in the kernel's dtype.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if x.dtype == kernel.dtype or mesh.empty or DATA not in mesh.axis_names:
        return convolve(x, kernel)
    parts, whole = PartitionSpec(DATA), PartitionSpec()
    return jax.shard_map(convolve, mesh=mesh, in_specs=(parts, whole), out_specs=parts, check_vma=False)(x, kernel)


def _is_same(padding: Any) -> bool:
    return [tuple(pair) for pair in padding] == list(SAME)


def is_large(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...]) -> bool:
    """Whether a layer is one of those that are worth it; the demo network has none."""
    _, height, width, _ = x_shape
    fewest = min(kernel_shape[2:])
    return fewest >= FEWEST_CHANNELS and min(height, width) * fewest >= LEAST_SIDE_BY_CHANNELS


def fits(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...]) -> bool:
    """Whether Winograd's way is possible and worth it."""
    whole_tiles = x_shape[1] % TILE == x_shape[2] % TILE == 0
    few = max(kernel_shape[2:]) <= MOST_CHANNELS
    return kernel_shape[:2] == (3, 3) and whole_tiles and few and is_large(x_shape, kernel_shape)


# ---- a 3×3 convolution and its gradients


@jax.custom_vjp
def conv3x3(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "b h w d"]:
    """Stride 1, zeros around; h and w are multiples of 4."""
    return along_rows(x, transformed(kernel))


def _forward(x: jax.Array, kernel: jax.Array):
    return conv3x3(x, kernel), (x, kernel)


def _backward(saved: tuple[jax.Array, jax.Array], gradient: jax.Array):
    x, kernel = saved
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    return along_rows(gradient, transformed(turned)), kernel_gradient(x, gradient)


conv3x3.defvjp(_forward, _backward)


def transformed(kernel: Float[Array, "3 3 c d"]) -> Float[Array, "3 6 c d"]:
    """G w along each row of the kernel."""
    return jnp.einsum("jl,klcd->kjcd", G, kernel)


def along_rows(x: Float[Array, "b h w c"], kernel: Float[Array, "3 6 c d"]) -> Float[Array, "b h w d"]:
    """The convolution with a transformed kernel: F(4, 3) along rows, all else by XLA."""

    def product(part: jax.Array, place: int) -> jax.Array:
        taps = kernel[:, place, None]
        return lax.conv_general_dilated(part, taps, (1, 1), ((1, 1), (0, 0)), dimension_numbers=DIMENSIONS)

    batch, height, width, _ = x.shape
    x = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    inputs = _apart([_weighted(row, _every_fourth(x, axis=2)) for row in B_T])
    products = _apart([product(part, place) for place, part in enumerate(inputs)])
    return jnp.stack([_weighted(row, products) for row in A_T], axis=3).reshape(batch, height, width, -1)


def kernel_gradient(x: Float[Array, "b h w c"], gradient: Float[Array, "b h w d"]) -> Float[Array, "3 3 c d"]:
    """Σ over positions, F(4×4, 3×3) read backwards: w̄ = Gᵀ [(Bᵀ x B)ᵀ (A ȳ Aᵀ)] G, one product each of 6×6 places."""
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    inputs = _in_both_directions(B_T, _every_fourth(x, axis=1), lambda row: _every_fourth(row, axis=2))
    outputs = _in_both_directions(
        A_T.T,
        [gradient[:, k::TILE] for k in range(TILE)],
        lambda row: [row[:, :, k::TILE] for k in range(TILE)],
    )
    products = jnp.stack(
        [a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1]) for a, b in zip(inputs, outputs, strict=True)]
    ).reshape(TILE + 2, TILE + 2, x.shape[-1], gradient.shape[-1])
    return jnp.einsum("ik,ijcd,jl->klcd", G, products, G)


def _in_both_directions(matrix: np.ndarray, rows: list[jax.Array], columns: Any) -> list[jax.Array]:
    """`matrix` applied to the rows of each tile and then to its columns: one array for each of the 36 places."""
    by_row = _apart([_weighted(weights, rows) for weights in matrix])
    return _apart([_weighted(weights, columns(row)) for row in by_row for weights in matrix])


def _every_fourth(x: jax.Array, axis: int) -> list[jax.Array]:
    """The six inputs of all tiles along an axis that has one more position at either end."""
    last = x.shape[axis] - TILE - 1
    return [lax.slice_in_dim(x, k, k + last, TILE, axis) for k in range(TILE + 2)]


def _weighted(weights: np.ndarray, parts: list[jax.Array]) -> jax.Array:
    """Σ weight · part, without products by 0 and 1."""
    terms = [
        part if weight == 1 else float(weight) * part for weight, part in zip(weights, parts, strict=True) if weight
    ]
    return sum(terms[1:], start=terms[0])


_apart = lax.optimization_barrier  # else XLA computes these sums anew wherever they are read
