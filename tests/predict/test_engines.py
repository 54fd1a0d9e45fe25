"""What runs a network: both engines give the same joints, and a graph that is not the network's is never run."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import write_export

import pmd_jax
from pmd_jax.models.description import DESCRIPTION, GRAPH
from pmd_jax.predict import engines
from pmd_jax.runtime import digest
from pmd_jax.runtime.errors import CheckpointError, InputError
from pmd_jax.runtime.files import write_json
from reference.made_up_columns import make_columns

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def by_jax(tiny_export):
    return pmd_jax.load(tiny_export, engine="jax")


def with_graph(export: Path, folder: Path, graph: bytes, recorded: bool = False) -> Path:
    """An export with another graph, its sums right: as another program could have left it."""
    copied = shutil.copytree(export, folder)
    (copied / GRAPH).write_bytes(graph)
    if recorded:
        described = json.loads((copied / DESCRIPTION).read_text())
        described["graph_sha256"] = hashlib.sha256(graph).hexdigest()
        write_json(copied / DESCRIPTION, described)
    digest.write(copied, (DESCRIPTION, "weights"))
    return copied


@pytest.mark.parametrize("path", [None, "tiny"])
def test_both_engines_agree(path, tiny_export):
    folder = path and tiny_export
    rgb = make_columns(7).rgb
    ours, theirs = (pmd_jax.load(folder, engine=engine) for engine in ("onnx", "jax"))
    assert (ours.engine, theirs.engine) == ("onnx", "jax")
    np.testing.assert_allclose(ours(rgb), theirs(rgb), atol=1e-5)


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_large_batches_go_in_parts_and_none_gives_none(engine, tiny_export, monkeypatch):
    monkeypatch.setattr(engines, "BATCH_LIMIT", 3)
    network, rgb = pmd_jax.load(tiny_export, engine=engine, threads=1), make_columns(7).rgb
    each = np.concatenate([network(crop[None]) for crop in rgb])
    np.testing.assert_allclose(network(rgb), each, atol=1e-5)
    assert network(rgb[:0]).shape == (0, 21, 3)


def test_no_part_is_larger_than_the_limit():
    sizes = []

    def run(rgb):
        sizes.append(len(rgb))
        return np.zeros((len(rgb), 21, 3), np.float32)

    joints = engines.in_parts(run, np.zeros((2 * engines.BATCH_LIMIT + 1, 64, 64, 3), np.uint8))
    assert sizes == [engines.BATCH_LIMIT, engines.BATCH_LIMIT, 1]
    assert len(joints) == 2 * engines.BATCH_LIMIT + 1


def test_few_sizes_are_compiled(by_jax):
    compiled = by_jax._run._run.func
    before = compiled._cache_size()
    for count in (3, 4, 5, 6, 7, 8):
        by_jax(np.zeros((count, 64, 64, 3), np.uint8))
    assert compiled._cache_size() - before <= 2


def damaged(export: Path, _: Path) -> bytes:
    graph = bytearray((export / GRAPH).read_bytes())
    graph[len(graph) // 2] ^= 1
    return bytes(graph)


def test_a_graph_that_is_gone(tiny_export, tmp_path, capfd):
    copied = shutil.copytree(tiny_export, tmp_path / "copied")
    (copied / GRAPH).unlink()
    assert pmd_jax.load(copied).engine == "jax"
    assert "it cannot be read" in capfd.readouterr().err


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_threads_that_are_no_number_of_them(threads, tiny_export):
    with pytest.raises(InputError, match="give a whole number of 1 or more"):
        pmd_jax.load(tiny_export, threads=threads)


def foreign(export: Path, tmp_path: Path) -> bytes:
    other = write_export(tmp_path / "other", "pmd_net_joint")
    graph = (other / GRAPH).read_bytes()
    assert graph != (export / GRAPH).read_bytes()
    return graph


def of_an_unknown_opset(export: Path, _: Path) -> bytes:
    proto = onnx.load(export / GRAPH)
    proto.opset_import[0].version = 999
    return proto.SerializeToString()


@pytest.mark.parametrize(
    ("graph_of", "recorded", "why"),
    [
        (damaged, False, "it is not the one that was saved with this network"),
        (foreign, False, "it is not the one that was saved with this network"),
        (of_an_unknown_opset, True, "cannot run it"),
        (lambda *_: b"no graph", True, "cannot run it"),
    ],
    ids=["damaged", "swapped", "unknown opset", "no graph"],
)
def test_a_graph_that_cannot_be_trusted_is_not_run(graph_of, recorded, why, tiny_export, tmp_path, capfd, by_jax):
    """The weights are the network; JAX runs them, and it is said."""
    folder = with_graph(tiny_export, tmp_path / "export", graph_of(tiny_export, tmp_path), recorded)
    network = pmd_jax.load(folder)
    assert network.engine == "jax"
    said = capfd.readouterr().err
    assert why in said
    assert "JAX runs the network" in said
    rgb = make_columns(2).rgb
    np.testing.assert_array_equal(network(rgb), by_jax(rgb))
    with pytest.raises(CheckpointError, match=why):
        pmd_jax.load(folder, engine="onnx")


def test_an_export_without_a_graph(tiny_export, tmp_path, capfd):
    older = shutil.copytree(tiny_export, tmp_path / "older")
    described = json.loads((older / DESCRIPTION).read_text())
    del described["graph_sha256"]
    write_json(older / DESCRIPTION, described)
    (older / GRAPH).unlink()
    digest.write(older, (DESCRIPTION, "weights"))
    assert pmd_jax.load(older).engine == "jax"
    assert "saved without one" in capfd.readouterr().err


def test_a_teacher_has_no_graph(tmp_path):
    assert not (write_export(tmp_path / "teacher", "depth_teacher") / GRAPH).exists()


def test_an_unknown_engine(tiny_export):
    with pytest.raises(InputError, match="engine = 'torch': choose from onnx, jax"):
        pmd_jax.load(tiny_export, engine="torch")


def test_jax_is_not_imported_for_a_picture():
    """Nor what brings it; a second on a machine that has it, and for nothing."""
    code = """
import sys
import numpy as np
from pmd_jax.predict import cli
import pmd_jax
network = pmd_jax.load(engine="onnx")
network(np.zeros((1, 64, 64, 3), np.uint8))
print(*sorted({"jax", "flax", "orbax", "optax", "grain", "tensorflow_datasets", "matplotlib"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
