"""Numbers on disk: a flipped bit is refused, skipped with a word, or without any effect; whatever file it is in."""

from __future__ import annotations

import functools
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import redescribe, small_config, write_export
from orbax.checkpoint import v1 as ocp
from test_loop import train_six_steps
from test_step import make
from test_teacher_cache import files, table_of

from pmd_jax.evaluate.curves import read_metrics
from pmd_jax.models import saved_model
from pmd_jax.models.description import GRAPH, describe
from pmd_jax.predict import predictor
from pmd_jax.predict.engines import GraphError, OnnxEngine
from pmd_jax.runtime import digest, sharding
from pmd_jax.runtime import files as our_files
from pmd_jax.runtime.errors import CheckpointError, InputError
from pmd_jax.runtime.orbax_io import save_tree
from pmd_jax.runtime.paths import plain_path
from pmd_jax.train import teacher_cache
from pmd_jax.train.checkpoint import Checkpoints
from pmd_jax.train.state import TrainState
from pmd_jax.train.teacher import load_teacher

FLIPS = 200  # in each file


class Position:
    """A place in the data, as far as a checkpoint knows it."""

    def __init__(self, index: int = 0):
        self.index = index

    def get_state(self) -> dict[str, int]:
        return {"next_index": self.index}

    def set_state(self, state: dict[str, int]) -> None:
        self.index = state["next_index"]


@functools.cache
def first_state(width: int = 4) -> TrainState:
    config = small_config()
    config.model.width = width
    return make("rgb_baseline", config)[1]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """The checkpoints of steps 4 and 6, whose numbers are 4 and 6 more than those of a new network."""
    folder, state = tmp_path_factory.mktemp("saved") / "checkpoints", first_state()
    checkpoints = Checkpoints(folder)
    for step in (4, 6):
        checkpoints.save(step, jax.tree.map(lambda x, step=step: x + step, state), Position(step))  # pyright: ignore[reportArgumentType]
    checkpoints.close()
    return folder


def test_arrays_are_written_whole_and_not_in_a_slice_for_each_device(tmp_path):
    """A slice for each device is a program for each device and shape, to be compiled at the first save."""
    mesh = sharding.make_mesh()
    save_tree(tmp_path / "tree", {"weights": jax.device_put(np.ones((8, 4), np.float32), sharding.replicated(mesh))})
    with plain_path(tmp_path / "tree") as path:
        storage = ocp.metadata(path).metadata["weights"].storage_metadata
    assert storage.write_shape == storage.chunk_shape == (8, 4)


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return shutil.copytree(saved, tmp_path / "checkpoints")


