"""The training step as the loop runs it: jitted for the mesh, few arrays in and out, and what the host wants to know in
one vector."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int32

from pmd_jax.data.inputs import Batch
from pmd_jax.models.network import Tree
from pmd_jax.runtime import sharding
from pmd_jax.runtime.distributed import compile_together
from pmd_jax.train.packing import BatchLayout, StateLayout
from pmd_jax.train.state import TrainState
from pmd_jax.train.step import Recipe, train_step
from pmd_jax.train.teacher_outputs import StepOutputs, TeacherOutputs


class Health(NamedTuple):
    """The first step whose loss or new state was not finite (0: none so far), and that loss."""

    bad_step: Int32[Array, ""]
    its_loss: Float[Array, ""]


class Carry(NamedTuple):
    """What a step takes from the one before: the packed state, and the health of all steps so far."""

    state: TrainState
    health: Health


def all_finite(tree: Tree) -> Bool[Array, ""]:
    """Whether no number of a tree is infinite or missing."""
    floating = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in floating]).all()


class CompiledStep:
    """`train_step` for the mesh.

    Args:
        recipe, state: see `step.train_step`; of the state the shapes count alone.
        batch: any number of samples, on the host.
        packed: whether the state and the teacher's weights are packed (`pmd_jax.train.packing`); None: on accelerators.

    Attributes:
        batch: how a batch is packed for `step`.
        names: of the metrics in a step's vector; known after the first step.
        step: (carry, teacher, packed batch, seed) → (carry, vector), jitted. The vector holds the metrics and then the
            health after the step. What is looked at is the state: an infinite gradient is in Adam's moments after the
            update even where the loss is finite, and so is one that is too large to be squared.
    """

    def __init__(self, recipe: Recipe, mesh: Mesh, state: TrainState, batch: Batch, packed: bool | None = None):
        self.names: list[str] = []
        self.batch = BatchLayout.of(batch)
        self._recipe, self._layout = recipe, None
        if jax.default_backend() != "cpu" if packed is None else packed:
            self._layout = StateLayout(recipe.network, state, recipe.optimizer)
            self._recipe = recipe._replace(network=self._layout.network)
        self._whole = sharding.replicated(mesh)
        jitted = jax.jit(
            self._step,
            # The teacher: where it is, whole or split as the batch.
            in_shardings=(self._whole, None, sharding.split(mesh), self._whole),
            out_shardings=(self._whole, self._whole),
            donate_argnums=0,
        )
        self.step = compile_together(jitted, "the training step")

    def begin(self, state: TrainState) -> Carry:
        """What the first step takes."""
        if self._layout is not None:
            state = self._layout.pack(state)
        return jax.device_put(Carry(state, Health(jnp.int32(0), jnp.float32(0))), self._whole)

    def state(self, carry: Carry) -> TrainState:
        """The state as all others know it, until the next step takes it away."""
        return carry.state if self._layout is None else self._layout.unpack(carry.state)

    def teach(self, teacher: TeacherOutputs | None) -> TeacherOutputs | None:
        """The teacher as `step` takes what it has `of_batch`."""
        return teacher if teacher is None or self._layout is None else teacher.packed(self._whole)

    def _step(
        self, carry: Carry, teacher: StepOutputs | None, packed: jax.Array, seed: jax.Array
    ) -> tuple[Carry, jax.Array]:
        with jax.sharding.use_abstract_mesh(self._whole.mesh.abstract_mesh):  # see models/winograd.py
            state, metrics = train_step(self._recipe, carry.state, teacher, self.batch.unpack(packed), seed)
        self.names[:] = metrics  # filled when the function is traced
        good = jnp.isfinite(metrics["loss"]) & all_finite(state)
        known = (carry.health.bad_step > 0) | good
        now = Health(state.step, metrics["loss"].astype(jnp.float32))
        health = jax.tree.map(lambda before, new: jnp.where(known, before, new), carry.health, now)
        return Carry(state, health), jnp.stack([*metrics.values(), *map(jnp.float32, health)])
