"""Column files: what is mapped is what was prepared, and nothing that is not whole is ever mapped."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_up_data import write_made_up_data

from pmd_jax.config import DataConfig
from pmd_jax.data import column_files
from pmd_jax.data.column_files import DESCRIPTION, PIXELS, Column, ensure, folder_of, open_columns
from pmd_jax.data.dataset import Columns, hold_out, read_columns
from pmd_jax.data.depth_origin import is_measured, map_origin_m
from pmd_jax.data.labels import place_depth_origin
from pmd_jax.data.loader import training_batches
from pmd_jax.runtime.errors import DataError

SPLITS = ("train", "test")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A prepared data set without column files."""
    return next(write_made_up_data(tmp_path_factory.mktemp("data")).glob("*/*/*"))


@pytest.fixture
def prepared(written, tmp_path) -> Path:
    return shutil.copytree(written, tmp_path / "prepared")


def assert_same(ours: Columns, theirs: Columns) -> None:
    for name in Columns.names():
        a, b = np.asarray(getattr(ours, name)), np.asarray(getattr(theirs, name))
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_mapped_is_what_was_prepared(prepared, split):
    decoded = read_columns(prepared, split)
    assert not decoded.facts
    ensure(prepared, split)
    mapped = read_columns(prepared, split)
    assert all(isinstance(getattr(mapped, name), Column) for name in PIXELS)
    assert_same(mapped, decoded)
    np.testing.assert_array_equal(mapped.facts["is_measured"], is_measured(decoded.depth))
    np.testing.assert_array_equal(mapped.facts["map_origin_m"], map_origin_m(decoded.depth))


def test_parts_batches_and_origins_are_those_of_the_split_in_memory(prepared):
    decoded = read_columns(prepared, "train")
    ensure(prepared, "train")
    mapped = read_columns(prepared, "train")
    for ours, theirs in zip(
        *(hold_out(columns, DataConfig(validation=16)) for columns in (mapped, decoded)), strict=True
    ):
        assert_same(place_depth_origin(ours, "map"), place_depth_origin(theirs, "map"))
        options = {"steps": 9, "batch": 16, "seed": 3}
        for one, other in zip(training_batches(ours, **options), training_batches(theirs, **options), strict=True):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_array_equal(a, b)


def test_a_part_of_a_part_copies_no_pixels(prepared):
    ensure(prepared, "train")
    columns = read_columns(prepared, "train")
    part = columns.take(np.arange(0, 72, 2)).take(np.array([5, 3, 3]))
    assert part.rgb._array is columns.rgb._array
    assert part.key.tolist() == columns.key[[10, 6, 6]].tolist()
    np.testing.assert_array_equal(part.rgb[1:], np.asarray(columns.rgb)[[6, 6]])
    np.testing.assert_array_equal(part.facts["map_origin_m"], columns.facts["map_origin_m"][[10, 6, 6]])


def test_pages_are_let_go_of_and_read_again(prepared, monkeypatch):
    monkeypatch.setattr(column_files, "_RELEASE_BYTES", 1)
    ensure(prepared, "train")
    columns = read_columns(prepared, "train")
    np.testing.assert_array_equal(columns.rgb[:], columns.rgb[:])


def described(folder: Path) -> dict:
    return json.loads((folder / DESCRIPTION).read_text())


def truncated(folder: Path) -> None:
    os.truncate(folder / "rgb.npy", (folder / "rgb.npy").stat().st_size - 1)


def of_another_version(folder: Path) -> None:
    (folder / DESCRIPTION).write_text(json.dumps({**described(folder), "format": 99}))


def half_written(folder: Path) -> None:
    (folder / DESCRIPTION).unlink()


def of_other_keys(folder: Path) -> None:
    keys = np.load(folder / "key.npy")
    np.save(folder / "key.npy", keys[::-1].copy())


def broken_description(folder: Path) -> None:
    (folder / DESCRIPTION).write_text("[1, 2")


def without_a_column(folder: Path) -> None:
    (folder / "uv.npy").unlink()


def with_zeros(name: str, share: float):
    def spoil(folder: Path) -> None:
        path = folder / f"{name}.npy"
        with path.open("r+b") as file:
            file.seek(int(share * path.stat().st_size))
            file.write(bytes(4096 if name in PIXELS else 8))

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        with_zeros("rgb", 0.5),
        with_zeros("xyz", 0.7),
        with_zeros("K", 0.9),
        truncated,
        of_another_version,
        half_written,
        of_other_keys,
        broken_description,
        without_a_column,
    ],
)
def test_files_that_are_not_whole_are_not_mapped_and_are_written_again(prepared, spoil):
    decoded = read_columns(prepared, "train")
    ensure(prepared, "train")
    spoil(folder_of(prepared, "train"))
    assert open_columns(prepared, "train") is None
    assert_same(read_columns(prepared, "train"), decoded)  # of the records
    ensure(prepared, "train")
    assert_same(read_columns(prepared, "train"), decoded)
    assert open_columns(prepared, "train") is not None


def test_files_of_another_prepared_split(prepared, written, tmp_path):
    """The column files of one preparation, beside the records of another."""
    other = next(write_made_up_data(tmp_path / "other", labelled=frozenset()).glob("*/*/*"))
    ensure(other, "train")
    shutil.copytree(folder_of(other, "train"), folder_of(prepared, "train"))
    assert open_columns(prepared, "train") is None
    assert read_columns(prepared, "train").has_label.all()


def test_records_that_were_replaced_in_place(prepared):
    """Of equal size, as ArrayRecord pads its files, and with the same description."""
    ensure(prepared, "train")
    [records] = prepared.glob("*train*.array_record*")
    content = bytearray(records.read_bytes())
    content[len(content) // 3] ^= 1
    records.write_bytes(content)
    assert open_columns(prepared, "train") is None


def test_what_else_lies_in_the_folder_does_not_count(prepared):
    ensure(prepared, "train")
    (prepared / "notes.json").write_text("{}")
    assert open_columns(prepared, "train") is not None


def test_a_full_disk_leaves_nothing_and_the_records_are_decoded(prepared, monkeypatch, capsys):
    decoded = read_columns(prepared, "train")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(column_files, "begin", full)
    ensure(prepared, "train")
    assert "No space left" in capsys.readouterr().err
    assert not [path for path in prepared.iterdir() if path.is_dir()]
    assert_same(read_columns(prepared, "train"), decoded)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_can_only_be_read(prepared, capsys):
    prepared.chmod(0o555)
    try:
        ensure(prepared, "train")
        assert "every process decodes it into memory" in capsys.readouterr().err
        assert not read_columns(prepared, "train").facts
    finally:
        prepared.chmod(0o755)


def test_a_lock_that_cannot_be_made_is_no_error(prepared, monkeypatch, capsys):
    """As on a disk that can only be read, also for root."""

    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(column_files, "locked", refuse)
    ensure(prepared, "train")
    assert "Read-only file system" in capsys.readouterr().err
    assert not read_columns(prepared, "train").facts


def test_records_that_cannot_be_read_leave_no_column_files(prepared):
    [records] = prepared.glob("*train*.array_record*")
    os.truncate(records, records.stat().st_size // 2)
    with pytest.raises(DataError, match="cannot be read"):
        ensure(prepared, "train")
    assert not folder_of(prepared, "train").exists()


def test_several_processes_write_them_once(prepared):
    """All of them wait for the first, and map what it wrote."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        pool.starmap(ensure, [(prepared, "train")] * 3)
    assert open_columns(prepared, "train") is not None
    assert sorted(path.name for path in prepared.iterdir() if path.is_dir()) == ["columns_train"]
