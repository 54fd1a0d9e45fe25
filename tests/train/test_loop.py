"""The loop: how often it reads from the device, what it saves, and that it stops where it should."""

from __future__ import annotations

import errno
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import small_config
from test_step import make

from pmd_jax.evaluate.curves import read_metrics
from pmd_jax.runtime import errors, sharding
from pmd_jax.runtime.errors import CheckpointError, Preempted
from pmd_jax.runtime.preemption import Stop
from pmd_jax.train import clock, loop, metric_writer
from pmd_jax.train import log as train_log
from pmd_jax.train.compiled_step import CompiledStep
from pmd_jax.train.metric_writer import MetricWriter
from pmd_jax.train.state import create_state
from reference.made_up_columns import make_columns


def train_six_steps(tmp_path, stop=None, teacher=None, before=None, validation=None, row="pmd_net", **changes):
    """Six steps of the smallest network; `before` is done to each gradient before the optimiser sees it."""
    config = small_config(**changes)
    recipe, state, computed = make(row, config)
    if before is not None:
        recipe = recipe._replace(optimizer=optax.chain(before, recipe.optimizer))
        state = create_state(state.weights, recipe.optimizer)
    mesh = sharding.make_mesh(jax.devices()[:1])
    teacher = teacher or jax.device_put(computed, sharding.replicated(mesh))
    task = loop.TrainingTask(row, recipe, state, teacher, make_columns(40), config.optim, validation)
    return loop.train_method(task, config, mesh, tmp_path, stop or Stop())


@pytest.mark.parametrize(("log_every", "fetches"), [(1, 6), (4, 2)])
def test_one_small_fetch_a_written_line_and_no_recompilation(tmp_path, monkeypatch, log_every, fetches):
    """Metrics come to the host when they are written or a state is saved, as one vector; nothing else does."""
    fetched = []

    class Counting:
        """NumPy as the log sees it, counting what it fetches."""

        @staticmethod
        def asarray(array):
            assert isinstance(array, jax.Array)
            fetched.append(array.size)
            return np.asarray(array)

    compiled = []

    class Watched(CompiledStep):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            compiled.append(self.step)

    monkeypatch.setattr(train_log, "np", Counting())
    monkeypatch.setattr(loop, "CompiledStep", Watched)
    train_six_steps(tmp_path, log_every=log_every, checkpoint_every=100)
    assert len(fetched) == fetches
    assert max(fetched) <= 10
    assert compiled[0]._cache_size() == 1


def test_a_few_steps_are_under_way_and_no_more(tmp_path):
    """The host waits for the step before the last two, so that it runs ahead, but not without end."""

    class Vector:
        def __init__(self, step):
            self.step = step

        def block_until_ready(self):
            waited.append(self.step)

    waited: list[int] = []
    writer = MetricWriter(tmp_path, "pmd_net", 0, tensorboard=False)
    log = train_log.Log(writer, [], "pmd_net", 0, small_config().optim, 100, "")
    for step in range(1, 6):
        log.push(step, Vector(step))  # pyright: ignore[reportArgumentType]
    assert waited == [1, 2, 3]


def test_metrics_are_those_of_their_own_step(tmp_path):
    """Reading them one step late must not shift them by one."""
    train_six_steps(tmp_path / "all")
    short = small_config().optim
    short.steps = 1
    train_six_steps(tmp_path / "one", optim=short)
    of_one = read_metrics(tmp_path / "one" / "metrics.jsonl")[0]
    of_all = read_metrics(tmp_path / "all" / "metrics.jsonl")[0]
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


def test_a_checkpoint_of_another_row_names_what_differs_and_stays(tmp_path):
    one_step = replace(small_config().optim, steps=1)
    train_six_steps(tmp_path, optim=one_step)
    (tmp_path / "pmd_net").rename(tmp_path / "pmd_net_plus")
    folder = tmp_path / "pmd_net_plus" / "checkpoints"
    before = sorted(folder.rglob("*"))
    with pytest.raises(CheckpointError, match="holds another network") as caught:
        train_six_steps(tmp_path, row="pmd_net_plus")
    named = {line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]}
    pool = {f"params/pool/{layer}/{part}" for layer in ("maps", "values") for part in ("kernel", "bias")}
    assert pool | {f"params/heads/{axis}/fc1/kernel" for axis in range(3)} <= named
    assert not any("backbone" in path for path in named)
    assert sorted(folder.rglob("*")) == before


