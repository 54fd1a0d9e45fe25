"""The order of samples, slices for processes, resuming, hold-out, evaluation batches, and reading prepared splits."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from pmd_jax.config import DataConfig, datasets
from pmd_jax.data import hand
from pmd_jax.data.dataset import Columns, hold_out, place_joint_0, read_columns
from pmd_jax.data.loader import Order, evaluation_batches, training_batches
from pmd_jax.data.prepared import PREPARED_KEYS, prepared_features, split_batch
from pmd_jax.data.recordings import drawing_order
from pmd_jax.runtime import sharding
from pmd_jax.runtime.errors import ConfigError, DataError
from reference.made_up_columns import make_columns

# ---- order


@pytest.mark.parametrize(("samples", "batch"), [(48, 16), (50, 16), (5, 16), (16, 16), (17, 3)])
def test_each_epoch_has_every_sample_once(samples, batch):
    order = Order(samples, batch, seed=0)
    epochs = 6
    stream = np.concatenate([order(step) for step in range(-(-epochs * samples // batch))])[: epochs * samples]
    for epoch in stream.reshape(epochs, samples):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(samples))


def test_order_is_a_function_of_seed_and_step():
    """Whatever was asked before, and across an epoch's border."""
    order = Order(50, 16, seed=3)
    forwards = [order(step) for step in range(10)]
    for step in (9, 0, 4, 3, 3):
        np.testing.assert_array_equal(order(step), forwards[step])
        np.testing.assert_array_equal(Order(50, 16, seed=3)(step), forwards[step])


def test_order_changes_with_seed_and_epoch():
    epoch = Order(48, 48, seed=0)
    orders = [epoch(0), epoch(1), Order(48, 48, seed=1)(0), Order(48, 48, seed=1)(1), np.arange(48)]
    assert len({tuple(order.tolist()) for order in orders}) == len(orders)


# ---- training batches


def global_batches(columns: Columns, processes: int, steps: int = 7, batch: int = 16, seed: int = 0) -> list:
    shares = [
        list(training_batches(columns, steps=steps, batch=batch, seed=seed, rows=rows))
        for rows in np.split(np.arange(batch), processes)
    ]
    return [jax.tree.map(lambda *parts: np.concatenate(parts), *parts) for parts in zip(*shares, strict=True)]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_process_slices_make_up_the_global_batch(columns, processes):
    batches = global_batches(columns, processes)
    order = Order(len(columns), 16, seed=0)
    assert len(batches) == 7
    for step, batch in enumerate(batches):
        np.testing.assert_array_equal(batch.index, order(step))
        assert batch.index.dtype == np.int32
        for name in batch._fields[:-1]:
            np.testing.assert_array_equal(getattr(batch, name), getattr(columns, name)[order(step)])


def test_processes_share_no_sample(columns):
    shares = [next(training_batches(columns, steps=1, batch=16, seed=0, rows=np.arange(p, 16, 4))) for p in range(4)]
    assert [len(share.index) for share in shares] == [4] * 4
    assert len(np.unique(np.concatenate([share.index for share in shares]))) == 16


@pytest.mark.parametrize("done", [0, 1, 4])
def test_iterator_goes_on_where_its_state_was_taken(columns, done):
    iterator = training_batches(columns, steps=7, batch=16, seed=0)
    for _ in range(done):
        next(iterator)
    state = iterator.get_state()
    rest = [batch.index.tolist() for batch in iterator]
    assert len(rest) == 7 - done
    resumed = training_batches(columns, steps=7, batch=16, seed=0)
    resumed.set_state(state)
    assert [batch.index.tolist() for batch in resumed] == rest


def test_iterator_state_suits_another_number_of_processes(columns):
    iterator = training_batches(columns, steps=5, batch=16, seed=0)
    next(iterator), next(iterator)
    resumed = training_batches(columns, steps=5, batch=16, seed=0, rows=np.arange(8, 16))
    resumed.set_state(iterator.get_state())
    np.testing.assert_array_equal(next(resumed).index, next(iterator).index[8:])


# ---- hold-out


def test_hold_out_cuts_two_disjoint_parts_that_make_up_the_whole(columns):
    train, validation = hold_out(columns, DataConfig(validation=10))
    assert (len(train), len(validation)) == (38, 10)
    assert sorted([*train.key, *validation.key]) == sorted(columns.key)
    for part in (train, validation):  # the fields stay together
        rows = [columns.key.tolist().index(key) for key in part.key]
        np.testing.assert_array_equal(part.xyz, columns.xyz[rows])
        np.testing.assert_array_equal(part.rgb, columns.rgb[rows])


def test_hold_out_is_the_same_for_every_run_and_for_fewer_training_samples(columns):
    """No part of the run's configuration but the number of validation samples decides which they are."""
    _, validation = hold_out(columns, DataConfig(validation=10))
    small, same = hold_out(columns, DataConfig(validation=10, train_samples=5))
    assert len(small) == 5
    np.testing.assert_array_equal(same.key, validation.key)
    assert not set(small.key) & set(validation.key)


