"""Looked-up outputs are what the teacher would say, and their file is whole, of this teacher and of these samples."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_config
from jax.sharding import AxisType
from test_loop import train_six_steps
from test_step import make, mesh_of

from pmd_jax.config import AugmentConfig, Config, validate
from pmd_jax.config.methods import METHODS
from pmd_jax.data.augment import draw_flips, sample_keys, training_inputs
from pmd_jax.data.dataset import Columns
from pmd_jax.evaluate.curves import read_metrics
from pmd_jax.runtime import sharding
from pmd_jax.runtime.errors import ConfigError, Preempted
from pmd_jax.runtime.preemption import Stop
from pmd_jax.train import teacher_cache
from pmd_jax.train.teacher_outputs import Entries, StoredTable, TableOutputs, flip_choices
from reference.made_up_columns import make_columns

SAMPLES = 40


def one_device() -> jax.sharding.Mesh:
    return sharding.make_mesh(jax.devices()[:1])


def table_of(folder, config: Config | None = None, columns: Columns | None = None, seed: int = 0, stop=None, mesh=None):
    """The table of a made-up teacher, whose weights the seed changes."""
    mesh = mesh or one_device()
    _, _, teacher = make("pmd_net")
    assert teacher is not None
    weights = jax.device_put(jax.tree.map(lambda x: x + seed, teacher.weights), sharding.replicated(mesh))
    columns = make_columns(SAMPLES) if columns is None else columns
    config, stop = config or small_config(), stop or Stop()
    return teacher_cache.table_of(teacher.network, weights, columns, config, folder, mesh, stop)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("teacher")


# ---- what is looked up


@pytest.mark.parametrize(("horizontal", "vertical"), [(True, True), (True, False), (False, True), (False, False)])
def test_looked_up_is_what_the_teacher_would_say(folder, horizontal, vertical):
    augment = AugmentConfig(flip_horizontal=horizontal, flip_vertical=vertical)
    config = small_config(augment=augment)
    table = table_of(folder, config)
    _, _, computed = make("pmd_net", config)
    assert computed is not None
    batch = make_columns(SAMPLES).gather(np.arange(SAMPLES - 1, 7, -1))

    @jax.jit
    def both(step):
        inputs = training_inputs(batch, jnp.int32(3), step, augment, replaces=False)
        flips = draw_flips(sample_keys(jnp.int32(3), step, batch.index), augment)
        return [teacher.outputs(batch.index, flips, inputs.depth) for teacher in (computed, table)]

    for step in range(3):
        asked, looked_up = both(jnp.int32(step))
        chex.assert_trees_all_close(looked_up, asked, rtol=1e-5, atol=1e-5)
        assert float(jnp.std(asked.feature, axis=0).max()) > 1e-3  # samples differ, so a wrong row would be seen


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_the_same_on_eight_devices(folder, axis_type):
    """Every device finds its own samples' entries, whether the table lies on it or comes with the batch."""
    mesh = mesh_of(axis_type)
    augment = small_config().augment
    stored = table_of(folder, small_config(teacher=stored_teacher()))
    index = np.arange(32, dtype=np.int32)[::-1] % SAMPLES
    flips = np.random.default_rng(0).random((32, 2)) < 0.5
    choices = [flip_choices(augment).index(tuple(pair)) for pair in flips.tolist()]
    whole = TableOutputs(
        Entries(*(jax.device_put(stored.table[name], sharding.replicated(mesh)) for name in Entries._fields))
    )
    with jax.set_mesh(mesh):
        for table in (whole, stored.of_batch(index, mesh)):
            found = jax.jit(lambda table, index, flips: table.outputs(index, flips, None))(
                table, *sharding.global_array(mesh, (index, flips))
            )
            assert found.feature.sharding.spec[0] == "data"
            for name in Entries._fields:
                np.testing.assert_array_equal(getattr(found, name), stored.table[name][index, choices])


def stored_teacher():
    teacher = small_config().teacher
    teacher.cache_device_mb = 0
    return teacher


def test_losses_are_those_without_a_table(folder, tmp_path):
    """Six steps, the table on the device and in its file."""
    on_device, in_file = table_of(folder), table_of(folder, small_config(teacher=stored_teacher()))
    assert isinstance(on_device, TableOutputs)
    assert isinstance(in_file, StoredTable)
    losses = []
    for name, teacher in (("asked", None), ("device", on_device), ("file", in_file)):
        train_six_steps(tmp_path / name, teacher=teacher)
        losses.append([line["loss"] for line in read_metrics(tmp_path / name / "metrics.jsonl")[0]])
    assert len(losses[0]) == 6
    assert losses[1] == losses[2]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


