"""Where the backbone rounds: parameters and norms are float32, what flows between the layers is of the compute dtype.

The functions here are what Flax's layers call to bring a layer's arrays to one dtype; it would cast all of them. In
float32 nothing is cast either way.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
from jax.lax import Precision

Arrays = TypeVar("Arrays", bound=tuple)  # a layer's input first, then its parameters and statistics or None


def at_least_float32(arrays: Arrays, /, *, dtype: Any = None, inexact: bool = True) -> Arrays:  # as Flax calls it
    """All arrays in float32, or in the compute dtype where that is longer: a norm computes so and then casts."""
    wide = jnp.promote_types(dtype, jnp.float32)
    return cast(Arrays, tuple(None if array is None else jnp.asarray(array, wide) for array in arrays))


def keep_parameters(arrays: Arrays, /, *, dtype: Any = None, inexact: bool = True) -> Arrays:
    """The input in the compute dtype, kernel and bias as they are: `winograd.plain` casts a kernel where it is used.

    A kernel that is cast there has a gradient that is cast back there, before the devices' parts of it are summed.
    """
    return cast(Arrays, (jnp.asarray(arrays[0], dtype), *arrays[1:]))


def precision_of(dtype: jnp.dtype) -> Precision | None:
    """How exactly a convolution multiplies numbers of this dtype.

    By default TPUs round float32 factors to bfloat16 and newer GPUs to TF32 (10 bits). Here float32 means float32,
    unless JAX was told another precision (JAX_DEFAULT_MATMUL_PRECISION=tensorfloat32), which then holds. bfloat16
    factors are exact as they are, and their products are summed in float32.
    """
    chosen = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    return None if chosen is not None or dtype == jnp.bfloat16 else Precision.HIGHEST
