"""The code that the pages for users show, run as it stands: quickstart, builder by example, notebook."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorflow_datasets.core.registered import skip_registration

from pmd_jax.config.methods import METHODS
from pmd_jax.data import cropping, hand
from pmd_jax.data.dataset import read_columns
from pmd_jax.data.labels import place_depth_origin, training_subset
from pmd_jax.prepare import preparation, registry
from pmd_jax.prepare.archive import Archive
from pmd_jax.runtime.errors import InputError
from reference import mini_recording

ROOT = Path(__file__).resolve().parent.parent


def python_of(page: str) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.S)
    return code


def test_quickstart(tmp_path, monkeypatch, capsys):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)).save(tmp_path / "hand.jpg")
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    exec(python_of("quickstart.md"), scope)
    pose = scope["pose"]
    assert capsys.readouterr().out.startswith("(21, 3)\n")
    np.testing.assert_allclose(pose.xyz_m, pose.joints * 0.09, atol=1e-6)


@pytest.mark.parametrize("page", ["README.md", "docs/api.md"])
def test_each_block_runs_on_its_own(page, tmp_path, monkeypatch, capsys):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)).save(tmp_path / "hand.jpg")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.S | re.M)
    assert blocks
    for block in blocks:
        scope: dict = {}
        exec(block, scope)
        assert scope["joints"].shape == (1, 21, 3) if "joints" in scope else scope["pose"].xyz_m.shape == (21, 3)


@pytest.fixture
def own_data(tmp_path, monkeypatch) -> Path:
    """A checkout's datasets/ with the page's builder, and raw frames: two for training, one for the test."""
    folder = tmp_path / "datasets" / "my_hands"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "my_hands_dataset_builder.py").write_text(python_of("your_data.md"))
    registry.register_datasets()
    from pmd_datasets.rendered_hands import generate, view

    drawn = generate.render(5, range(3), generate.Settings(view.FullFrame()))
    for i, split in enumerate(("train", "train", "test")):
        raw = tmp_path / "raw" / "my_hands" / split
        raw.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn["rgb"][i]).save(raw / f"{i:04d}.jpg")
        Image.fromarray((drawn["depth"][i] // 10).astype(np.uint16)).save(raw / f"{i:04d}.png")
        names = {"K": "K", "xyz_m": "xyz", "visible": "visible", "is_left": "is_left"}
        (raw / f"{i:04d}.json").write_text(json.dumps({name: drawn[ours][i].tolist() for name, ours in names.items()}))
    np.savez(tmp_path / "truth.npz", xyz=drawn["xyz"])
    for name in [name for name in sys.modules if name.split(".")[0] == "pmd_datasets"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(registry, "DATASETS", tmp_path / "datasets")
    with skip_registration():  # the builder has the same name in each test
        yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "pmd_datasets"]:
        del sys.modules[name]  # the next test finds the real ones again


def test_the_builder_by_example(own_data):
    assert len(python_of("your_data.md").splitlines()) <= 60
    folder = preparation.prepare("my_hands", data_dir=own_data / "prepared", manual_dir=own_data / "raw")
    truth = np.load(own_data / "truth.npz")["xyz"]
    train, test = read_columns(folder, "train"), read_columns(folder, "test")
    order = np.argsort(train.xyz[:, 0, 0])
    np.testing.assert_allclose(train.xyz[order], truth[:2][np.argsort(truth[:2, 0, 0])], atol=1e-6)
    np.testing.assert_allclose(test.xyz, truth[2:], atol=1e-6)
    np.testing.assert_allclose(hand.project(test.xyz, test.K), test.uv, atol=1e-2)
    depth = np.asarray(test.depth)
    hands_depth_m = depth[depth > 0] * hand.DEPTH_UNIT_M
    assert abs(np.median(hands_depth_m) - truth[2, :, 2].mean()) < 0.1


def test_a_frame_that_cannot_be_right_is_named(own_data):
    path = own_data / "raw" / "my_hands" / "train" / "0001.json"
    frame = json.loads(path.read_text())
    path.write_text(json.dumps(frame | {"xyz_m": (1000 * np.array(frame["xyz_m"])).tolist()}))
    with pytest.raises(InputError, match=r"^my_hands/train/0001: .* m apart .* give joints in metres"):
        preparation.prepare("my_hands", data_dir=own_data / "prepared", manual_dir=own_data / "raw")
    assert not list((own_data / "prepared" / "my_hands").glob("[!.]*/*"))


def test_frames_without_labels(own_data):
    """The page's builder with the changes that the page describes; nothing of such a frame needs a joint."""
    code = python_of("your_data.md")
    for before, after in (
        ("margin=1.5,", 'margin=1.5,\n                mask=hand_masks(depth_m, np.array(frame["K"]))[0],'),
        ('name="default"', 'name="mask_box"'),
        ("import prepared_example", "import prepared_example\nfrom pmd_jax.data.hand_segment import hand_masks"),
    ):
        assert code.count(before) == 1
        code = code.replace(before, after)
    (own_data / "datasets" / "my_hands" / "my_hands_dataset_builder.py").write_text(code)
    frame = own_data / "raw" / "my_hands" / "train" / "0001.json"
    nobodys = json.loads(frame.read_text()) | {"xyz_m": [[float("nan")] * 3] * 21, "visible": [False] * 21}
    frame.write_text(json.dumps(nobodys))
    places = {"data_dir": own_data / "prepared", "manual_dir": own_data / "raw"}
    folder = preparation.prepare("my_hands", **places, dataset_config="mask_box")
    train = read_columns(folder, "train")
    assert dict(zip(train.key, train.has_label.tolist(), strict=True)) == {
        "my_hands/train/0000": True,
        "my_hands/train/0001": False,
    }
    assert 1 < cropping.crop_margin(train.uv[train.has_label]) < 2.5
    assert np.asarray(train.depth).any((1, 2)).all()
    part = training_subset(METHODS["pmd_net_unlabelled"], place_depth_origin(train, "map"))
    assert np.isfinite(part.depth_origin_m).all()


def test_a_frame_of_any_camera_in_the_folder_form(tmp_path, monkeypatch):
    """The page's lines and its intrinsics.json make a recording that preparation reads."""
    registry.register_datasets()
    from pmd_datasets.rgbd_folder import frames, layout

    (drawn,) = mini_recording.hands(1, seed=2, scale=4)
    monkeypatch.chdir(tmp_path)
    depth_m = np.where(drawn["depth"] > 0, drawn["depth"] * hand.DEPTH_UNIT_M, np.nan)
    exec(python_of("your_camera.md"), {"rgb": drawn["rgb"], "depth_m": depth_m})
    (described,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "your_camera.md").read_text(), re.S)
    folder = tmp_path / "data" / "raw" / "rgbd_folder" / "phone"
    (folder / "intrinsics.json").write_text(described)
    recording = layout.read_recording(Archive(folder))
    frames.check_unit(recording)
    (example,) = frames.read_task(frames.Task(recording)).examples
    assert example["key"] == "rgbd_folder/train/phone/000000/right"
    assert np.isnan(example["xyz"]).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Jupyter's own
def test_the_notebook(monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert 0 < float(outputs[-1]["data"]["text/plain"]) < 100  # mm: a hand, not noise
