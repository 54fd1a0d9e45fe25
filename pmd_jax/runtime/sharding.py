"""Where arrays live: batches split over the devices, everything else on each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int64

from pmd_jax.runtime.errors import ConfigError

DATA = "data"


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """All devices of all processes on one axis called "data", in the order of `jax.devices()`.

    Not `jax.make_mesh`: it refuses devices of several slices, and every host is a slice where XLA knows no better; it
    also reorders the devices of TPU slices. Nothing here depends on the order (`local_rows`).
    """
    devices = jax.devices() if devices is None else devices
    return Mesh(np.asarray(devices), (DATA,), axis_types=(AxisType.Auto,))


def split(mesh: Mesh) -> NamedSharding:
    """The first axis over the devices."""
    return NamedSharding(mesh, PartitionSpec(DATA))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(mesh: Mesh, tree: Any) -> Any:
    """A whole copy on each device of what every process has; whether all have the same is not looked at.

    `jax.device_put` looks, by a collective of several processes for each array, which for the hundreds of arrays of a
    network takes seconds: see `distributed.require_same`.
    """
    if jax.process_count() == 1:
        return jax.device_put(tree, replicated(mesh))
    whole = replicated(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(whole, np.asarray(x)), tree)


def local_rows(mesh: Mesh, batch: int) -> Int64[np.ndarray, " local"]:
    """Which rows of a global batch lie on this process's devices, in rising order; they need not be neighbours.

    It is what this process must bring, whatever the order of the devices in the mesh.
    """
    mine = split(mesh).addressable_devices_indices_map((batch,)).values()
    return np.sort(np.concatenate([np.arange(batch)[index] for index in mine if index is not None]))


def global_array(mesh: Mesh, local: Any) -> Any:
    """A global batch, split over the mesh, of the rows that each process has of it.

    Args:
        local: a tree of NumPy arrays whose first axis is `local_rows` of the batch.
    """
    sharding = split(mesh)
    if jax.process_count() == 1:
        return jax.device_put(local, sharding)
    return jax.tree.map(lambda x: _from_rows(sharding, np.asarray(x)), local)


def _from_rows(sharding: NamedSharding, local: np.ndarray) -> jax.Array:
    rows = len(local) // len(sharding.addressable_devices) * sharding.mesh.size
    shape = (rows, *local.shape[1:])
    places_of = sharding.addressable_devices_indices_map(shape).items()
    starts = {device: index[0].start or 0 for device, index in places_of if index is not None}
    each = rows // sharding.mesh.size
    places = {start: number * each for number, start in enumerate(sorted(starts.values()))}
    parts = [jax.device_put(local[places[start] : places[start] + each], device) for device, start in starts.items()]
    return jax.make_array_from_single_device_arrays(shape, sharding, parts)


def check_batch(batch: int, mesh: Mesh, name: str) -> None:
    """Makes sure that a global batch can be split evenly.

    Raises:
        ConfigError: it cannot; names the nearest batches that can.
    """
    devices = mesh.devices.size
    if batch % devices:
        lower = batch // devices * devices
        raise ConfigError(
            f"config.{name} = {batch}: not divisible by the {devices} devices; "
            f"choose {lower or devices} or {lower + devices}."
        )
