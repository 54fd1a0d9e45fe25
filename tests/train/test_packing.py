"""Few arrays in place of many: nothing is lost on the way, and gradients come out as one vector."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from test_step import make

from pmd_jax.train.packing import BatchLayout, StateLayout, TreeLayout
from reference.made_up_columns import make_columns


def test_a_batch_comes_back_bit_by_bit():
    """Missing joints, both truth values and negative numbers too; a layout is that of any number of samples."""
    batch = make_columns(5).gather(np.arange(5))
    xyz = batch.xyz.copy()
    xyz[1] = np.nan
    batch = batch._replace(xyz=xyz, index=np.array([3, -1, 2**30, 0, 7], np.int32), is_left=np.arange(5) % 2 == 0)
    layout = BatchLayout.of(make_columns(1).gather(np.zeros(1, int)))
    packed = layout.pack(batch)
    assert packed.rows.dtype == np.uint8
    assert packed.rows.nbytes == sum(column.nbytes for column in batch)
    np.testing.assert_array_equal(packed.index, batch.index)
    for name, ours, theirs in zip(batch._fields, jax.jit(layout.unpack)(packed.rows), batch, strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), name
        assert np.asarray(ours).tobytes() == theirs.tobytes(), name


def test_a_state_comes_back_bit_by_bit():
    recipe, state, _ = make("pmd_net_refine")
    numbered = iter(range(1000))
    state = jax.tree.map(lambda x: x + next(numbered), state)  # so that no two leaves are alike
    layout = StateLayout(recipe.network, state, recipe.optimizer)
    packed = layout.pack(state)
    assert len(jax.tree.leaves(packed)) == 7  # step, parameters, statistics, two moments, two counts
    assert packed.params.shape == (sum(x.size for x in jax.tree.leaves(state.params)),)
    back = layout.unpack(packed)
    assert jax.tree.structure(back) == jax.tree.structure(state)
    for ours, theirs in zip(jax.tree.leaves(back), jax.tree.leaves(state), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_the_gradient_of_a_packed_tree():
    tree = {"a": jnp.arange(6.0).reshape(2, 3), "b": {"c": jnp.array(7.0)}}
    layout = TreeLayout(tree)

    def loss(vector):
        found = layout.unpack(vector)
        return (found["a"] ** 2).sum() + 3 * found["b"]["c"]

    gradient = jax.grad(loss)(layout.pack(tree))
    np.testing.assert_array_equal(gradient, [0, 2, 4, 6, 8, 10, 3])
    assert str(jax.make_jaxpr(jax.grad(loss))(layout.pack(tree))).count("pad[") == 0  # one concatenation
