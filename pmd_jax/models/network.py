"""A network apart from its weights: built from a configuration, run in training or evaluation mode."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from pmd_jax.config import Config
from pmd_jax.config.methods import Method
from pmd_jax.models.pmd_net import PMDNet, Prediction

Tree = Any  # nested dicts of arrays


class Weights(NamedTuple):
    """A network's numbers as plain nested dicts: what is learnt, and batch norm's running statistics."""

    params: Tree
    batch_stats: Tree


class Network(NamedTuple):
    """A network without its numbers: how to run it in training and in evaluation mode. Hashable.

    Attributes:
        frame: of its poses, one of `config.schema.TARGET_FRAMES`.
    """

    training: nnx.GraphDef
    evaluation: nnx.GraphDef
    frame: str = "camera"

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


def initial_key(config: Config, method: Method, seed: int) -> jax.Array:
    """What a method's initial weights are drawn from.

    Methods of one seed start from the same numbers wherever their shapes agree, so that a baseline and its student
    differ by the teacher alone. A teacher need not: starting where its student does makes its layers easier to imitate.
    With `config.teacher.start` at "apart" it is drawn from a key of its own.
    """
    key = jax.random.key(seed)
    is_apart = method.modality == "depth" and config.teacher.start == "apart"
    return jax.random.fold_in(key, 1) if is_apart else key


def build(config: Config, method: Method, seed: int) -> tuple[Network, Weights]:
    """A method's network and its initial weights, which depend on the seed, the architecture and `initial_key` only."""

    model = PMDNet(
        1 if method.modality == "depth" else 3,
        width=config.model.width,
        blocks=tuple(config.model.blocks),
        reading=config.model.reading,
        heads=method.heads,
        pool=method.pool,
        refine=method.refine,
        hidden_before_relu=config.model.hidden_before_relu,
        dtype=compute_dtype(config.compute_dtype),
        rngs=nnx.Rngs(initial_key(config, method, seed)),
    )
    model.train()
    training, params, batch_stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    model.eval()
    evaluation = nnx.graphdef(model)
    network = Network(training, evaluation, config.model.target_frame)
    return network, Weights(nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats))
