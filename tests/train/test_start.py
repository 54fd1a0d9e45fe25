"""The network that students begin with: its weights are taken, and what does not fit is named."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from conftest import small_config, write_export

from pmd_jax.models import saved_model
from pmd_jax.runtime import sharding
from pmd_jax.runtime.errors import CheckpointError
from pmd_jax.train.start import read_start


@pytest.fixture
def mesh() -> jax.sharding.Mesh:
    return sharding.make_mesh(jax.devices()[:1])


def starting(source, **changes):
    return small_config(start_from=str(source), **{"rows": ("pmd_net_unlabelled",), **changes})


def test_it_is_found_in_an_export_and_in_a_run(tmp_path, mesh):
    folder = write_export(tmp_path / "run" / "export", "pmd_net")
    saved = saved_model.read(folder)
    found = [read_start(starting(place), mesh) for place in (folder, tmp_path / "run")]
    assert found[0].digest == found[1].digest
    assert found[0].title == "PMD-Net"
    for ours, theirs in zip(jax.tree.leaves(found[0].weights), jax.tree.leaves(saved.weights), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert read_start(small_config(), mesh) is None


def test_other_weights_have_another_name(tmp_path, mesh):
    names = set()
    for seed in (0, 1):
        config = small_config()
        _, weights = saved_model.build(config, saved_model.METHODS["rgb_baseline"], seed)
        saved_model.save(tmp_path / str(seed), "rgb_baseline", config, weights)
        names.add(read_start(starting(tmp_path / str(seed)), mesh).digest)
    assert len(names) == 2


@pytest.mark.parametrize(
    ("row", "changes", "words"),
    [
        ("pmd_net", {"rows": ("pmd_net_plus_unlabelled",)}, "pool is 'average' there and 'attention' here"),
        ("pmd_net_joint", {}, "heads is 'joint' there and 'separate' here"),
        ("pmd_net_refine", {}, "refine is True there and False here"),
        ("depth_teacher", {}, "modality is 'depth' there and 'rgb' here"),
        ("pmd_net", {"width": 6}, "config.model.width is 4 there and 6 here"),
        ("pmd_net", {"reading": "64/32/16/8"}, "config.model.reading is '32/16/8/8' there"),
    ],
)
def test_a_network_that_does_not_fit(tmp_path, mesh, row, changes, words):
    write_export(tmp_path / "export", row)
    config = starting(tmp_path, **{name: value for name, value in changes.items() if name == "rows"})
    for name in changes.keys() - {"rows"}:
        setattr(config.model, name, changes[name])
    with pytest.raises(CheckpointError, match=f"start_from = .* cannot begin with this network: .*{words}"):
        read_start(config, mesh)


def test_nothing_is_there(tmp_path, mesh):
    with pytest.raises(CheckpointError, match=r"start_from = .*: there is no exported network; give an export folder"):
        read_start(starting(tmp_path / "nowhere"), mesh)
