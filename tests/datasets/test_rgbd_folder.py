"""Recordings in the folder form give back what they were made of; what is wrong with one is said."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pmd_jax.config.methods import METHODS
from pmd_jax.data import cropping, hand
from pmd_jax.data.dataset import read_columns
from pmd_jax.data.labels import place_depth_origin, training_subset
from pmd_jax.data.recordings import moment
from pmd_jax.prepare import cli, preparation, raw_builder, registry
from pmd_jax.prepare.archive import Archive
from pmd_jax.runtime.errors import ArchiveError
from reference import mini_recording

registry.register_datasets()

from pmd_datasets.rgbd_folder import frames, layout  # noqa: E402

WALL = np.full((mini_recording.HEIGHT, mini_recording.WIDTH), mini_recording.WALL_M)


@pytest.fixture(scope="module")
def drawn() -> list[dict[str, np.ndarray]]:
    return mini_recording.hands(6, seed=3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, drawn) -> Path:
    return mini_recording.write(tmp_path_factory.mktemp("whole") / "kitchen", drawn)


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    """A recording to break."""
    return Path(shutil.copytree(whole, tmp_path / "raw" / "rgbd_folder" / "kitchen"))


def describe(folder: Path, **changes: object) -> None:
    """Changes intrinsics.json; None takes a name away."""
    path = folder / "intrinsics.json"
    described = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in described.items() if value is not None}))


def read(folder: Path) -> frames.Outcome:
    recording = layout.read_recording(Archive(folder))
    frames.check_unit(recording)
    return frames.read_task(frames.Task(recording))


# ---- what comes out


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, drawn) -> Path:
    """One recording with joints, of which a frame shows only a wall; one without; one of a left hand for the test."""
    root = tmp_path_factory.mktemp("prepared")
    raw = root / "raw" / "rgbd_folder"
    mini_recording.write_depth(mini_recording.write(raw / "kitchen", drawn), 2, WALL)
    mini_recording.write(raw / "office", drawn[3:], joints=False)
    mini_recording.write(raw / "test", mini_recording.hands(2, 4, "left"), side="left", split="test")
    return preparation.prepare(
        "rgbd_folder", data_dir=root / "data", manual_dir=root / "raw", dataset_config="mask_box"
    )


def test_a_frame_becomes_a_sample_with_its_truth(prepared, drawn):
    train, test = read_columns(prepared, "train"), read_columns(prepared, "test")
    assert train.key.tolist() == [
        *(f"rgbd_folder/train/kitchen/{number:06d}/right" for number in (0, 1, 3, 4, 5)),
        *(f"rgbd_folder/train/office/{number:06d}/right" for number in range(3)),
    ]
    truth = np.stack([drawn[number]["xyz"] for number in (0, 1, 3, 4, 5)])
    np.testing.assert_allclose(train.xyz[:5], truth, atol=1e-6)
    np.testing.assert_allclose(hand.project(train.xyz[:5], train.K[:5]), train.uv[:5], atol=1e-2)
    assert 1.3 < cropping.crop_margin(train.uv[:5]) < 1.9
    assert test.is_left.all()
    assert not train.is_left.any()


def test_frames_without_joints_are_unlabelled_samples(prepared):
    train = read_columns(prepared, "train")
    assert train.has_label.tolist() == [True] * 5 + [False] * 3
    part = training_subset(METHODS["pmd_net_unlabelled"], place_depth_origin(train, "map"))
    assert np.isfinite(part.depth_origin_m).all()


def test_a_recording_is_a_film(prepared):
    keys = read_columns(prepared, "train").key
    assert moment(keys[-1]) == ("rgbd_folder/train/office", 2)


def test_the_summary_counts_frames_without_a_hand(prepared):
    summary = raw_builder.read_summary(prepared)
    assert summary["splits"]["train"]["without_hand"] == {"kitchen": {"without_hand": 1, "frames": 6}}
    assert "kitchen: no hand in 1 of 6 frames" in cli.describe(prepared)
    with Image.open(prepared / "contact_sheet.png") as sheet:
        assert sheet.height > 64


# ---- labels, boxes, two hands


def test_joints_can_come_in_lines(folder):
    by_file = read(folder).examples
    lines = [
        json.dumps({"frame": path.stem, **json.loads(path.read_text())}) for path in sorted(folder.glob("joints/*"))
    ]
    shutil.rmtree(folder / "joints")
    (folder / "joints.jsonl").write_text("\n".join(lines[:2]) + "\n")
    by_line = read(folder).examples
    np.testing.assert_array_equal(by_line[1]["xyz"], by_file[1]["xyz"])
    assert np.isnan(by_line[2]["xyz"]).all()


def test_boxes_that_are_given_are_the_crops(folder):
    (folder / "boxes.json").write_text(json.dumps({"000001": {"right": [30, 20, 90]}}))
    outcome = read(folder)
    assert (len(outcome.examples), outcome.without_hand) == (1, 5)
    expected = cropping.crop_intrinsics(
        layout.read_recording(Archive(folder)).description.K, cropping.CropBox(30, 20, 90), 64
    )
    np.testing.assert_allclose(outcome.examples[0]["K"], expected, rtol=1e-6)


def side_by_side(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Two pictures as one of twice the width."""
    return {name: np.concatenate([one[name], other[name]], axis=1) for name in ("rgb", "depth")}