def test_a_part_that_is_drawn_alone_is_held_out_as_from_the_whole(monkeypatch):
    """The demo's samples are those of the study, which draws more of them."""
    monkeypatch.setitem(datasets.KNOWN, "made_up", datasets.DatasetInfo("made up", parts={"part": 48}))
    columns, data = make_columns(48), DataConfig(dataset="made_up", validation=6, train_samples=20)
    part = columns.take(np.sort(drawing_order(48)[:26]))
    expected = hold_out(columns, data)
    found = hold_out(part, dataclasses.replace(data, dataset_config="part"))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.key.tolist() == theirs.key.tolist()
        np.testing.assert_array_equal(np.asarray(ours.rgb), np.asarray(theirs.rgb))


def test_nothing_held_out_is_the_whole_split(columns):
    train, validation = hold_out(columns, DataConfig())
    assert validation is None
    np.testing.assert_array_equal(train.key, columns.key)
    fewer, validation = hold_out(columns, DataConfig(train_samples=7))
    assert (len(fewer), validation) == (7, None)


@pytest.mark.parametrize("data", [DataConfig(validation=48), DataConfig(validation=40, train_samples=9)])
def test_too_many_samples_asked_for(columns, data):
    hold_out(columns, DataConfig(validation=40, train_samples=8))  # all of them is not too many
    with pytest.raises(ConfigError, match=rf"validation = {data.validation} .*has 48 samples; ask for fewer"):
        hold_out(columns, data)


# ---- joint 0


def test_joint_0_as_labelled_is_left_alone(columns):
    assert place_joint_0(columns, "as_labelled") is columns


@pytest.mark.parametrize("rule", datasets.WRIST_RULES)
def test_a_moved_joint_0_projects_to_its_pixel_and_nothing_else_moves(columns, rule):
    moved = place_joint_0(columns, rule)
    np.testing.assert_array_equal(moved.xyz, hand.wrist_from_palm(columns.xyz, rule))
    np.testing.assert_allclose(moved.uv, hand.project(moved.xyz, columns.K), atol=1e-3)
    assert np.abs(moved.uv[:, 0] - columns.uv[:, 0]).max() > 10
    np.testing.assert_array_equal(moved.uv[:, 1:], columns.uv[:, 1:])
    np.testing.assert_array_equal(moved.visible[:, 1:], columns.visible[:, 1:])
    for name in ("rgb", "depth", "K", "is_left", "key"):
        assert getattr(moved, name) is getattr(columns, name)
    assert (moved.xyz.dtype, moved.uv.dtype, moved.visible.dtype) == (np.float32, np.float32, bool)


def test_a_wrist_outside_the_crop_is_not_visible(columns):
    moved = place_joint_0(columns, "wrist_from_middle")
    inside = ((moved.uv[:, 0] > -0.5) & (moved.uv[:, 0] < 63.5)).all(-1)
    assert 0 < inside.sum() < len(columns)
    np.testing.assert_array_equal(moved.visible[:, 0], columns.visible[:, 0] & inside)


# ---- evaluation batches


@pytest.mark.parametrize("count", [48, 40, 33, 5])
def test_evaluation_covers_every_sample_once(count):
    columns = make_columns(count)
    batches = [jax.tree.map(np.asarray, batch) for batch in evaluation_batches(columns, 16, sharding.make_mesh())]
    assert len(batches) == -(-count // 16)
    assert all(batch.rgb.shape == (16, 64, 64, 3) for batch in batches)
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *batches)
    np.testing.assert_array_equal(joined.index[:count], np.arange(count))
    np.testing.assert_array_equal(joined.index[count:], -1)
    np.testing.assert_array_equal(joined.rgb[:count], columns.rgb)
    np.testing.assert_array_equal(joined.xyz[:count], columns.xyz)
    assert np.isfinite(joined.xyz).all()  # padding is a real sample, so that nothing divides by zero


def test_evaluation_batches_lie_over_all_devices():
    batch = next(evaluation_batches(make_columns(16), 16, sharding.make_mesh()))
    assert len(batch.rgb.sharding.device_set) == len(jax.devices()) == 8
    assert batch.rgb.addressable_shards[0].data.shape == (2, 64, 64, 3)


# ---- prepared splits on the disk


class MadeUpHands(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes given columns as a prepared data set."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, splits: dict[str, Columns], features: tfds.features.FeaturesDict, **kwargs):
        self.made_up, self.features = splits, features
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, features=self.features)

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(columns) for split, columns in self.made_up.items()}

    def _generate_examples(self, columns: Columns):
        for key, example in split_batch(vars(columns), columns.key.tolist()):
            yield key, {name: example[name] for name in self.features}


def write_prepared(data_dir: Path, splits: dict[str, Columns], without: tuple[str, ...] = ()) -> Path:
    """A prepared data set in TFDS layout; returns its folder."""
    kept = {name: feature for name, feature in prepared_features(64).items() if name not in without}
    features = tfds.features.FeaturesDict(kept)
    builder = MadeUpHands(data_dir=str(data_dir), file_format="array_record", splits=splits, features=features)
    builder.download_and_prepare(file_format="array_record")
    return Path(builder.data_dir)


