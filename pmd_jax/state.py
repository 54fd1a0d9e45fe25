"""What training carries from step to step, and the frozen teacher, which it does not."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, struct
from jaxtyping import Array, Float, Int32

from pmd_jax.config import Config
from pmd_jax.models.pmd_net import PMDNet, Prediction
from pmd_jax.rows import Row

Tree = Any  # nested dicts of arrays


class Weights(NamedTuple):
    """A network's numbers as plain nested dicts: what is learnt, and batch norm's running statistics."""

    params: Tree
    batch_stats: Tree


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


class Network(NamedTuple):
    """A network without its numbers: how to run it in training and in evaluation mode. Hashable."""

    training: nnx.GraphDef
    evaluation: nnx.GraphDef

    def train(self, weights: Weights, images: Float[Array, "b 64 64 c"]) -> tuple[Prediction, Tree]:
        """Batch norm by the batch's statistics; returns the prediction and the new running statistics."""
        model = nnx.merge(self.training, *weights, copy=True)
        prediction = model(images)
        return prediction, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    def evaluate(self, weights: Weights, images: Float[Array, "b 64 64 c"]) -> Prediction:
        """Batch norm by the running statistics."""
        return nnx.merge(self.evaluation, *weights, copy=True)(images)


def compute_dtype(name: str) -> jnp.dtype:
    """The backbone's dtype: bfloat16 pays on accelerators, on CPUs it is emulated."""
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(name)


def initial_key(config: Config, row: Row, seed: int) -> jax.Array:
    """What a row's initial weights are drawn from.

    Rows of one seed start from the same numbers wherever their shapes agree, so that a baseline and its student differ
    by the teacher alone. A teacher need not: starting where its student does makes its layers easier to imitate. With
    `config.teacher.start` at "apart" it is drawn from a key of its own.
    """
    key = jax.random.key(seed)
    is_apart = row.modality == "depth" and config.teacher.start == "apart"
    return jax.random.fold_in(key, 1) if is_apart else key


def build(config: Config, row: Row, seed: int) -> tuple[Network, Weights]:
    """A row's network and its initial weights, which depend on the seed, the architecture and `initial_key` only."""

    model = PMDNet(
        1 if row.modality == "depth" else 3,
        width=config.model.width,
        blocks=tuple(config.model.blocks),
        reading=config.model.reading,
        heads=row.heads,
        refine=row.refine,
        hidden_before_relu=config.model.hidden_before_relu,
        dtype=compute_dtype(config.compute_dtype),
        rngs=nnx.Rngs(initial_key(config, row, seed)),
    )
    model.train()
    training, params, batch_stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    model.eval()
    evaluation = nnx.graphdef(model)
    return Network(training, evaluation), Weights(nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats))


def create_state(weights: Weights, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(jnp.zeros((), jnp.int32), weights.params, weights.batch_stats, optimizer.init(weights.params))


def digests(state: TrainState) -> dict[str, str]:
    """A hash of each array by its path, to compare what several processes begin with."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {
        jax.tree_util.keystr(path): hashlib.blake2b(np.asarray(leaf).tobytes(), digest_size=8).hexdigest()
        for path, leaf in leaves
    }
