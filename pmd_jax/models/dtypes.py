"""Where the backbone rounds: parameters and norms are float32, what flows between the layers is of the compute dtype.

The functions here are what Flax's layers call to bring a layer's arrays to one dtype; it would cast all of them. In
float32 nothing is cast either way.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.lax import Precision

Arrays = tuple[jax.Array | None, ...]  # a layer's input first, then its parameters and statistics


def at_least_float32(arrays: Arrays, *, dtype: jnp.dtype) -> Arrays:
    """All arrays in float32, or in the compute dtype where that is longer: a norm computes so and then casts."""
    return _cast(arrays, jnp.promote_types(dtype, jnp.float32))


def keep_parameters(arrays: Arrays, *, dtype: jnp.dtype) -> Arrays:
    """The input in the compute dtype, kernel and bias as they are: `conv.plain` casts a kernel where it is used.

    A kernel that is cast there has a gradient that is cast back there, before the devices' parts of it are summed.
    """
    x, *parameters = arrays
    return *_cast((x,), dtype), *parameters


def _cast(arrays: Arrays, dtype: jnp.dtype) -> Arrays:
    return tuple(None if array is None else jnp.asarray(array, dtype) for array in arrays)


def precision_of(dtype: jnp.dtype) -> Precision | None:
    """How exactly a convolution multiplies numbers of this dtype.

    By default TPUs round float32 factors to bfloat16 and newer GPUs to TF32 (10 bits). Here float32 means float32,
    unless JAX was told another precision (JAX_DEFAULT_MATMUL_PRECISION=tensorfloat32), which then holds. bfloat16
    factors are exact as they are, and their products are summed in float32.
    """
    is_chosen = jax.config.jax_default_matmul_precision is not None
    return None if is_chosen or dtype == jnp.bfloat16 else Precision.HIGHEST
