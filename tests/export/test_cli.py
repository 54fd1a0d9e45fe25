"""The export command: what it leaves, that it runs without us, and what it says of bad input."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import jax
import numpy as np
import pytest
from conftest import redescribe, small_config, write_export

import pmd_jax
from pmd_jax.config import DataConfig, UnlabelledConfig, config_hash
from pmd_jax.export import cli, model_card, verify
from pmd_jax.export.formats import Format
from pmd_jax.models import saved_model
from pmd_jax.predict import predictor
from pmd_jax.runtime import errors
from pmd_jax.runtime.errors import InputError
from reference.made_up_columns import make_columns

for module in ("onnx", "onnxruntime", "flatbuffers"):
    pytest.importorskip(module, reason="needs the extra 'export'")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """What a finished run leaves of its network and its figures."""
    workdir = tmp_path_factory.mktemp("run")
    write_export(workdir / "export")
    figures = {"title": "RGB baseline", "epe_mm": 31.415, "epe_median_mm": 27.18, "auc_20_50": 0.577, "samples": 2000}
    records = {
        "dataset": "rendered_hands/default",
        "split": "test",
        "protocol": "the protocol of this run",
        "command": "python -m pmd_jax.main --config=launch/demo.py",
        "hardware": {"devices": "1 × cpu", "cpu": "a processor"},
        "versions": {"jax": "0.10.2"},
        "finished": "2026-11-25T00:00:00+00:00",
        "config_hash": config_hash(small_config()),
        "rows": {"rgb_baseline": figures},
    }
    (workdir / "results.json").write_text(json.dumps(records))
    return workdir


@pytest.fixture(scope="module")
def exported(run_folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "new" / "hand"
    assert cli.main([f"--checkpoint={run_folder / 'export'}", f"--out={out}"]) == 0
    return out


def snippets(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


def run_alone(code: str, folder: Path, rgb: np.ndarray) -> np.ndarray:
    """Runs code that defines `predict`, in a new process; without our package unless it names it."""
    alone = "" if "pmd_jax" in code else 'import sys; sys.modules["pmd_jax"] = None\n'
    np.save(folder.parent / "rgb.npy", rgb)
    end = '\nimport numpy as np\nnp.save("../joints.npy", predict(np.load("../rgb.npy")))\n'
    environment = {"PYTHONPATH": "" if alone else str(ROOT), "JAX_PLATFORMS": "cpu", "HOME": str(folder)}
    command = [sys.executable, "-c", alone + code + end]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return np.load(folder.parent / "joints.npy")


def test_it_leaves_what_was_promised(exported):
    orbax = {"network.json", "network.onnx", "weights", "digest.json", "results.json"}
    others = {"model.stablehlo", "model.onnx", "export.json", "MODEL_CARD.md"}
    assert {path.name for path in exported.iterdir()} == orbax | others
    assert not list(exported.parent.glob("*unfinished*"))
    summary = json.loads((exported / "export.json").read_text())
    assert list(summary["formats"]) == ["orbax", "stablehlo", "onnx"]
    for result in summary["formats"].values():
        assert result["pictures_compared"] == 64
        assert result["largest_deviation"] <= 1e-4
        assert result["ms_per_picture"] > 0
    assert summary["formats"]["onnx"]["size_bytes"] == (exported / "model.onnx").stat().st_size


def test_weights_that_are_not_the_networks_are_a_fault(exported, run_folder):
    network = predictor.read_student(run_folder / "export")
    verify.check_weights(exported, network)
    other = network._replace(weights=jax.tree.map(lambda x: x + 1e-6, network.weights))
    with pytest.raises(RuntimeError, match="does not hold the network's weights"):
        verify.check_weights(exported, other)


def test_the_cards_code_runs_as_it_stands(exported, run_folder):
    """Each format in a process of its own; pictures other than those it was checked with, and a batch of its own."""
    rgb = make_columns(3, seed=7).rgb
    expected = pmd_jax.load(run_folder / "export")(rgb)
    codes = snippets(exported / "MODEL_CARD.md")
    assert ["pmd_jax" in code for code in codes] == [True, False, False]
    for code in codes:
        np.testing.assert_allclose(run_alone(code, exported, rgb), expected, atol=1e-4)


def test_one_artefact_for_all_platforms_and_batches(exported):
    program = jax.export.deserialize(bytearray((exported / "model.stablehlo").read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu")
    (crops,), (joints,) = program.in_avals, program.out_avals
    assert (str(crops.dtype), crops.shape[1:]) == ("uint8", (64, 64, 3))
    assert (str(joints.dtype), joints.shape[1:]) == ("float32", (21, 3))
    assert not isinstance(crops.shape[0], int)
    assert crops.shape[0] == joints.shape[0]


def test_every_jax_writes_the_same_stablehlo(exported):
    """Otherwise what the newer of our two pins writes could not be read with the older one."""
    program = jax.export.deserialize(bytearray((exported / "model.stablehlo").read_bytes()))
    assert b"StableHLO_v1.13.0" in program.mlir_module_serialized[:40]
    assert json.loads((exported / "export.json").read_text())["versions"]["stablehlo"] == "1.13.0"


def test_weights_that_may_not_be_read_are_not_to_be_deleted(run_folder, tmp_path, monkeypatch, capsys):
    """The tests may run as root, who may read anything."""
    source = shutil.copytree(run_folder / "export", tmp_path / "source")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "weights" and access(path, mode))
    assert cli.main([f"--checkpoint={source}", "--formats=onnx", f"--out={tmp_path / 'out'}"]) == 2
    said = capsys.readouterr().err
    assert f"{source / 'weights'} may not be read by you" in said
    assert "delete" not in said


def test_the_home_folder_may_be_written_as_a_tilde(run_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(run_folder / "export", tmp_path / "source")
    assert cli.main(["--checkpoint=~/source", "--formats=onnx", "--out=~/out"]) == 0
    assert (tmp_path / "out" / "model.onnx").is_file()


def test_the_card_is_the_runs(exported):
    card = (exported / "MODEL_CARD.md").read_text()
    for words in ("31.41", "27.18", "0.577", "2,000", "the protocol of this run", "launch/demo.py", "RGB baseline"):
        assert words in card
    for words in ("about 1.5 times as wide", "made from the true joints"):
        assert words in card
    assert "| labels |" not in card


@pytest.mark.parametrize(("without_labels", "words"), [(0, "without use of the others"), (13_000, "of 13,000 more")])
def test_the_card_of_few_labels_and_crops_without_joints(exported, without_labels, words):
    network = saved_model.read(exported)
    config = dataclasses.replace(network.config)
    config.data = DataConfig(dataset="stb", dataset_config="mask_box", labelled=3000.0)
    summary, records = (json.loads((exported / name).read_text()) for name in ("export.json", "results.json"))
    records["rows"]["rgb_baseline"] |= {"labels": 3000, "without_labels": without_labels}
    card = model_card.render(network._replace(config=config, crop_margin=2.38), summary, records)
    assert "about 2.4 times as wide as the joints' larger" in card
    assert "| labels | 3,000 samples" in card
    assert words in card
    assert "made from the true outline of the hand" in card
    assert "true joints" not in card
    assert "| without labels |" not in card


def test_the_card_names_the_data_set_that_was_learnt_from_without_labels(exported):
    network = saved_model.read(exported)
    config = dataclasses.replace(network.config)
    config.data = DataConfig(dataset_config="mask_box", unlabelled=UnlabelledConfig("my_hands"))
    summary, records = (json.loads((exported / name).read_text()) for name in ("export.json", "results.json"))
    records["rows"]["rgb_baseline"]["unlabelled"] = {"split": "test", "epe_mm": 21.5}
    card = model_card.render(network._replace(config=config), summary, records)
    assert (
        "| without labels | my_hands, configuration `mask_box`, train split; EPE on its test split 21.50 mm |" in card
    )
    assert "measured on rendered hands only" not in card


def test_an_export_can_be_exported_again(exported, tmp_path):
    """With its records: they travel with the weights."""
    again = shutil.copytree(exported, tmp_path / "carried")
    (again / "model.stablehlo").unlink()
    summary = cli.export(again, ["onnx"], again)
    assert set(summary["formats"]) == {"orbax", "stablehlo", "onnx"}
    assert "31.41" in (again / "MODEL_CARD.md").read_text()


def test_other_files_in_the_folder_are_left_alone(run_folder, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    cli.export(run_folder / "export", ["onnx"], tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "model.onnx").is_file()


def test_without_a_checkpoint_it_is_the_demo_network(run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(predictor, "DEMO", run_folder / "export")
    assert cli.export(None, ["onnx"], tmp_path / "hand")["row"] == "rgb_baseline"


def refused(capsys, *arguments: str) -> str:
    """The sentence of a command that refuses its input."""
    assert cli.main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert said.startswith("Error: ")
    assert len(said.splitlines()) == 1
    return said


@pytest.mark.parametrize(
    ("formats", "sentence"),
    [("onnx,tflite", "'tflite' unknown; choose from orbax,stablehlo,onnx"), ("", "'' unknown")],
)
def test_an_unknown_format(run_folder, tmp_path, capsys, formats, sentence):
    out = tmp_path / "out"
    said = refused(capsys, f"--checkpoint={run_folder / 'export'}", f"--formats={formats}", f"--out={out}")
    assert sentence in said
    assert not out.exists()


def test_a_checkpoint_that_cannot_be_used(run_folder, tmp_path, capsys):
    broken = shutil.copytree(run_folder / "export", tmp_path / "broken")
    described = json.loads((broken / "network.json").read_text())
    redescribe(broken, json.dumps(described | {"format": 99}))
    teacher = write_export(tmp_path / "teacher", "depth_teacher")
    for checkpoint, sentence in (
        (tmp_path / "nothing", "holds no network.json"),
        (broken, "export format 99, this version reads 1"),
        (teacher, "'depth_teacher', which sees depth"),
    ):
        assert sentence in refused(capsys, f"--checkpoint={checkpoint}", f"--out={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_used(run_folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    other = write_export(tmp_path / "other", "pmd_net_refine")
    network = (other / "network.json").read_text()
    for out, sentence in (
        (tmp_path / "file", "is a file; name a folder"),
        (other, "holds another network"),
        (tmp_path / "file" / "below", "could not be written"),
    ):
        said = refused(capsys, f"--checkpoint={run_folder / 'export'}", "--formats=onnx", f"--out={out}")
        assert sentence in said
    assert (other / "network.json").read_text() == network
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "other"]


def test_a_missing_extra_is_named(run_folder, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else find(name))
    with pytest.raises(InputError, match=r"onnx not found.*pip install .*\[export\]"):
        cli.export(run_folder / "export", ["orbax", "onnx"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_deviates_is_said_so(tmp_path):
    form = Format(("model.txt",), ("numpy",), (), lambda *_: None, "predict = lambda rgb: rgb[:, :21, 0] / 1")
    crops = make_columns(2).rgb
    with pytest.raises(RuntimeError, match=r"model\.txt deviates from the network by 1\.0e-03"):
        verify.check(tmp_path, form, crops, crops[:, :21, 0] + 1e-3)


def test_what_cannot_be_checked_is_not_left_behind(run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "TOLERANCE", -1.0)
    with pytest.raises(RuntimeError, match="deviates from the network"):
        cli.export(run_folder / "export", ["onnx"], tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_ctrl_c_in_an_export_leaves_nothing(run_folder, tmp_path, monkeypatch, capsys):
    """All formats are written by then, and none is where it was to be."""
    monkeypatch.setattr(cli, "compare", Mock(side_effect=KeyboardInterrupt))
    arguments = [f"--checkpoint={run_folder / 'export'}", "--formats=onnx", f"--out={tmp_path / 'out'}"]
    assert cli.main(arguments) == errors.EXIT_INTERRUPTED
    assert capsys.readouterr().err == "Interrupted.\n"
    assert not list(tmp_path.iterdir())


def test_made_up_crops_are_always_the_same():
    crops = verify.made_up_crops()
    assert (crops.shape, crops.dtype) == ((64, 64, 64, 3), np.uint8)
    np.testing.assert_array_equal(crops, verify.made_up_crops())
    assert crops.std(axis=(1, 2, 3)).min() > 20