def saved_steps(workdir) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "pmd_net" / "checkpoints").iterdir() if path.name.isdigit())


@pytest.mark.parametrize(
    ("step", "factor", "said"),
    [
        (6, jnp.inf, "gradient is not finite"),  # no later step whose loss would show it
        (4, 1e25, "too large"),  # its square is infinite: the parameters stay finite and never move again
    ],
)
def test_a_bad_gradient_under_a_finite_loss_is_never_saved(tmp_path, step, factor, said):
    blow_up = optax.scale_by_schedule(lambda count: jnp.where(count == step - 1, factor, 1.0))
    with pytest.raises(errors.Diverged, match=rf"the loss of step {step} is \d.*{said}") as caught:
        train_six_steps(tmp_path, before=blow_up, log_every=5)
    assert "--config.optim.learning_rate and with --new_schedule" in str(caught.value)
    assert saved_steps(tmp_path)
    assert max(saved_steps(tmp_path)) < step


def test_a_checkpoint_that_is_not_finite_is_refused(tmp_path):
    _, state, _ = make("pmd_net")
    loop.require_finite(state, tmp_path)
    moments = jax.tree.map(lambda x: x * jnp.inf, state.opt_state)
    stats = jax.tree.map(lambda x: x * jnp.nan, state.batch_stats)
    for bad in (state.replace(opt_state=moments), state.replace(batch_stats=stats)):
        with pytest.raises(CheckpointError, match="not finite"):
            loop.require_finite(bad, tmp_path)


def test_an_evaluation_that_is_killed_is_made_up_for(tmp_path):
    """Each second step is saved and evaluated; the first evaluation of step 4 dies."""

    class Killed(BaseException):
        pass

    def dying(weights):
        evaluated.append(1)
        if len(evaluated) == 2:
            raise Killed
        return {"eval/epe_mm": float(len(evaluated))}

    evaluated: list[int] = []
    with pytest.raises(Killed):
        train_six_steps(tmp_path, validation=dying, eval_every=2)
    train_six_steps(tmp_path, validation=dying, eval_every=2)
    lines, _ = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines if "eval/epe_mm" in line] == [2, 4, 6]


def stopped_after_one_step(workdir):
    stop = Stop()
    stop.asked.set()
    with pytest.raises(Preempted):
        train_six_steps(workdir, stop=stop, checkpoint_every=100)
    return workdir / "pmd_net" / "train_time.json"


def test_the_time_of_earlier_parts_counts(tmp_path):
    path = stopped_after_one_step(tmp_path)
    tree = json.loads(path.read_text())
    assert tree.keys() == {"1"}
    assert tree["1"]["steps"] == 1
    assert tree["1"]["seconds"] > 0
    later = {"seconds": 9000.0, "steps": 5}  # of a checkpoint that was lost
    path.write_text(json.dumps({"1": {"seconds": 5000.0, "steps": 1}, "5": later}))
    trained = train_six_steps(tmp_path, checkpoint_every=100)
    assert 5000 < trained.seconds < 5500
    assert trained.images_per_s == pytest.approx(6 * 16 / trained.seconds)
    again = train_six_steps(tmp_path, checkpoint_every=100)  # stopped after the last step, before the result
    assert again.seconds == pytest.approx(trained.seconds, abs=60)
    assert again.images_per_s == pytest.approx(6 * 16 / again.seconds)


@pytest.mark.parametrize("content", [None, "", "[]", '{"1": {}}', '{"2": {"seconds": 7.0, "steps": 2}}'])
def test_a_checkpoint_without_its_time_counts_from_there(tmp_path, content):
    path = tmp_path / "train_time.json"
    if content is not None:
        path.write_text(content)
    seconds, steps = clock.TrainTime(path, 1).now(6)
    assert 0 <= seconds < 1
    assert steps == 5


def test_a_full_disk_for_logs_stops_nothing(tmp_path, monkeypatch, capsys):
    """Neither metrics nor events nor the training time can be written; with tensorboardX's own writer this hung."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(metric_writer.os, "write", full)
    monkeypatch.setattr(clock.files, "write_json", full)
    trained = train_six_steps(tmp_path, tensorboard=True)
    assert int(trained.state.step) == 6
    assert capsys.readouterr().err.count("cannot be written") == 3
