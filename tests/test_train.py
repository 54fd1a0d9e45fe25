"""The loop: how often it reads from the device, what it saves, and that it stops where it should."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from conftest import make_columns, small_config
from test_steps import make

from pmd_jax import sharding, train
from pmd_jax.metric_writer import read_metrics
from pmd_jax.preemption import Preempted, Stop


def train_six_steps(tmp_path, stop=None, teacher=None, **changes):
    config = small_config(**changes)
    recipe, state, weights = make("pmd_net", config)
    mesh = sharding.make_mesh(jax.devices()[:1])
    teacher = teacher or jax.device_put(weights, sharding.replicated(mesh))
    return train.train_row(
        recipe,
        state,
        teacher,
        make_columns(40),
        None,
        name="pmd_net",
        config=config,
        optim=config.optim,
        mesh=mesh,
        workdir=tmp_path,
        stop=stop or Stop(),
    )


def test_one_small_fetch_a_step_and_no_recompilation(tmp_path, monkeypatch):
    """Each step's metrics come to the host once, as one vector; nothing else does."""
    fetched = []

    class Counting:
        """NumPy as the loop sees it, counting what it fetches."""

        def __getattr__(self, name):
            return getattr(np, name)

        @staticmethod
        def asarray(array, *arguments):
            if isinstance(array, jax.Array):
                fetched.append(array.size)
            return np.asarray(array, *arguments)

    compiled = []
    original = train.compile_step

    def watched(*arguments):
        step, names = original(*arguments)
        compiled.append(step)
        return step, names

    monkeypatch.setattr(train, "np", Counting())
    monkeypatch.setattr(train, "compile_step", watched)
    train_six_steps(tmp_path)
    assert len(fetched) == 6
    assert max(fetched) <= 8
    assert compiled[0]._cache_size() == 1


def test_metrics_are_those_of_their_own_step(tmp_path):
    """Reading them one step late must not shift them by one."""
    train_six_steps(tmp_path / "all")
    short = small_config().optim
    short.steps = 1
    train_six_steps(tmp_path / "one", optim=short)
    of_one = read_metrics(tmp_path / "one" / "metrics.jsonl")
    of_all = read_metrics(tmp_path / "all" / "metrics.jsonl")
    assert [line["step"] for line in of_all] == [1, 2, 3, 4, 5, 6]
    assert of_one[0]["step"] == 1
    assert of_one[0]["loss"] == pytest.approx(of_all[0]["loss"], rel=1e-6)


def test_asked_to_stop_it_saves_and_goes_on_with_the_same_bits(tmp_path):
    unbroken = train_six_steps(tmp_path / "unbroken").state
    stop = Stop()
    stop.asked.set()
    with pytest.raises(Preempted, match="step 1 of 6"):
        train_six_steps(tmp_path / "broken", stop=stop, checkpoint_every=100)
    resumed = train_six_steps(tmp_path / "broken", checkpoint_every=100).state
    assert int(resumed.step) == 6
    for ours, theirs in zip(jax.tree.leaves(resumed), jax.tree.leaves(unbroken), strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