# ---- its file


@pytest.fixture
def counted(monkeypatch) -> list[str]:
    """Grows each time a table is computed."""
    computed, original = [], teacher_cache._said
    monkeypatch.setattr(teacher_cache, "_said", lambda *given: computed.append("table") or original(*given))
    return computed


def files(folder) -> list[str]:
    return sorted(path.name for path in folder.glob("lessons_*"))


def test_computed_once_for_a_teacher_and_its_samples(tmp_path, counted):
    table_of(tmp_path)
    assert len(counted) == 1
    again = table_of(tmp_path, small_config(teacher=stored_teacher()))
    assert len(counted) == 1
    assert again.table.shape == (SAMPLES, 4)
    table_of(tmp_path, seed=1)
    table_of(tmp_path, small_config(augment=AugmentConfig(flip_horizontal=True)))
    other = make_columns(SAMPLES)
    other.depth[7, 3, 3] += 1
    table_of(tmp_path, columns=other)
    table_of(tmp_path, columns=make_columns(SAMPLES).take(np.arange(SAMPLES)[::-1]))
    assert len(counted) == len(files(tmp_path)) == 5


@pytest.mark.parametrize("size", [0, 50, 5000])
def test_a_broken_file_is_made_again(tmp_path, counted, size):
    whole = table_of(tmp_path)
    [name] = files(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:size])
    chex.assert_trees_all_equal(table_of(tmp_path), whole)
    assert len(counted) == 2


def test_interrupted_it_leaves_nothing(tmp_path, monkeypatch):
    stop = Stop()
    stop.asked.set()
    with pytest.raises(Preempted, match="teacher's table"):
        table_of(tmp_path, stop=stop)
    original = teacher_cache._said

    def broken(*given):
        yield next(original(*given))
        raise KeyboardInterrupt

    monkeypatch.setattr(teacher_cache, "_said", broken)
    with pytest.raises(KeyboardInterrupt):
        table_of(tmp_path)
    assert files(tmp_path) == []


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(teacher_cache.CacheError, match=r"could not be written.*config\.teacher\.cache=off"):
        table_of(tmp_path / "file")


# ---- whether there is one


@pytest.mark.parametrize(
    ("cache", "flips", "samples", "used"),
    [
        ("auto", True, 23, True),
        ("auto", True, 24, False),
        ("auto", False, 95, True),
        ("auto", False, 96, False),
        ("on", True, 1000, True),
        ("off", False, 1, False),
    ],
)
def test_used_where_it_saves_passes(cache, flips, samples, used):
    """Six steps of 16 would ask 96 times; a table takes each sample once under each of four flips, or under none."""
    config = small_config(augment=AugmentConfig(flip_horizontal=flips, flip_vertical=flips))
    config.teacher.cache = cache
    assert teacher_cache.pays(config, METHODS["pmd_net"], samples) == used


@pytest.mark.parametrize(
    "changes",
    [
        {"rotation_deg": 30.0},
        {"scale": 1.1},
        {"shift": 0.1},
        {"background": 0.5},
        {"depth_background": 0.5},
        {"depth_sensor": 0.5},
    ],
)
@pytest.mark.parametrize("cache", ["auto", "on", "off"])
def test_not_used_where_depth_changes_by_more_than_flips(cache, changes):
    config = small_config(augment=AugmentConfig(**changes))
    config.teacher.cache = cache
    assert not teacher_cache.pays(config, METHODS["pmd_net"], 1)


def test_used_where_the_students_colours_change():
    config = small_config(augment=AugmentConfig(colour=1.0, light=0.2, box_shift=0.1))
    assert teacher_cache.pays(config, METHODS["pmd_net"], 1)


def test_a_table_holds_no_maps():
    config = small_config()
    config.loss.lambda_maps = 1.0
    paid = {name: teacher_cache.pays(config, METHODS[name], 1) for name in ("pmd_net", "pmd_net_plus")}
    assert paid == {"pmd_net": True, "pmd_net_plus": False}
    config.teacher.cache, config.rows = "on", ("depth_teacher", "pmd_net")
    validate(config)
    config.rows = ("depth_teacher_plus", "pmd_net_plus")
    with pytest.raises(ConfigError, match=r"teacher.cache = 'on': the teacher's maps .* choose auto or off"):
        validate(config)