def restore(folder: Path, state: TrainState | None = None) -> int:
    """Goes on from a folder; checks every number, and returns the step that they are of."""
    state, position = state or first_state(), Position()
    checkpoints = Checkpoints(folder)
    try:
        found = checkpoints.restore(state, position)  # pyright: ignore[reportArgumentType]
    finally:
        checkpoints.close()
    for ours, first in zip(jax.tree.leaves(found), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(ours, first + position.index)
    return position.index


def parts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def bits(path: Path, count: int, seed: int = 0) -> list[int]:
    """Some bits of a file, each once: all of a small one's."""
    size = 8 * path.stat().st_size
    return sorted(np.random.default_rng(seed).choice(size, min(count, size), replace=False).tolist())


@contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """One bit of a file is the other way round."""

    def flip() -> None:
        with path.open("r+b") as file:
            file.seek(bit // 8)
            byte = file.read(1)[0]
            file.seek(bit // 8)
            file.write(bytes([byte ^ 1 << bit % 8]))

    flip()
    try:
        yield
    finally:
        flip()


def damage(step: Path) -> None:
    """Flips a bit in the middle of a checkpoint's largest file, and leaves it so."""
    largest = max(parts(step), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 16
    largest.write_bytes(content)


# ---- checkpoints


def test_every_flip_in_a_checkpoint_is_seen_before_it_is_parsed(folder):
    """All files but the two that Orbax writes while it commits, on which no load depends (the next test)."""
    seen = Counter()
    for path in parts(folder / "6"):
        for bit in bits(path, FLIPS):
            with flipped(path, bit):
                try:
                    digest.check(folder / "6")
                    seen["passed", path.name] += 1
                except digest.Damaged:
                    seen["refused"] += 1
    assert seen["refused"] > 8 * FLIPS
    assert {name for _, name in set(seen) - {"refused"}} <= {"_CHECKPOINT_METADATA", "commit_success.txt", digest.NAME}
    assert seen["passed", digest.NAME] < 10  # one white space for another


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_flip_in_the_latest_checkpoint(folder, capfd, every):
    """By the real way: the one before is taken with a word, or the numbers are the same."""
    sample = {"_CHECKPOINT_METADATA", "commit_success.txt", digest.NAME, "_METADATA"}
    paths = [path for path in parts(folder / "6") if every or path.name in sample]
    outcomes, count = Counter(), 10 if every else 1
    for path in paths:
        for bit in bits(path, count, seed=1):
            with flipped(path, bit):
                step = restore(folder)
                said = capfd.readouterr().err
                assert step == (4 if "checkpoints/6 is broken or truncated" in said else 6), (path, bit)
                outcomes[step] += 1
                if step == 4:
                    (folder / "broken-6").rename(folder / "6")
    assert sum(outcomes.values()) == count * len(paths)
    assert outcomes[4] >= (len(paths) - 4) * count


def test_what_is_skipped_is_said_and_kept(folder, capfd):
    (folder / "broken-6").mkdir()  # from another time
    shutil.copytree(folder / "6", folder / "5")
    damage(folder / "5")
    damage(folder / "6")
    kept = len(parts(folder / "6"))
    assert restore(folder) == 4
    said = capfd.readouterr().err
    assert re.search(r"checkpoints/6 is broken or truncated \(Damaged: state/\S+ is not what was saved: CRC-32", said)
    assert "moved to broken-6-2" in said
    assert said.count("moved to") == 2
    assert said.endswith("Training goes on from step 4.\n")
    assert sorted(path.name for path in folder.iterdir()) == ["4", "broken-5", "broken-6", "broken-6-2"]
    assert len(parts(folder / "broken-6-2")) == kept


def test_none_is_good(folder):
    """Nothing is moved: another start must not begin anew without a word."""
    for step in ("4", "6"):
        damage(folder / step)
    with pytest.raises(CheckpointError, match=r"(?s)checkpoints/6 is broken.*checkpoints/4 is broken.*run again"):
        restore(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["4", "6"]


def test_another_network_is_refused_and_not_skipped(folder):
    with pytest.raises(CheckpointError, match="holds another network"):
        restore(folder, first_state(width=6))
    assert sorted(path.name for path in folder.iterdir()) == ["4", "6"]


def test_no_right_to_read_is_no_damage(folder, monkeypatch):
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(digest, "check", refuse)
    with pytest.raises(CheckpointError, match=r"cannot be read \(.*Permission denied"):
        restore(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["4", "6"]


def test_checkpoints_of_earlier_versions(folder, capfd):
    """Without sums: a whole one is read, a truncated one skipped."""
    for step in ("4", "6"):
        (folder / step / digest.NAME).unlink()
    assert restore(folder) == 6
    for path in parts(folder / "6" / "state"):
        path.write_bytes(path.read_bytes()[:100])
    assert restore(folder) == 4
    assert "Training goes on from step 4." in capfd.readouterr().err


def test_a_save_that_was_killed_leaves_no_checkpoint_without_sums(folder, monkeypatch):
    """The sums are there before the checkpoint gets its name."""

    def killed(*_) -> None:
        assert not (folder / "8").exists()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(digest, "write", killed)
    checkpoints = Checkpoints(folder)
    checkpoints.save(8, first_state(), Position(8))  # pyright: ignore[reportArgumentType]
    with pytest.raises(CheckpointError, match="make room"):
        checkpoints.wait()
    checkpoints.close()
    assert sorted(path.name for path in folder.iterdir()) == ["4", "6"]


def test_after_a_skip_training_ends_with_the_same_bits(tmp_path, capfd):
    unbroken = train_six_steps(tmp_path).state
    checkpoints = tmp_path / "pmd_net" / "checkpoints"
    damage(checkpoints / "6")
    resumed = train_six_steps(tmp_path).state
    assert "Training goes on from step 4." in capfd.readouterr().err
    for ours, theirs in zip(jax.tree.leaves(resumed), jax.tree.leaves(unbroken), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")[0]] == [1, 2, 3, 4, 5, 6]
    assert sorted(path.name for path in checkpoints.iterdir()) == ["4", "6", "broken-6"]
    assert digest.check(checkpoints / "6")  # saved again, under its own name


# ---- exports


def outcome(read: Callable[[], object], same: Callable[[object], bool]) -> str:
    try:
        return "same" if same(read()) else "other"
    except InputError:
        return "refused"


@pytest.mark.parametrize("row", ["rgb_baseline", "depth_teacher"])
def test_a_flip_in_an_export(tmp_path, row):
    """Refused, or nothing else comes of it."""
    folder, keys = tmp_path / "export", ("a", "b")
    read = saved_model.read(write_export(folder, row))
    saved_model.save(folder, row, read.config, read.weights, keys if row == "depth_teacher" else ())
    weights = jax.tree.leaves(read.weights)

    def same(found) -> bool:
        leaves = jax.tree.leaves(found.weights)
        return (found.method, found.config, found.crop_margin) == (row, read.config, read.crop_margin) and all(
            np.array_equal(ours, theirs) for ours, theirs in zip(leaves, weights, strict=True)
        )

    outcomes = Counter()
    for path in parts(folder):
        for bit in bits(path, FLIPS if path.name != GRAPH else 0):  # the next test's
            with flipped(path, bit):
                outcomes[outcome(lambda: saved_model.read(folder), same)] += 1
    assert outcomes["other"] == 0
    assert outcomes["same"] < 10
    assert outcomes["refused"] > 7 * FLIPS


def test_a_flip_in_the_graph_of_an_export(tmp_path):
    """It is not run; the weights are still the network's."""
    folder = write_export(tmp_path / "export")
    described = describe(folder)
    for bit in bits(folder / GRAPH, FLIPS):
        with flipped(folder / GRAPH, bit):
            assert describe(folder) == described
            with pytest.raises(GraphError, match="not the one that was saved"):
                OnnxEngine(folder, described)
    assert OnnxEngine(folder, described).name == "onnx"


def test_a_flip_in_the_labels_of_a_teacher(tmp_path):
    run = tmp_path / "run"
    read = saved_model.read(write_export(run / "export", "depth_teacher"))
    saved_model.save(run / "export", read.method, read.config, read.weights, ["a", "b"])
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    assert load_teacher(run, read.method, read.config, where).labels == {"a", "b"}
    with flipped(run / "export" / saved_model.LABELS_FILE, 1), pytest.raises(CheckpointError, match=r"labels\.txt"):
        load_teacher(run, read.method, read.config, where)


def test_exports_of_earlier_versions_are_read(tiny_export, tmp_path):
    older = shutil.copytree(tiny_export, tmp_path / "older")
    (older / digest.NAME).unlink()
    both = (jax.tree.leaves(saved_model.read(folder).weights) for folder in (older, tiny_export))
    for ours, theirs in zip(*both, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_copies_carry_their_sums(tiny_export, tmp_path):
    saved_model.copy(tiny_export, tmp_path / "copy")
    assert digest.check(tmp_path / "copy")
    assert digest.check(predictor.DEMO)  # what comes with the repository, too


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": 1, "files": [], "crc32": ""}', "\udcff"])
def test_sums_that_are_none(tiny_export, tmp_path, text):
    broken = shutil.copytree(tiny_export, tmp_path / "broken")
    (broken / digest.NAME).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"digest\.json"):
        saved_model.read(broken)


def test_a_file_that_is_missing(tiny_export, tmp_path):
    broken = shutil.copytree(tiny_export, tmp_path / "broken")
    next(path for path in parts(broken / "weights") if path.parent.name == "d").unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        saved_model.read(broken)


def test_other_files_do_not_matter(tiny_export, tmp_path):
    """A card, a desktop's litter: nothing that a network is read from."""
    copy = shutil.copytree(tiny_export, tmp_path / "copy")
    (copy / "weights" / ".DS_Store").write_text("x")
    (copy / "MODEL_CARD.md").write_text("x")
    saved_model.read(copy)
    redescribe(copy, (copy / "network.json").read_text())
    assert digest.check(copy)


# ---- the teacher's table


def open_again(path: Path, like: np.ndarray) -> np.ndarray | None:
    return teacher_cache._open(path, like.shape, like.dtype)  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    table_of(folder)
    [name] = files(folder)
    return folder / name


def test_a_flip_in_the_teachers_table(table, tmp_path):
    path, like = Path(shutil.copy(table, tmp_path)), np.load(table)
    assert open_again(path, like) is not None
    for bit in [*range(8 * 128), *bits(path, FLIPS), *range(8 * path.stat().st_size - 8 * 17, 8 * path.stat().st_size)]:
        with flipped(path, bit):
            assert open_again(path, like) is None, bit


def test_a_damaged_table_is_made_again_and_that_is_said(table, tmp_path, capfd):
    path = Path(shutil.copy(table, tmp_path))
    with flipped(path, 8 * 1000):
        table_of(tmp_path)
        assert "is broken or truncated; it is computed again" in capfd.readouterr().err
        assert path.read_bytes() == table.read_bytes()
    path.write_bytes(table.read_bytes())
    table_of(tmp_path)
    assert capfd.readouterr().err == ""


def test_a_table_of_an_earlier_version(table, tmp_path):
    """Without a sum: used as it is, unless it is too short."""
    path, like = Path(shutil.copy(table, tmp_path)), np.load(table)
    content = table.read_bytes()[: -teacher_cache._SUM_BYTES]
    path.write_bytes(content)
    np.testing.assert_array_equal(open_again(path, like), like)
    for other in (content[:-1], content + b"\n"):
        path.write_bytes(other)
        assert open_again(path, like) is None
    for bit in range(8 * 128):
        path.write_bytes(content)
        with flipped(path, bit):
            open_again(path, like)  # no trace


# ---- arrays in ZIP files


def test_a_flip_in_an_npz_file(tmp_path):
    """predictions.npz and examples.npz: ZIP's own sums are compared before the arrays are made."""
    path = tmp_path / "predictions.npz"
    arrays = {"xyz_m": np.random.default_rng(0).normal(size=(7, 21, 3)).astype(np.float32), "key": np.array(["a", "ü"])}
    np.savez_compressed(path, **arrays)

    def same(found) -> bool:
        return set(found) == set(arrays) and all(np.array_equal(found[name], arrays[name]) for name in arrays)

    outcomes = Counter()
    for bit in range(8 * path.stat().st_size):
        with flipped(path, bit):
            outcomes[outcome(lambda: our_files.read_arrays(path), same)] += 1
    assert outcomes["other"] == 0
    assert outcomes["refused"] > 7 * path.stat().st_size
    with pytest.raises(InputError, match=r"nothing\.npz cannot be read .*; run it again"):
        our_files.read_arrays(tmp_path / "nothing.npz", "run it again")


# ---- figures


FIGURES = {"title": "größer", "epe_mm": 12.345678901234567, "pck": {"20": [0.1, -0.0], "30": []}, "steps": 6}


def test_a_flip_in_a_file_of_figures(tmp_path):
    """result.json and results.json: refused, or no value is another one."""
    path = tmp_path / "result.json"
    digest.write_json(path, FIGURES)
    assert digest.read_json(path) == FIGURES
    outcomes = Counter()
    for bit in range(8 * path.stat().st_size):
        with flipped(path, bit):
            try:
                found = digest.read_json(path)
            except digest.Damaged:
                outcomes["refused"] += 1
                continue
            # A space became another one, or the sum's own name another name.
            assert {**found, **FIGURES} == found
            outcomes["same"] += 1
    assert outcomes["refused"] > 6 * path.stat().st_size
    whole = path.read_bytes()
    for size in range(len(whole) - 1):  # but for the end of the last line
        path.write_bytes(whole[:size])
        with pytest.raises(digest.Damaged):
            digest.read_json(path)


def test_figures_of_earlier_versions_are_read(tmp_path):
    our_files.write_json(tmp_path / "result.json", FIGURES)
    assert digest.read_json(tmp_path / "result.json") == FIGURES


# ---- folders whose names libraries take for more


SELDOM = ("a*b", "a?b", "a\\b", "gs:")


@pytest.mark.parametrize("name", ["one[row]", "a\udcffb", *(pytest.param(x, marks=pytest.mark.slow) for x in SELDOM)])
def test_a_folder_of_any_name(tmp_path, name):
    """Checkpoints and exports below it are read again, there and elsewhere, and nothing of another folder with them."""
    (tmp_path / "axb").mkdir()
    run, state = tmp_path / name / "row", first_state()
    checkpoints = Checkpoints(run / "checkpoints")
    for step in (2, 4):
        checkpoints.save(step, jax.tree.map(lambda x, step=step: x + step, state), Position(step))  # pyright: ignore[reportArgumentType]
    checkpoints.close()
    assert restore(run / "checkpoints") == 4
    damage(run / "checkpoints" / "4")
    assert restore(run / "checkpoints") == 2
    write_export(run / "export")
    ours = jax.tree.leaves(saved_model.read(run / "export").weights)
    run.rename(tmp_path / "axb" / "row")
    assert restore(tmp_path / "axb" / "row" / "checkpoints") == 2
    moved = saved_model.read(tmp_path / "axb" / "row" / "export")
    for here, there in zip(ours, jax.tree.leaves(moved.weights), strict=True):
        np.testing.assert_array_equal(here, there)


def test_one_after_the_other(tmp_path):
    """The number that stands for a folder is given to the next one: no library may take it for the first."""
    read = saved_model.read(write_export(tmp_path / "a[1]" / "export"))
    more = jax.tree.map(lambda x: x + 1, read.weights)
    saved_model.save(tmp_path / "a[2]" / "export", read.method, read.config, more)
    for number, expected in ((1, read.weights), (2, more), (1, read.weights)):
        found = saved_model.read(tmp_path / f"a[{number}]" / "export").weights
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(ours, theirs)
