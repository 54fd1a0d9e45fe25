"""Folding batch norm into convolutions: the same answers, nothing left of the norms, the original untouched."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pmd_jax.config.backbones import BACKBONES
from pmd_jax.models.fold_batch_norm import fold
from pmd_jax.models.pmd_net import PMDNet
from pmd_jax.models.spatial import POOLS


def trained(reading: str = "32/16/8/8", dtype=jnp.float32, pool: str = "average") -> PMDNet:
    """A small network whose norms are far from where they start."""
    kind = {"reading": reading, "pool": pool, "refine": True, "dtype": dtype}
    model = PMDNet(3, width=4, blocks=(2, 1, 1, 1), **kind, rngs=nnx.Rngs(0))
    generator = np.random.default_rng(1)
    limits = {"scale": (0.5, 1.5), "bias": (-1, 1), "mean": (-2, 2), "var": (0.1, 3)}
    for _, norm in nnx.iter_graph(model):
        if isinstance(norm, nnx.BatchNorm):
            for name, (low, high) in limits.items():
                values = generator.uniform(low, high, norm.num_features)
                getattr(norm, name)[...] = jnp.asarray(values, jnp.float32)
    model.eval()
    return model


def images() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (3, 64, 64, 3)), jnp.float32)


@nnx.jit
def apply(model: PMDNet, x: jax.Array):
    return model(x)


@pytest.mark.parametrize(
    ("reading", "pool"), [*((reading, "average") for reading in BACKBONES), *(("32/16/8/8", pool) for pool in POOLS)]
)
def test_answers_stay_the_same(reading, pool):
    model = trained(reading, pool=pool)
    whole, folded = apply(model, images()), apply(fold(model), images())
    assert (whole.maps is None) == (pool == "average")
    for name, value in whole._asdict().items():
        if value is not None:
            scale = float(jnp.abs(value).max())
            np.testing.assert_allclose(getattr(folded, name), value, atol=1e-5 * scale, err_msg=name)


def test_nothing_is_left_of_the_norms():
    folded = fold(trained())
    assert not jax.tree.leaves(nnx.state(folded, nnx.BatchStat))
    assert not any(isinstance(module, nnx.BatchNorm) for _, module in nnx.iter_graph(folded))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(folded)))


def test_the_original_is_left_as_it_is():
    model = trained()
    before = jax.tree.map(np.array, nnx.state(model))
    fold(model)
    chex.assert_trees_all_equal(jax.tree.map(np.array, nnx.state(model)), before)


def test_a_training_model_folds_its_running_statistics():
    model = trained()
    expected = apply(model, images()).pose
    model.train()
    np.testing.assert_allclose(apply(fold(model), images()).pose, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("change", [lambda model: model, fold], ids=["whole", "folded"])
def test_bfloat16_evaluation_stays_close_to_float32(change):
    """Mean deviation of each layer; with statistics, scales and biases rounded to bfloat16 it was 0.5 %."""
    expected = apply(trained(), images())
    said = apply(change(trained(dtype=jnp.bfloat16)), images())
    for name in set(said._fields) - {"maps"}:
        ours, theirs = getattr(said, name), getattr(expected, name)
        assert 0 < float(jnp.abs(ours - theirs).mean()) < 0.003 * float(jnp.abs(theirs).mean()), name


def test_a_folded_shift_has_all_its_digits():
    """256 − 255.5: as a bfloat16 the shift would be −256, and nothing would be left."""
    model = trained(dtype=jnp.bfloat16)
    stem, norm = model.backbone.stem, model.backbone.norm
    kernel = np.zeros(stem.kernel.shape, np.float32)
    kernel[3, 3, 0] = 256
    stem.kernel[...] = jnp.asarray(kernel)
    for name, value in {"scale": 1, "bias": 0, "mean": 255.5, "var": 1}.items():
        getattr(norm, name)[...] = jnp.full(norm.num_features, value, jnp.float32)
    folded = fold(model).backbone
    white = jnp.ones((1, 64, 64, 3), jnp.bfloat16)
    for normalised in (norm(stem(white)), folded.norm(folded.stem(white))):
        assert normalised.dtype == jnp.bfloat16
        np.testing.assert_allclose(normalised.astype(jnp.float32), 0.5, atol=0.002)
