"""Our network and step as programs to time, and the sizes at which they are.

Light to import: JAX, Flax, Optax and what they bring (`benchmarks.accelerator` names no more).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from launch import demo, rendered_distill
from pmd_jax.config import AugmentConfig, Config
from pmd_jax.config.methods import METHODS
from pmd_jax.data.hand import NUM_JOINTS
from pmd_jax.data.inputs import Batch
from pmd_jax.models.network import build
from pmd_jax.runtime import sharding
from pmd_jax.train.compiled_step import CompiledStep
from pmd_jax.train.optim import optimizer
from pmd_jax.train.state import TrainState, create_state
from pmd_jax.train.step import Recipe
from pmd_jax.train.teacher_outputs import ComputedOutputs, Entries, TableOutputs, flip_choices
from reference.made_up_columns import make_batch

FLIPS = AugmentConfig(flip_horizontal=True, flip_vertical=True)


class Size(NamedTuple):
    """A network to measure."""

    config: Config
    batch: int  # of a step on the CPU


def sizes() -> dict[str, Size]:
    """Demo and full size are the launch files' networks; half size is the full one with half its channels."""
    small, full = replace(demo.get_config(), augment=FLIPS), replace(rendered_distill.get_config(), augment=FLIPS)
    half = replace(full, model=replace(full.model, width=full.model.width // 2))
    return {"demo": Size(small, 32), "half": Size(half, 16), "full": Size(full, 16)}


def beginning(config: Config, row: str) -> tuple[Recipe, TrainState, ComputedOutputs | None]:
    """A row's recipe, its state before the first step, and an untrained teacher where one takes part."""
    network, weights = build(config, METHODS[row], config.seed)
    recipe = Recipe(METHODS[row], network, optimizer(config.optim), config.loss, config.augment)
    state, its_row = create_state(weights, recipe.optimizer), METHODS[row].teacher
    if its_row is None:
        return recipe, state, None
    teacher_network, teacher = build(config, METHODS[its_row], config.seed)
    return recipe, state, ComputedOutputs(teacher, teacher_network)


class Training:
    """A row's training step with its state; each call makes one update on the same batch and waits for it.

    Args:
        cached: what the teacher says lies in a table, as `config.teacher.cache` has it; else it runs in the step.
    """

    def __init__(self, config: Config, row: str, batch: Batch, devices: int = 1, cached: bool = False):
        self.mesh = sharding.make_mesh(jax.devices()[:devices])
        whole = sharding.replicated(self.mesh)
        recipe, state, teacher = beginning(config, row)
        state = jax.device_put(state, whole)
        teacher = jax.device_put(_table(config, len(batch.rgb)) if cached else teacher, whole)
        self.loop = CompiledStep(recipe, self.mesh, state, batch)
        self.carry, self.teacher = self.loop.begin(state), self.loop.teach(teacher)
        self.batch = self.put(batch)
        self.seed = jax.device_put(jnp.int32(config.seed), whole)

    def put(self, batch: Batch) -> jax.Array:
        """A batch on the devices, as the loop brings it."""
        return sharding.global_array(self.mesh, self.loop.batch.pack(batch).rows)

    def dispatch(self, batch: jax.Array) -> jax.Array:
        """Starts an update on a batch that is on the devices; returns its metrics, which may not be there yet."""
        self.carry, metrics = self.loop.step(self.carry, self.teacher, batch, self.seed)
        return metrics

    def __call__(self) -> None:
        self.dispatch(self.batch).block_until_ready()

    def lowered(self) -> jax.stages.Lowered:
        """The step before compilation: what XLA itself counts and plans."""
        return self.loop.step.lower(self.carry, self.teacher, self.batch, self.seed)


def _table(config: Config, samples: int) -> TableOutputs:
    """A teacher's table with made-up numbers: looking up takes as long whatever they are."""
    shape, draw = (samples, len(flip_choices(config.augment))), np.random.default_rng(0)
    entries = ((8 * config.model.width,), (3, 64), (NUM_JOINTS, 3))
    return TableOutputs(Entries(*(draw.random((*shape, *entry), np.float32) for entry in entries)))


def training(config: Config, row: str, batch: int) -> Training:
    """The step on made-up samples."""
    return Training(config, row, make_batch(batch))
