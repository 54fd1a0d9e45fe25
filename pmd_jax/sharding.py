"""Where arrays live: batches split over the devices, everything else on each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pmd_jax.config import ConfigError

DATA = "data"


def make_mesh(devices: Sequence[Any] | None = None, axis_type: AxisType = AxisType.Auto) -> Mesh:
    """All devices of all processes on one axis called "data"."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (DATA,), axis_types=(axis_type,), devices=devices)


def split(mesh: Mesh) -> NamedSharding:
    """The first axis over the devices."""
    return NamedSharding(mesh, PartitionSpec(DATA))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def global_array(mesh: Mesh, local: Any) -> Any:
    """Each process's slice of a batch (a tree of NumPy arrays) as global arrays, split over the mesh."""
    sharding = split(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), local)


def to_host(array: jax.Array) -> np.ndarray:
    """The whole of a global array on every process."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def local_batch(batch: int, mesh: Mesh, name: str) -> int:
    """How many samples of a global batch this process brings.

    Raises:
        ConfigError: the batch cannot be split evenly.
    """
    devices = mesh.devices.size
    if batch % devices:
        lower = batch // devices * devices
        raise ConfigError(
            f"config.{name} = {batch}: not divisible by the {devices} devices; "
            f"choose {lower or devices} or {lower + devices}."
        )
    return batch // jax.process_count()