def test_two_hands_are_told_by_their_order(tmp_path, drawn):
    both = [side_by_side(drawn[0], drawn[1])]
    size = {"width": 2 * mini_recording.WIDTH, "cx": float(mini_recording.WIDTH), "hand": "both"}
    folder = mini_recording.write(tmp_path / "both", both, joints=False, **size, order=["right", "left"])
    mini_recording.write_depth(folder, 1, np.where(drawn[0]["depth"] > 0, drawn[0]["depth"] * 1e-4, 1.8).repeat(2, 1))
    shutil.copy(folder / "color" / "000000.jpg", folder / "color" / "000001.jpg")
    outcome = read(folder)
    assert [example["key"].rpartition("/")[2] for example in outcome.examples[:2]] == ["right", "left"]
    assert [example["is_left"] for example in outcome.examples[:2]] == [False, True]
    left_edges = [-example["K"][0, 2] / example["K"][0, 0] for example in outcome.examples[:2]]
    assert left_edges[0] < left_edges[1]
    describe(folder, order=None)
    with pytest.raises(ArchiveError, match="needs order"):
        read(folder)


# ---- bad input


def other_size(folder: Path) -> None:
    Image.new("RGB", (80, 60)).save(folder / "color" / "000003.jpg")


def missing_depth(folder: Path) -> None:
    (folder / "depth" / "000004.png").unlink()


def eight_bits(folder: Path) -> None:
    for path in folder.glob("depth/*"):
        Image.new("L", (mini_recording.WIDTH, mini_recording.HEIGHT), 90).save(path)


def empty_depth(folder: Path) -> None:
    for number in range(6):
        mini_recording.write_depth(folder, number, 0 * WALL)


def wrong_joints(folder: Path) -> None:
    (folder / "joints" / "000001.json").write_text('{"right": [[0, 0, NaN]]}')


def other_name(folder: Path) -> None:
    (folder / "color" / "000001.jpg").rename(folder / "color" / "IMG_1.jpg")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (other_size, r"000003\.jpg: a picture of 80 × 60, RGB; 160 × 120, RGB, belongs here"),
        (missing_depth, "6 colour pictures and 5 depth maps; 1 frame.* without the other: 000004"),
        (eight_bits, r"000000\.png: a picture of 160 × 120, grey of 8 bits; 160 × 120, grey of 16 bits, belongs here"),
        (empty_depth, r"000000\.png: the depth map is empty"),
        (wrong_joints, r"joints/000001\.json: right: 21 × 3 finite numbers belong here"),
        (other_name, r"IMG_1\.jpg: not called like a frame; call them 000000\.jpg"),
        (lambda f: (f / "intrinsics.json").unlink(), r"intrinsics\.json: missing"),
        (lambda f: (f / "intrinsics.json").write_text("fx: 1"), r"intrinsics\.json: not JSON"),
        (lambda f: describe(f, fx=None), r"intrinsics\.json: fx is missing"),
        (lambda f: describe(f, fx="150"), r"intrinsics\.json: fx = '150': give a number"),
        (lambda f: describe(f, fx=0.15), r"intrinsics\.json: fx, fy = 0\.15, 150 pixels .* no camera has that"),
        (lambda f: describe(f, cx=500), r"intrinsics\.json: cx, cy = 500, 60 lies outside pictures of 160 × 120"),
        (lambda f: describe(f, width=640, height=480), r"a picture of 160 × 120, grey of 16 bits; 640 × 480"),
        (lambda f: describe(f, hand="lefty"), r"intrinsics\.json: hand = 'lefty': choose one of left, right, both"),
        (lambda f: describe(f, depth_unit_m=0), r"depth_unit_m = 0: give metres a count, 0\.001 for millimetres"),
        (
            lambda f: describe(f, depth_unit_m=0.1),
            r"puts the nearest surface, a hand, [3-8]\d(\.\d)? m away .* with 0\.001 it",
        ),
        (
            lambda f: (f / "boxes.json").write_text('{"000099": {"right": [0, 0, 9]}}'),
            "boxes.json of frame 000099, and no",
        ),
    ],
)
def test_what_is_wrong_is_said(folder, change: Callable[[Path], None], sentence):
    change(folder)
    try:
        (said,) = read(folder).problems  # of one frame; the others can be used
    except ArchiveError as error:
        said = str(error)
    assert re.search(sentence, said), said


def test_what_a_killed_writer_left_is_no_frame(folder):
    (folder / "color" / "000006.jpg.partial").write_bytes(b"half")
    assert len(read(folder).examples) == 6


def test_a_recording_without_a_hand_stops_the_preparation(folder, capsys):
    for number in range(6):
        mini_recording.write_depth(folder, number, WALL)
    options = [f"--data_dir={folder.parents[2] / 'data'}", f"--manual_dir={folder.parents[1]}"]
    assert cli.main(["rgbd_folder", "--dataset_config=mask_box", *options]) == 2
    assert "kitchen: no hand was found in any of its 6 frames" in capsys.readouterr().err
    assert not list((folder.parents[2] / "data").rglob("*.array_record*"))


def test_all_recordings_are_looked_at_before_any_is_read(folder):
    (folder / "intrinsics.json").unlink()
    shutil.copytree(folder, folder.with_name("office"))
    with pytest.raises(ArchiveError, match=r"(?s)kitchen/intrinsics\.json: missing.*office/intrinsics\.json: missing"):
        layout.find_recordings(folder.parent)
    with pytest.raises(ArchiveError, match="no recording in it"):
        layout.find_recordings(folder / "color")
