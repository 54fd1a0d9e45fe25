"""What training carries from step to step, and the frozen teacher, which it does not."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Int32

from pmd_jax.models.network import Tree, Weights


@struct.dataclass
class TrainState:
    """Everything a training run must save to go on with the same bits."""

    step: Int32[Array, ""]
    params: Tree
    batch_stats: Tree
    opt_state: optax.OptState

    @property
    def weights(self) -> Weights:
        """What the next step begins with."""
        return Weights(self.params, self.batch_stats)

    @property
    def best_weights(self) -> Weights:
        """What is evaluated and exported."""
        return self.weights


@struct.dataclass
class AveragedState(TrainState):
    """A state that carries an exponential moving average of its weights and statistics along (`config.optim.ema`).

    A state of its own kind: without an average, states and their checkpoints are what they were before there was one.
    """

    average: Weights

    @property
    def best_weights(self) -> Weights:
        return self.average

    def averaged(self, decay: float) -> AveragedState:
        """After a step: the average moved towards the new weights.

        It begins with a shorter memory, a tenth of the steps so far, to forget the initial weights soon.
        """
        done = self.step.astype(jnp.float32)
        share = 1 - jnp.minimum(decay, done / (done + 9))
        moved = jax.tree.map(lambda mean, new: mean + share * (new - mean), self.average, self.weights)
        return replace(self, average=moved)


def digests(state: TrainState) -> dict[str, str]:
    """A hash of each array by its path, to compare what several processes begin with."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {
        jax.tree_util.keystr(path): hashlib.blake2b(np.asarray(leaf).tobytes(), digest_size=8).hexdigest()
        for path, leaf in leaves
    }


def create_state(weights: Weights, optimizer: optax.GradientTransformation, ema: float = 0.0) -> TrainState:
    """The state before the first step, with an average of the weights where `ema`, its decay, is not zero."""
    start = jnp.zeros((), jnp.int32), weights.params, weights.batch_stats, optimizer.init(weights.params)
    if ema == 0:
        return TrainState(*start)
    return AveragedState(*start, average=jax.tree.map(jnp.array, weights))  # a copy: the step may be given the others
