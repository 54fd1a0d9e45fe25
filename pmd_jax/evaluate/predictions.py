"""What a network says of every sample of a split, in the split's order: the one way in which splits are evaluated."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int32

from pmd_jax.data import hand
from pmd_jax.data.dataset import Columns
from pmd_jax.data.inputs import Batch, images_of, to_inputs
from pmd_jax.data.loader import evaluation_batches
from pmd_jax.data.ray_frame import from_ray
from pmd_jax.models.network import Network, Weights
from pmd_jax.runtime import sharding
from pmd_jax.runtime.distributed import compile_together


def pose_step(network: Network, modality: str, weights: Weights, batch: Batch) -> Float[Array, "b 21 3"]:
    """Joints as the network says them: root-relative, in hand scales, the camera's axes. No label is looked at."""
    pose = network.evaluate(weights, images_of(to_inputs(batch), modality)).pose
    return from_ray(pose, batch.K, batch.rgb.shape[1]) if network.frame == "ray" else pose


def predict_step(network: Network, modality: str, weights: Weights, batch: Batch) -> Float[Array, "b 21 3"]:
    """Joints in metres in the camera frame, with the true root and scale (the paper's protocol, section 4.2)."""
    pose = pose_step(network, modality, weights, batch)
    return hand.denormalise(hand.normalise(batch.xyz)._replace(pose=pose)).astype(jnp.float32)


Step = Callable[[Any, Batch], tuple[Int32[jax.Array, " b"], Any]]


def compile_outputs(function: Callable[[Any, Batch], Any], mesh: Mesh) -> Step:
    """`function` of (arguments, batch) jitted for the mesh; the samples' indices come back with what it says.

    Args:
        function: returns a tree of arrays whose first axis is the batch's.
    """
    whole, parts = sharding.replicated(mesh), sharding.split(mesh)

    def step(arguments: Any, batch: Batch):
        return batch.index, function(arguments, batch)

    # Gathered inside the program, so that every process has all of it, in the batch's order whatever the devices'.
    return compile_together(jax.jit(step, in_shardings=(whole, parts), out_shardings=whole), "an evaluation")


def outputs_of(
    step: Step, arguments: Sequence[Any], columns: Columns, batch: int, mesh: Mesh
) -> Iterator[tuple[Any, ...]]:
    """What a compiled step says of a whole split, batch by batch, on every process.

    Args:
        step: of `compile_outputs`.
        arguments: each is handed to it with each batch.
        batch: samples at once, over all devices.

    Yields:
        A tree of NumPy arrays for each of `arguments`.

    Raises:
        RuntimeError: samples came back in another order than they were sent; a fault of ours, never to be passed over.
    """
    sharding.check_batch(batch, mesh, "eval_batch")
    for number, part in enumerate(evaluation_batches(columns, batch, mesh)):
        start, count = number * batch, min(batch, len(columns) - number * batch)
        said = jax.device_get([step(each, part) for each in arguments])
        for index, _ in said:
            if not np.array_equal(index[:count], np.arange(start, start + count)) or (index[count:] != -1).any():
                raise RuntimeError(f"Samples {start} to {start + count - 1} came back in another order: {index}.")
        yield tuple(jax.tree.map(lambda array, count=count: array[:count], tree) for _, tree in said)


def predict(
    network: Network, modality: str, weights: Weights, columns: Columns, batch: int, mesh: Mesh
) -> Float[np.ndarray, "n 21 3"]:
    """The predicted joints of a whole split, metres, in the split's order, on every process.

    Args:
        modality: what the network sees: "depth" or "rgb".
        weights: on the mesh.
        batch: samples at once, over all devices.
    """
    said = outputs_of(_compiled(predict_step, network, modality, mesh), [weights], columns, batch, mesh)
    return np.concatenate([poses for (poses,) in said])


def predict_poses(
    network: Network, modality: str, weights: Weights, columns: Columns, batch: int, mesh: Mesh
) -> Float[np.ndarray, "n 21 3"]:
    """As `predict`, of samples that need not have labels: root-relative joints in hand scales."""
    said = outputs_of(_compiled(pose_step, network, modality, mesh), [weights], columns, batch, mesh)
    return np.concatenate([poses for (poses,) in said])


@functools.lru_cache(maxsize=8)
def _compiled(step: Callable, network: Network, modality: str, mesh: Mesh) -> Step:
    """Compiled once a run for each structure: JAX's cache on disk is written by process 0 and read by it alone."""
    return compile_outputs(functools.partial(step, network, modality), mesh)