SPLITS = {"train": make_columns(12), "test": make_columns(5, seed=1)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared"), SPLITS)


@pytest.fixture
def own_copy(prepared, tmp_path) -> Path:
    """A copy that a test may damage."""
    folder = tmp_path / "made_up_hands" / "1.0.0"
    folder.mkdir(parents=True)
    for path in prepared.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def record_file(folder: Path) -> Path:
    (path,) = folder.glob("*-train.array_record*")
    return path


@pytest.mark.parametrize("split", SPLITS)
def test_columns_come_back_as_they_were_written(prepared, split):
    """TFDS shuffles what it writes, so rows are matched by key."""
    written, read = SPLITS[split], read_columns(prepared, split)
    assert sorted(read.key) == sorted(written.key)
    rows = [written.key.tolist().index(key) for key in read.key]
    assert all(isinstance(key, str) for key in read.key)
    for name in PREPARED_KEYS[:-1]:
        ours, theirs = getattr(read, name), getattr(written, name)[rows]
        assert ours.dtype == theirs.dtype, name
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    assert set(Columns.names()) == {*PREPARED_KEYS, "depth_origin_m"}
    np.testing.assert_array_equal(read.depth_origin_m, read.xyz[:, hand.ROOT, 2])


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match=r"'train' in .*nowhere cannot be read .*pmd_jax\.prepare"):
        read_columns(tmp_path / "nowhere", "train")


def test_missing_split(prepared):
    with pytest.raises(DataError, match=r"'validation' in .* cannot be read"):
        read_columns(prepared, "validation")


def test_missing_records(own_copy):
    record_file(own_copy).unlink()
    with pytest.raises(DataError, match=r"'train' in .* cannot be read .*prepare it again"):
        read_columns(own_copy, "train")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_truncated_records(own_copy, share):
    path = record_file(own_copy)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=r"'train' in .* cannot be read .*prepare it again"):
        read_columns(own_copy, "train")


def test_damaged_records(own_copy):
    path = record_file(own_copy)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"'train' in .* cannot be read .*prepare it again"):
        read_columns(own_copy, "train")


def test_fewer_records_than_promised(own_copy):
    info = own_copy / "dataset_info.json"
    described = json.loads(info.read_text())
    (train,) = (split for split in described["splits"] if split["name"] == "train")
    train["shardLengths"] = ["13"]
    info.write_text(json.dumps(described))
    with pytest.raises(DataError, match=r"'train' in .* cannot be read .*prepare it again"):
        read_columns(own_copy, "train")


def test_broken_description(own_copy):
    (own_copy / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match=r"cannot be read .*prepare it again"):
        read_columns(own_copy, "train")


def test_data_of_another_version_lack_a_field(tmp_path):
    folder = write_prepared(tmp_path, {"train": make_columns(3)}, without=("depth", "is_left"))
    with pytest.raises(DataError, match=r"lacks \['depth', 'is_left'\]; delete the folder and prepare it again"):
        read_columns(folder, "train")


@pytest.mark.parametrize(("name", "value"), [("xyz", np.nan), ("xyz", np.inf), ("K", np.nan)])
def test_labels_that_are_not_numbers(tmp_path, name, value):
    columns = make_columns(4)
    getattr(columns, name)[2, 1, 2] = value
    folder = write_prepared(tmp_path, {"train": columns})
    with pytest.raises(DataError, match=r"1 samples of .*not numbers, first made_up/train/000002"):
        read_columns(folder, "train")


def test_pairs_that_nobody_labelled_are_read_and_half_labels_are_not(tmp_path):
    columns = make_columns(4)
    columns.xyz[2], columns.uv[2], columns.visible[2] = np.nan, np.nan, False
    read = read_columns(write_prepared(tmp_path / "pairs", {"train": columns}), "train")
    assert read.key[~read.has_label].tolist() == ["made_up/train/000002"]
    columns.visible[2, 3] = True
    folder = write_prepared(tmp_path / "halves", {"train": columns})
    with pytest.raises(DataError, match=r"1 samples of .*not numbers, first made_up/train/000002"):
        read_columns(folder, "train")


def test_crops_that_miss_the_hand_and_joints_that_are_not_in_metres(tmp_path):
    """What an earlier version prepared without looking."""
    columns = make_columns(4)
    columns.uv[1] += 64
    folder = write_prepared(tmp_path / "elsewhere", {"train": columns})
    with pytest.raises(DataError, match=r"1 samples of .* visible joints outside the crop, first made_up/train/000001"):
        read_columns(folder, "train")
    columns = make_columns(4)
    columns.xyz[2] *= 1000
    folder = write_prepared(tmp_path / "millimetres", {"train": columns})
    with pytest.raises(DataError, match=r"1 samples of .* not in metres, first made_up/train/000002"):
        read_columns(folder, "train")
