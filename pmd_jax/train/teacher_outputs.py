"""What a frozen teacher says of training samples, kept in tables and looked up in the step.

A teacher in evaluation mode sees nothing of a sample but its depth and the flips, so one entry for each sample and flip
holds all that it will ever say. `pmd_jax.train.teacher_cache` computes them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int32

from pmd_jax.config import AugmentConfig
from pmd_jax.models.pmd_net import Prediction
from pmd_jax.runtime import sharding


class TeacherOutputs(NamedTuple):
    """A table of all samples, a copy on each device."""

    feature: Float[Any, "n flips f"]
    hidden: Float[Any, "n flips heads 64"]
    pose: Float[Any, "n flips 21 3"]


class BatchTeacherOutputs(NamedTuple):
    """The entries of one batch's samples, in the batch's order and split like it."""

    lessons: TeacherOutputs


class StoredTeacherOutputs(NamedTuple):
    """A table of all samples in a file, where they are too many for a device."""

    table: np.ndarray  # (n, flips), its fields those of `TeacherOutputs`

    def of_batch(self, index: Int32[np.ndarray, " b"], mesh: Mesh) -> BatchTeacherOutputs:
        """The entries of this process's part of a batch, on the devices."""
        rows = self.table[index]
        return sharding.global_array(
            mesh, BatchTeacherOutputs(TeacherOutputs(*(rows[name] for name in TeacherOutputs._fields)))
        )


def flip_choices(augment: AugmentConfig) -> list[tuple[bool, bool]]:
    """The flips (left–right, top–bottom) that may be drawn, in the order of the tables' second axis."""
    horizontal = (False, True) if augment.flip_horizontal else (False,)
    vertical = (False, True) if augment.flip_vertical else (False,)
    return [(flip_u, flip_v) for flip_v in vertical for flip_u in horizontal]


def look_up(
    lessons: TeacherOutputs | BatchTeacherOutputs,
    index: Int32[Array, " b"],
    flips: Bool[Array, "b 2"],
    augment: AugmentConfig,
) -> Prediction:
    """What the teacher says of the samples at `index` with these flips."""
    choice = flips.astype(jnp.int32) @ jnp.array([1, 2 if augment.flip_horizontal else 1])
    if isinstance(lessons, BatchTeacherOutputs):
        own = lessons.lessons
        found = jax.tree.map(lambda table: jax.vmap(lambda entries, flip: entries[flip])(table, choice), own)
    else:
        as_the_batch = jax.typeof(index).sharding  # Explicit axes want to be told
        found = jax.tree.map(lambda table: table.at[index, choice].get(out_sharding=as_the_batch), lessons)
    # A teacher has no refine branch: its first pose is its pose.
    return Prediction(found.feature, found.hidden, found.pose, found.pose)
