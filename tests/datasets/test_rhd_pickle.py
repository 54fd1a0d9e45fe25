"""The annotation pickle is read whoever wrote it, and never run."""

from __future__ import annotations

import io
import os
import pickle
import struct

import numpy as np
import pytest

from pmd_jax.prepare import registry
from pmd_jax.prepare.archive import Archive
from pmd_jax.runtime.errors import ArchiveError
from reference import mini_archives
from reference.numpy_pickle import NumpyPickler

registry.register_datasets()

from pmd_datasets.rhd import annotations, safe_pickle  # noqa: E402

VALUE = {
    0: {
        "xyz": np.arange(6.0).reshape(2, 3) / 7,
        "fortran": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        "single": np.float32(1.5),
        "seen": np.array([True, False]),
        "empty": np.zeros((0, 3), np.float32),
        "plain": [1, (2.5, None, "text"), True],
    }
}


def dump(value: object, protocol: int, numpy_package: str = "numpy.core", pickler=NumpyPickler) -> bytes:
    file = io.BytesIO()
    pickler(file, protocol, numpy_package).dump(value)
    return file.getvalue()


class Python2Pickler(NumpyPickler):
    """Writes text and bytes alike as Python 2 wrote its byte strings."""

    def save_byte_string(self, value):
        data = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch = NumpyPickler.dispatch | {bytes: save_byte_string, str: save_byte_string}


@pytest.mark.parametrize("numpy_package", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_every_protocol_and_numpy(protocol, numpy_package):
    data = dump(VALUE, protocol, numpy_package)
    other = {"numpy.core": b"numpy._core", "numpy._core": b"numpy.core"}[numpy_package]
    assert numpy_package.encode() in data
    assert other not in data
    assert_same(safe_pickle.loads(data))


def test_pickles_of_python_2():
    data = dump(VALUE, 2, pickler=Python2Pickler)
    assert b"_codecs" not in data  # its arrays hold byte strings as they are
    assert_same(safe_pickle.loads(data))


def assert_same(value):
    got, expected = value[0], VALUE[0]
    assert got.keys() == expected.keys()
    assert got["plain"] == expected["plain"]
    for name in ("xyz", "fortran", "single", "seen", "empty"):
        np.testing.assert_array_equal(got[name], expected[name])
        assert got[name].dtype == expected[name].dtype


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "ran"
    name = annotations.annotation_name("train")
    for protocol in range(6):
        mini_archives.write_tree(tmp_path, {name: pickle.dumps({0: Runs(marker)}, protocol=protocol)})
        with pytest.raises(ArchiveError, match=r"anno_training.pickle: .*system, which could run code; nothing"):
            annotations.read_annotations(Archive(tmp_path), "train", allow_partial=True)
    assert not marker.exists()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"cbuiltins\neval\n(S'1'\ntR.", id="builtin"),
        pytest.param(b"cnumpy\nload\n(S'x'\ntR.", id="numpy function"),
        pytest.param(b"cnumpy\nndarray\n(I9\ntR.", id="array by its constructor"),
        pytest.param(b"c_codecs\nencode\n(Vx\nVzip_codec\ntR.", id="another codec"),
        pytest.param(b"c__builtin__\nbytes\n(I999999999\ntR.", id="bytes of any size"),
        pytest.param(b"Pname\n.", id="persistent id"),
        pytest.param(pickle.dumps(np.array([{}, "x"], object)), id="objects in an array"),
        pytest.param(pickle.dumps(np.zeros(3, [("a", "f8"), ("b", "O")])), id="structured array"),
        pytest.param(pickle.dumps({1, 2}), id="set"),
        pytest.param(pickle.dumps(np.ma.zeros(3)), id="array subclass"),
        pytest.param(dump(VALUE, 2)[:-30], id="truncated"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\x80\x02garbage", id="garbage"),
        pytest.param(dump(np.zeros(4), 2).replace(b"K\x04\x85", b"K\x05\x85"), id="shape beyond its bytes"),
    ],
)
def test_anything_but_plain_arrays_is_refused(data):
    with pytest.raises(ValueError, match=r".+"):
        safe_pickle.loads(data)


def test_deep_nesting_is_refused():
    with pytest.raises(ValueError, match="nested"):
        safe_pickle.loads(b"(" * 100_000 + b"l" * 100_000 + b".")


def write(tmp_path, entries: object) -> Archive:
    mini_archives.write_tree(tmp_path, {annotations.annotation_name("train"): pickle.dumps(entries)})
    return Archive(tmp_path)


def test_frame_count_must_be_the_data_sets(tmp_path):
    archive = write(tmp_path, {0: {}, 1: {}})
    with pytest.raises(ArchiveError, match=r"2 frames; RHD has 41,258 .*--allow_partial"):
        annotations.read_annotations(archive, "train", allow_partial=False)
    assert len(annotations.read_annotations(archive, "train", allow_partial=True)) == 2


@pytest.mark.parametrize("entries", [[], {"a": {}}, {-1: {}}, 7, {}])
def test_a_pickle_of_something_else_is_refused(tmp_path, entries):
    with pytest.raises(ArchiveError, match=r"anno_training\.pickle: (not RHD's annotation|0 frames)"):
        annotations.read_annotations(write(tmp_path, entries), "train", allow_partial=True)


def test_more_frames_than_published_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(annotations.FRAMES, "train", 1)
    with pytest.raises(ArchiveError, match="2 frames; RHD has 1 here"):
        annotations.read_annotations(write(tmp_path, {0: {}, 1: {}}), "train", allow_partial=True)


def test_orders_are_their_own_inverse_and_agree_with_the_writer():
    order = annotations.TO_OUR_ORDER
    np.testing.assert_array_equal(order[order], np.arange(21))
    np.testing.assert_array_equal(mini_archives.rhd_rows(np.arange(21))[order], np.arange(21))
