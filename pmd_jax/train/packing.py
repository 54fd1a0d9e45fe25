"""Many arrays as few: each array that a step takes or gives costs the host its microseconds, once for each device.

A batch of nine arrays goes to the devices as one of bytes. On accelerators a state of hundreds lies there as a few
vectors while the loop runs; on disk and everywhere else it is what it was. On the CPU it stays as it is: there the step
is long against what the host spends, and the other program would round otherwise.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int32, UInt8

from pmd_jax.data.inputs import Batch
from pmd_jax.models.network import Network, Tree, Weights
from pmd_jax.models.pmd_net import Prediction
from pmd_jax.train.state import AveragedState, TrainState


class PackedBatch(NamedTuple):
    """A batch as bytes, a row a sample, and beside it what the host itself wants of it."""

    rows: UInt8[np.ndarray, "b bytes"]
    index: Int32[np.ndarray, " b"]


class BatchLayout(NamedTuple):
    """What the bytes of a packed sample mean: dtype and shape of each field of `Batch`, in order."""

    fields: tuple[tuple[np.dtype, tuple[int, ...]], ...]

    @classmethod
    def of(cls, batch: Batch) -> BatchLayout:
        return cls(tuple((column.dtype, column.shape[1:]) for column in batch))

    def pack(self, batch: Batch) -> PackedBatch:
        """On the host."""
        return PackedBatch(np.concatenate([_as_bytes(column) for column in batch], axis=1), batch.index)

    def unpack(self, rows: UInt8[Array, "b bytes"]) -> Batch:
        """In the step; the same bits."""
        columns, start = [], 0
        for dtype, shape in self.fields:
            end = start + dtype.itemsize * math.prod(shape)
            columns.append(_from_bytes(rows[:, start:end], dtype, shape))
            start = end
        return Batch(*columns)


def _as_bytes(column: np.ndarray) -> UInt8[np.ndarray, "b bytes"]:
    return np.ascontiguousarray(column).reshape(len(column), -1).view(np.uint8)


def _from_bytes(rows: UInt8[Array, "b bytes"], dtype: np.dtype, shape: tuple[int, ...]) -> Array:
    if dtype == np.bool_:
        return (rows != 0).reshape(-1, *shape)
    if dtype.itemsize > 1:
        rows = rows.reshape(len(rows), -1, dtype.itemsize)
    return jax.lax.bitcast_convert_type(rows, dtype).reshape(len(rows), *shape)


class TreeLayout:
    """A tree of arrays of one dtype as one vector.

    Args:
        tree: of arrays, or of what has their shapes.
    """

    def __init__(self, tree: Tree):
        leaves, self._structure = jax.tree.flatten(tree)
        self._shapes = [leaf.shape for leaf in leaves]

    def pack(self, tree: Tree) -> Float[Array, " n"]:
        return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])

    def unpack(self, vector: Float[Array, " n"]) -> Tree:
        """Its gradient is `pack` of the tree's, not a sum of vectors that are zero but for a part."""
        parts = jax.lax.split(vector, [math.prod(shape) for shape in self._shapes])
        shaped = [part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)]
        return jax.tree.unflatten(self._structure, shaped)


class PackedNetwork(NamedTuple):
    """A network whose weights are vectors."""

    network: Network
    params: TreeLayout
    batch_stats: TreeLayout

    @property
    def frame(self) -> str:
        """As of `Network`."""
        return self.network.frame

    @classmethod
    def of(cls, network: Network, weights: Weights) -> PackedNetwork:
        return cls(network, TreeLayout(weights.params), TreeLayout(weights.batch_stats))

    def pack(self, weights: Weights) -> Weights:
        return Weights(self.params.pack(weights.params), self.batch_stats.pack(weights.batch_stats))

    def unpack(self, weights: Weights) -> Weights:
        return Weights(self.params.unpack(weights.params), self.batch_stats.unpack(weights.batch_stats))

    def train(self, weights: Weights, images: Float[Array, "b 64 64 c"]) -> tuple[Prediction, Float[Array, " n"]]:
        """As `Network.train`."""
        prediction, batch_stats = self.network.train(self.unpack(weights), images)
        return prediction, self.batch_stats.pack(batch_stats)

    def evaluate(self, weights: Weights, images: Float[Array, "b 64 64 c"]) -> Prediction:
        """As `Network.evaluate`."""
        return self.network.evaluate(self.unpack(weights), images)


class StateLayout:
    """A training state whose parameters, statistics, moments and averages are a vector each.

    For optimisers that treat each number alike, as Adam does: what they do to the vector they do to its parts.

    Args:
        state: of arrays, or of what has their shapes.
    """

    def __init__(self, network: Network, state: TrainState, optimizer: optax.GradientTransformation):
        self.network = PackedNetwork.of(network, state.weights)
        params = jax.eval_shape(self.network.params.pack, state.params)
        self._moments = jax.eval_shape(optimizer.init, params)  # each of its leaves holds a part of the other's tree
        self._opt_state = jax.tree.map(lambda _, part: TreeLayout(part), self._moments, state.opt_state)

    @functools.partial(jax.jit, static_argnums=0)
    def pack(self, state: TrainState) -> TrainState:
        params, batch_stats = self.network.pack(state.weights)
        parts = jax.tree.map(self._pack, self._moments, self._opt_state, state.opt_state)
        packed = dataclasses.replace(state, params=params, batch_stats=batch_stats, opt_state=parts)
        if isinstance(packed, AveragedState):
            packed = dataclasses.replace(packed, average=self.network.pack(packed.average))
        return packed

    @functools.partial(jax.jit, static_argnums=0)
    def unpack(self, packed: TrainState) -> TrainState:
        params, batch_stats = self.network.unpack(packed.weights)
        parts = jax.tree.map(self._unpack, packed.opt_state, self._opt_state)
        state = dataclasses.replace(packed, params=params, batch_stats=batch_stats, opt_state=parts)
        if isinstance(state, AveragedState):
            state = dataclasses.replace(state, average=self.network.unpack(state.average))
        return state

    @staticmethod
    def _pack(like: Any, layout: TreeLayout, part: Tree) -> Array:
        return layout.pack(part).reshape(like.shape)

    @staticmethod
    def _unpack(packed: Array, layout: TreeLayout) -> Tree:
        return layout.unpack(packed.ravel())
