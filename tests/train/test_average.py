"""The moving average of the weights: carried along, saved, evaluated and exported; without it all is as it was."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_config
from test_loop import train_six_steps
from test_step import make

from pmd_jax.config import Config
from pmd_jax.data import cropping
from pmd_jax.models import saved_model
from pmd_jax.models.network import Weights
from pmd_jax.runtime.errors import CheckpointError, Preempted
from pmd_jax.train import job
from pmd_jax.train.loop import TrainResult
from pmd_jax.train.packing import StateLayout
from pmd_jax.train.state import AveragedState, TrainState

DECAY = 0.5


def averaging(decay: float = DECAY) -> Config:
    config = small_config()
    return replace(config, optim=replace(config.optim, ema=decay))


def weights_of(value: float) -> Weights:
    return Weights({"a": jnp.full(2, value)}, {"b": jnp.full(3, -value)})


def test_it_follows_the_weights_by_hand():
    """Tenths of the steps so far until they exceed the decay: 1/10 and 2/11, then DECAY from 9 steps on."""
    state = AveragedState(jnp.int32(0), *weights_of(0.0), (), average=weights_of(0.0))
    expected = 0.0
    for step, value in ((1, 1.0), (2, 3.0), (20, 7.0)):
        params, batch_stats = weights_of(value)
        state = state.replace(step=jnp.int32(step), params=params, batch_stats=batch_stats).averaged(DECAY)
        decay = min(DECAY, step / (step + 9))
        expected = decay * expected + (1 - decay) * value
        chex.assert_trees_all_close(state.average, weights_of(expected), rtol=1e-6)
    assert state.best_weights is state.average
    assert float(state.weights.params["a"][0]) == 7


def test_a_step_moves_it_and_is_otherwise_the_same(tmp_path):
    _, start, _ = make("pmd_net")
    assert type(start) is TrainState  # its leaves and their paths in checkpoints are those of before
    plain, new = (
        train_six_steps(tmp_path / name, optim=replace(optim, steps=1)).state
        for name, optim in (("plain", small_config().optim), ("averaging", averaging().optim))
    )
    assert type(plain) is TrainState
    chex.assert_trees_all_close(new.weights, plain.weights, rtol=1e-5, atol=1e-6)
    expected = jax.tree.map(lambda before, after: 0.1 * before + 0.9 * after, start.weights, new.weights)
    chex.assert_trees_all_close(new.average, expected, rtol=1e-4, atol=1e-6)


def test_it_is_packed_and_comes_back_bit_by_bit():
    recipe, state, _ = make("rgb_baseline", averaging())
    numbered = iter(range(1000))
    state = jax.tree.map(lambda x: np.asarray(x) + np.asarray(next(numbered), x.dtype), state)  # no two leaves alike
    layout = StateLayout(recipe.network, state, recipe.optimizer)
    packed = layout.pack(state)
    assert isinstance(packed, AveragedState)
    assert len(jax.tree.leaves(packed)) == 9  # two more than without: averaged parameters and statistics
    chex.assert_trees_all_equal(layout.unpack(packed), state)


class StopAt:
    """Asked to stop at its nth look."""

    def __init__(self, look: int):
        self._left = look

    def reached(self) -> bool:
        self._left -= 1
        return self._left == 0


def test_a_run_goes_on_with_its_average(tmp_path):
    optim = averaging().optim
    whole = train_six_steps(tmp_path / "whole", optim=optim, checkpoint_every=100)
    with pytest.raises(Preempted):
        train_six_steps(tmp_path / "parts", StopAt(3), optim=optim, checkpoint_every=100)
    parts = train_six_steps(tmp_path / "parts", optim=optim, checkpoint_every=100)
    assert isinstance(parts.state, AveragedState)
    chex.assert_trees_all_equal(parts.state, whole.state)
    # A state without an average finds one in the checkpoint that it does not know, and says so.
    with pytest.raises(CheckpointError, match=r"average/params/backbone/stem/kernel: .* absent in this network"):
        train_six_steps(tmp_path / "parts", checkpoint_every=100)


def test_the_average_is_validated(tmp_path):
    seen = []

    def validation(weights):
        seen.append(jax.device_get(weights))
        return {}

    trained = train_six_steps(tmp_path, optim=averaging().optim, eval_every=6, validation=validation)
    chex.assert_trees_all_equal(seen[0], jax.device_get(trained.state.average))


def test_the_average_is_exported_and_evaluated(tmp_path, monkeypatch):
    used = {}
    state = AveragedState(jnp.int32(0), *weights_of(1.0), (), average=weights_of(2.0))
    columns = SimpleNamespace(uv=np.zeros((1, 21, 2)), has_label=np.ones(1, bool), key=np.array(["0"]), xyz=None)
    recipe = SimpleNamespace(network=None, method=SimpleNamespace(title=""))
    task = SimpleNamespace(recipe=recipe, columns=columns)
    monkeypatch.setattr(job, "_task", lambda *_: task)
    monkeypatch.setattr(job, "train_method", lambda *_: TrainResult(state, 1.0, 1.0))
    monkeypatch.setattr(job, "_result", lambda *_: {})
    monkeypatch.setattr(cropping, "crop_margin", lambda _: 1.0)
    monkeypatch.setattr(saved_model, "save", lambda folder, name, config, weights, *_: used.update(saved=weights))

    def predict(network, modality, weights, *_):
        used["predicted"] = weights
        return np.zeros((1, 21, 3))

    monkeypatch.setattr(job, "predict", predict)
    stop = SimpleNamespace(check=lambda _: None)
    (tmp_path / "rgb_baseline").mkdir()
    shared = SimpleNamespace(
        config=small_config(),
        workdir=tmp_path,
        mesh=None,
        stop=stop,
        start=None,
        splits=SimpleNamespace(test=columns, unlabelled_test=None, unlabelled=None),
    )
    job.finish_method(shared, "rgb_baseline", [])
    assert used == {"saved": state.average, "predicted": state.average}
