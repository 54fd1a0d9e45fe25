"""What training carries from step to step, and the frozen teacher, which it does not."""

from __future__ import annotations

import hashlib

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
        return Weights(self.params, self.batch_stats)


def digests(state: TrainState) -> dict[str, str]:
    """A hash of each array by its path, to compare what several processes begin with."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {
        jax.tree_util.keystr(path): hashlib.blake2b(np.asarray(leaf).tobytes(), digest_size=8).hexdigest()
        for path, leaf in leaves
    }


def create_state(weights: Weights, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(jnp.zeros((), jnp.int32), weights.params, weights.batch_stats, optimizer.init(weights.params))
