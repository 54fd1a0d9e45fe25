"""What a frozen teacher says of a batch's samples: computed in the training step, or looked up in a table.

Both are pytrees with one method, `outputs`, which the step calls. A teacher in evaluation mode sees nothing of a sample
but its depth and the flips, so a table with one entry for each sample and flip holds all that it will ever say.
`pmd_jax.train.teacher_cache` computes the tables.

The loop hands a step what `of_batch` returns: all but a table in a file are the same for every batch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int32

from pmd_jax.config import AugmentConfig
from pmd_jax.models.network import Network, Weights
from pmd_jax.models.pmd_net import Prediction
from pmd_jax.runtime import sharding
from pmd_jax.train.packing import PackedNetwork


@struct.dataclass
class ComputedOutputs:
    """Computed in the step, in evaluation mode.

    Attributes:
        weights: the teacher's, as its network takes them.
    """

    weights: Weights
    network: Network | PackedNetwork = struct.field(pytree_node=False)

    def outputs(
        self, index: Int32[Array, " b"], flips: Bool[Array, "b 2"], depth: Float[Array, "b 64 64 1"]
    ) -> Prediction:
        """What the teacher says of the samples, of which `depth`, flipped already, is all that counts here."""
        return self.network.evaluate(self.weights, depth)

    def of_batch(self, index: Int32[np.ndarray, " b"], mesh: Mesh) -> ComputedOutputs:
        return self

    def packed(self, where: jax.sharding.Sharding) -> ComputedOutputs:
        """With the weights as a few vectors (`pmd_jax.train.packing`)."""
        assert isinstance(self.network, Network)
        network = PackedNetwork.of(self.network, self.weights)
        return ComputedOutputs(jax.device_put(network.pack(self.weights), where), network)


class Entries(NamedTuple):
    """What the teacher says, under each of the flips that may be drawn (`flip_choices`)."""

    feature: Float[Any, "n flips f"]
    hidden: Float[Any, "n flips heads 64"]
    pose: Float[Any, "n flips 21 3"]


@struct.dataclass
class TableOutputs:
    """Looked up in a table on the devices.

    Attributes:
        entries: of all samples, a copy on each device; or of one batch's, in its order and split like it.
        of_one_batch: which of the two.
    """

    entries: Entries
    of_one_batch: bool = struct.field(pytree_node=False, default=False)

    def outputs(
        self, index: Int32[Array, " b"], flips: Bool[Array, "b 2"], depth: Float[Array, "b 64 64 1"]
    ) -> Prediction:
        """What the teacher says of the samples at `index` of the split with these flips."""
        # `flip_choices`: where both may be drawn there are four entries, else at most one of the flips is ever true.
        choice = flips.astype(jnp.int32) @ jnp.array([1, 2 if self.entries.pose.shape[1] == 4 else 1])
        if self.of_one_batch:
            found = jax.tree.map(lambda part: jax.vmap(lambda entry, flip: entry[flip])(part, choice), self.entries)
        else:
            as_the_batch = jax.typeof(index).sharding  # Explicit axes want to be told
            found = jax.tree.map(lambda part: part.at[index, choice].get(out_sharding=as_the_batch), self.entries)
        # A teacher has no refine branch: its first pose is its pose.
        return Prediction(found.feature, found.hidden, found.pose, found.pose)

    def of_batch(self, index: Int32[np.ndarray, " b"], mesh: Mesh) -> TableOutputs:
        return self

    def packed(self, where: jax.sharding.Sharding) -> TableOutputs:
        """Itself: a table is three arrays already."""
        return self


class StoredTable(NamedTuple):
    """A table of all samples in a file, where they are too many for a device."""

    table: np.ndarray  # (n, flips), its fields those of `Entries`

    def of_batch(self, index: Int32[np.ndarray, " b"], mesh: Mesh) -> TableOutputs:
        """The entries of this process's part of a batch, on the devices."""
        rows = self.table[index]
        entries = Entries(*(rows[name] for name in Entries._fields))
        return sharding.global_array(mesh, TableOutputs(entries, of_one_batch=True))

    def packed(self, where: jax.sharding.Sharding) -> StoredTable:
        """Itself, as `TableOutputs.packed`."""
        return self


StepOutputs = ComputedOutputs | TableOutputs  # what a step takes
TeacherOutputs = StepOutputs | StoredTable  # what the loop takes


def flip_choices(augment: AugmentConfig) -> list[tuple[bool, bool]]:
    """The flips (left–right, top–bottom) that may be drawn, in the order of the tables' second axis."""
    horizontal = (False, True) if augment.flip_horizontal else (False,)
    vertical = (False, True) if augment.flip_vertical else (False,)
    return [(flip_u, flip_v) for flip_v in vertical for flip_u in horizontal]
