"""Networks whose heads read by maps, as they are saved, exported and run; and folders of one kind read as another."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import redescribe, write_export

import pmd_jax
from pmd_jax.export.formats import folded, in_float32, stablehlo
from pmd_jax.models import saved_model
from pmd_jax.models.description import DESCRIPTION
from pmd_jax.runtime.errors import CheckpointError
from reference.made_up_columns import make_columns


@pytest.fixture(scope="module", params=["pmd_net_plus", "pmd_net_heatmap", "pmd_net_shared_maps"])
def export(request, tmp_path_factory) -> Path:
    return write_export(tmp_path_factory.mktemp("spatial") / "export", request.param)


def test_both_engines_and_stablehlo_agree(export):
    rgb = make_columns(5).rgb
    ours, theirs = (pmd_jax.load(export, engine=engine) for engine in ("onnx", "jax"))
    assert (ours.engine, theirs.engine) == ("onnx", "jax")
    np.testing.assert_allclose(ours(rgb), theirs(rgb), atol=1e-5)
    program = jax.export.deserialize(bytearray(stablehlo(folded(in_float32(saved_model.read(export))))))
    np.testing.assert_allclose(program.call(rgb), theirs(rgb), atol=1e-5)


@pytest.mark.parametrize(("saved", "read_as"), [("pmd_net", "pmd_net_plus"), ("pmd_net_plus", "pmd_net")])
def test_a_folder_of_one_kind_read_as_the_other_names_what_differs(tmp_path, saved, read_as):
    folder = write_export(tmp_path / "export", saved)
    described = json.loads((folder / DESCRIPTION).read_text())
    redescribe(folder, json.dumps({**described, "row": read_as}))
    with pytest.raises(CheckpointError, match="holds another network") as caught:
        saved_model.read(folder)
    lines = {line.split(":")[0].strip(): line for line in str(caught.value).splitlines()[1:]}
    heads = {f"params/heads/{axis}/fc1/kernel" for axis in range(3)}
    pool = {f"params/pool/{layer}/{part}" for layer in ("maps", "values") for part in ("kernel", "bias")}
    assert lines.keys() == heads | pool
    absent = "checkpoint" if saved == "pmd_net" else "network"
    assert all(f"absent in th{'e' if absent == 'checkpoint' else 'is'} {absent}" in lines[path] for path in pool)
