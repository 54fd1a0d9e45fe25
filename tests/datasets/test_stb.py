"""STB's reader gives back what the miniature archive was made from, from every shape it comes in."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tensorflow_datasets as tfds

from pmd_jax.data import selfcheck
from pmd_jax.data.selfcheck import SelfCheckError
from pmd_jax.prepare import cli, preparation, registry
from pmd_jax.prepare.archive import Archive
from pmd_jax.runtime.errors import ArchiveError
from reference import mini_archives
from reference.mini_archives import StbFrame

registry.register_datasets()

from pmd_datasets.stb import cameras, layout  # noqa: E402
from pmd_datasets.stb import frames as stb  # noqa: E402

SEQUENCES = {"B1Random": 2, "B2Counting": 3, "B5Random": 12}  # B5's zips have a top folder; 12: names are not padded


@pytest.fixture(scope="module")
def sequences() -> dict[str, list[StbFrame]]:
    drawn = mini_archives.stb_frames(4, seed=5)
    # A few pictures serve all sequences, shifted so that no two sequences agree.
    return {
        name: [drawn[(number + shift) % 4] for number in range(count)]
        for shift, (name, count) in enumerate(SEQUENCES.items())
    }


@pytest.fixture(scope="module")
def files(sequences) -> dict[str, bytes]:
    return mini_archives.stb_files(sequences)


@pytest.fixture(scope="module")
def zipped(tmp_path_factory, files) -> Path:
    return mini_archives.write_stb_zips(tmp_path_factory.mktemp("raw"), files)


@pytest.fixture(scope="module")
def tree(tmp_path_factory, files) -> Path:
    return mini_archives.write_tree(tmp_path_factory.mktemp("tree"), files)


def read(folder: Path, sequence: str = "B2Counting", settings=None, joints=None) -> stb.Outcome:
    """The outcome of one task over a sequence."""
    settings = settings or stb.Settings()
    if joints is None:
        labels = layout.find_labels(folder, sequence, settings.camera)
        joints = layout.read_labels(labels, sequence, settings.camera, allow_partial=True)
    pictures = layout.find_sequence(folder, sequence, settings.camera)
    return stb.read_task(stb.Task(pictures, "train", sequence, 0, joints, settings))


def pixels(xyz_m: np.ndarray, camera: dict[str, float]) -> np.ndarray:
    return np.stack(
        [
            xyz_m[:, 0] / xyz_m[:, 2] * camera["fx"] + camera["cx"],
            xyz_m[:, 1] / xyz_m[:, 2] * camera["fy"] + camera["cy"],
        ],
        axis=-1,
    )


def crop_corner(true_uv: np.ndarray) -> tuple[np.ndarray, float]:
    """The crop rule, written down again: a square around the joints, 1.5 times the larger extent."""
    low, high = true_uv.min(0), true_uv.max(0)
    width = 1.5 * (high - low).max()
    return (low + high) / 2 + 0.5 - width / 2, width


def test_labels_are_moved_to_the_colour_camera(tree, sequences):
    outcome = read(tree)
    assert not outcome.problems
    for number, (example, frame) in enumerate(zip(outcome.examples, sequences["B2Counting"], strict=True)):
        assert example["key"] == f"stb/train/B2Counting_SK_{number}/left"
        assert example["is_left"]
        np.testing.assert_allclose(example["xyz"], frame.xyz_m, atol=1e-4)
        true_uv = pixels(frame.xyz_m, mini_archives.STB_COLOUR)
        corner, width = crop_corner(true_uv)
        np.testing.assert_allclose(example["uv"], (true_uv - corner + 0.5) * 64 / width - 0.5, atol=0.1)
        projected = example["xyz"] @ example["K"].T
        np.testing.assert_allclose(projected[:, :2] / projected[:, 2:], example["uv"], atol=1e-3)
        inside = ((true_uv > -0.5) & (true_uv < [639.5, 479.5])).all(-1)
        np.testing.assert_array_equal(example["visible"], inside)


def test_depth_decoder_is_exact_and_opposite_to_rhd():
    codes = np.arange(65_536, dtype=np.uint32).reshape(256, 256)
    picture = np.stack([codes & 255, codes >> 8, np.full_like(codes, 77)], -1).astype(np.uint8)
    np.testing.assert_allclose(stb.decode_depth_m(picture), codes / 1000, rtol=1e-15)


def samples_in_colour_camera(depth_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every measured sample's pixel and depth (m) in the colour camera, by solving X_depth = R·X + t for X."""
    rows, columns = np.nonzero(depth_mm)
    z = depth_mm[rows, columns].astype(float)
    camera = mini_archives.STB_DEPTH
    points = np.stack([(columns - camera["cx"]) / camera["fx"] * z, (rows - camera["cy"]) / camera["fy"] * z, z])
    rotation = np.stack([mini_archives.stb_depth_camera(axis[None])[0] for axis in np.eye(3)], axis=1)
    shift = mini_archives.stb_depth_camera(np.zeros((1, 3)))[0]
    points = np.linalg.solve(rotation - shift[:, None], points - shift[:, None]).T / 1000
    return pixels(points, mini_archives.STB_COLOUR), points[:, 2]


def test_crop_depth_is_the_nearest_original_sample(tree, sequences):
    """Each pixel holds, to its 0.1 mm, the depth of a sample that falls within a pixel of it, the front one if many."""
    (example, frame) = read(tree).examples[0], sequences["B2Counting"][0]
    uv, depth_m = samples_in_colour_camera(frame.depth_mm)
    corner, width = crop_corner(pixels(frame.xyz_m, mini_archives.STB_COLOUR))
    near_crop = ((uv > corner - 2) & (uv < corner + width + 2)).all(-1)
    uv, depth_m = uv[near_crop], depth_m[near_crop]
    measured = 0
    for row, column in np.random.default_rng(0).integers(0, 64, (300, 2)):
        centre = np.floor(corner + (np.array([column, row]) + 0.5) * width / 64)
        value = example["depth"][row, column] * 1e-4
        if (centre < 0).any() or (centre >= [640, 480]).any():
            assert value == 0
            continue
        distance = np.abs(uv - centre).max(-1)
        if value == 0:
            assert not (distance < 0.6).any()
            continue
        measured += 1
        near = depth_m[distance < 0.78]
        assert np.abs(near - value).min() <= 0.6e-4
        assert value <= depth_m[distance < 0.74].min(initial=np.inf) + 0.6e-4
    assert measured > 200


def test_warped_depth_is_the_surface_that_colour_sees(sequences):
    for frame in sequences["B2Counting"]:
        warped = cameras.warp_depth_m(frame.depth_mm / 1000)
        true = frame.colour_depth * 1e-4
        hand = true > 0
        error = np.abs(warped - true)[hand & (warped > 0)]
        assert np.median(error) < 0.001  # the sensor counts millimetres
        assert (error < 0.005).mean() > 0.95  # the rest lies at edges
        assert (warped[hand] > 0).mean() > 0.97


def test_what_the_depth_camera_does_not_see_stays_missing():
    depth_m = np.full((480, 640), 1.5)
    depth_m[200:280, 300:360] = 0.4
    depth_m[240, 320] = 0
    row = cameras.warp_depth_m(depth_m)[240]
    # Colour sits 24 mm to the left of depth: left of the block it sees a strip of wall that depth could not.
    block = np.flatnonzero((row > 0) & (row < 0.45))
    shadow = np.flatnonzero(row[100:540] == 0) + 100
    width = 608 * 0.024 * (1 / 0.4 - 1 / 1.5)
    beside = shadow[shadow < block[0]]
    assert abs(len(beside) - width) < 4
    np.testing.assert_array_equal(beside, np.arange(block[0] - len(beside), block[0]))
    assert set(shadow) - set(beside) <= set(range(block[0], block[-1]))  # the hole of the one missing sample
    np.testing.assert_allclose(row[block], 0.4, atol=0.005)


@pytest.mark.parametrize("shape", ["zips", "tree", "images", "top", "nested"])
@pytest.mark.parametrize("sequence", ["B2Counting", "B5Random"])
def test_every_known_shape_is_found(tmp_path, files, zipped, shape, sequence):
    def place(name: str) -> str:
        is_picture = not name.startswith("labels/")
        folder = name.partition("/")[0]
        return {
            "tree": name,
            "images": f"images/{name}" if is_picture else name,
            "top": f"STB/images/{name}" if is_picture else f"STB/{name}",
            "nested": f"{folder}/{name}" if is_picture else name.partition("/")[2],
        }[shape]

    folder = zipped
    if shape != "zips":
        folder = mini_archives.write_tree(tmp_path, {place(name): data for name, data in files.items()})
    pictures = layout.find_sequence(folder, sequence, "SK")
    assert pictures.read("SK_color_2.png") == files[f"{sequence}/SK_color_2.png"]
    labels = layout.find_labels(folder, sequence, "BB")
    assert labels.read(f"{sequence}_BB.mat") == files[f"labels/{sequence}_BB.mat"]


def test_the_command_prepares_zips(tmp_path, zipped, sequences, capsys):
    command = ["stb", f"--manual_dir={zipped}", f"--data_dir={tmp_path}", "--allow_partial"]
    assert cli.main(command) == 0
    assert "train: 15 samples of 15 frames, 0 left out" in capsys.readouterr().out
    folder = tmp_path / "stb/default/1.0.0"
    groups = json.loads((folder / "summary.json").read_text())["splits"]["train"]["groups"]
    assert set(groups) == {"B2Counting", "B5Random"}
    assert (folder / "contact_sheet.png").is_file()
    builder = tfds.builder_from_directory(folder)
    names = [f"stb/train/{name}_SK_{i}/left" for name in ("B2Counting", "B5Random") for i in range(SEQUENCES[name])]
    assert [example["key"].decode() for example in builder.as_data_source("train")] == names
    for example, frame in zip(builder.as_data_source("test"), sequences["B1Random"], strict=True):
        np.testing.assert_allclose(example["xyz"], frame.xyz_m, atol=1e-4)


def test_full_keeps_the_original_bytes(tmp_path, tree, files, sequences):
    folder = preparation.prepare("stb", manual_dir=tree, data_dir=tmp_path, dataset_config="full", allow_partial=True)
    undecoded = {name: tfds.decode.SkipDecoding() for name in ("rgb", "depth")}
    examples = tfds.builder_from_directory(folder).as_data_source("test", decoders=undecoded)
    for number, (example, frame) in enumerate(zip(examples, sequences["B1Random"], strict=True)):
        assert example["rgb"] == files[f"B1Random/SK_color_{number}.png"]
        assert example["depth"] == files[f"B1Random/SK_depth_{number}.png"]
        np.testing.assert_allclose(example["xyz"], frame.xyz_m, atol=1e-6)


def test_stereo_pair(tree, sequences):
    outcome = read(tree, settings=stb.Settings(camera="BB"))
    frame, (left, right) = sequences["B2Counting"][0], outcome.examples[:2]
    assert [left["key"], right["key"]] == [f"stb/train/B2Counting_BB_{eye}_0/left" for eye in ("left", "right")]
    np.testing.assert_allclose(left["xyz"], frame.xyz_m, atol=1e-4)
    np.testing.assert_allclose(right["xyz"], frame.xyz_m - [0.120054, 0, 0], atol=1e-4)
    for example in (left, right):
        assert not example["depth"].any()
        true_uv = pixels(example["xyz"].astype(float), mini_archives.STB_STEREO)
        corner, width = crop_corner(true_uv)
        np.testing.assert_allclose(example["uv"], (true_uv - corner + 0.5) * 64 / width - 0.5, atol=0.1)
    assert not complaints(outcome)


def test_order_is_its_own_inverse_and_agrees_with_the_writer():
    order = layout.TO_OUR_ORDER
    np.testing.assert_array_equal(order[order], np.arange(21))
    np.testing.assert_array_equal(mini_archives.stb_rows(np.arange(21))[order], np.arange(21))


# ---- bad input


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"not a mat file", "not a whole MATLAB 5 file"),
        (mini_archives.mat(np.zeros((3, 21, 4)))[:900], "handPara cannot be read"),
        (mini_archives.mat(np.zeros((3, 20, 4))), r"handPara is double of shape \(3, 20, 4\)"),
        (mini_archives.mat(np.zeros((3, 21, 4), np.float32)), "handPara is single"),
        (mini_archives.mat(np.zeros((3, 21, 1501))), "labels of 1501 frames; STB has 1500"),
        (mini_archives.mat(np.zeros((3, 21, 7)), "other"), "no variable handPara in it, only other"),
        (mini_archives.mat(np.array([{"a": 1}], object)), "handPara is cell"),
    ],
)
def test_bad_label_files_are_refused(tmp_path, data, complaint):
    mini_archives.write_tree(tmp_path, {"B2Counting_SK.mat": data})
    with pytest.raises(ArchiveError, match=f"B2Counting_SK.mat: ({complaint})"):
        layout.read_labels(Archive(tmp_path), "B2Counting", "SK", allow_partial=True)


def test_length_must_be_the_data_sets(tmp_path, tree):
    with pytest.raises(ArchiveError, match=r"labels of 3 frames; STB has 1500 .*--allow_partial"):
        layout.read_labels(Archive(tree / "labels"), "B2Counting", "SK", allow_partial=False)


def test_a_frame_with_nan_or_without_its_picture_is_named(tmp_path, files):
    kept = {name: data for name, data in files.items() if name != "B2Counting/SK_depth_2.png"}
    folder = mini_archives.write_tree(tmp_path, kept)
    joints = layout.read_labels(layout.find_labels(folder, "B2Counting", "SK"), "B2Counting", "SK", True)
    joints[1, 4, 2] = np.nan
    outcome = read(folder, joints=joints)
    assert len(outcome.examples) == 1
    assert "B2Counting SK frame 1: the joints hold NaN" in outcome.problems[0]
    assert "B2Counting/SK_depth_2.png: missing" in outcome.problems[1]


def test_all_that_is_wrong_with_the_files_is_listed(tmp_path, files):
    broken = files | {"labels/B2Counting_SK.mat": b"nothing"}
    raw = mini_archives.write_stb_zips(tmp_path / "raw", broken)
    (raw / "B5Random.zip").write_bytes((raw / "B5Random.zip").read_bytes()[:5000])
    with pytest.raises(ArchiveError) as refusal:
        preparation.prepare("stb", manual_dir=raw, data_dir=tmp_path / "data")
    text = str(refusal.value)
    assert text.count("No pictures of B") == 9
    assert "No pictures of B2Random in" in text
    assert "B1Random_SK.mat: labels of 2 frames; STB has 1500" in text
    assert "B2Counting_SK.mat: not a whole MATLAB 5 file" in text
    assert "B5Random.zip: not a whole zip" in text
    assert not list((tmp_path / "data").glob("stb/[!.]*/*"))


def test_no_archive_says_what_to_do(tmp_path, capsys):
    mini_archives.write_tree(tmp_path / "raw", {"readme.txt": b"nothing"})
    assert cli.main(["stb", f"--manual_dir={tmp_path / 'raw'}", f"--data_dir={tmp_path}"]) == 2
    said = capsys.readouterr().err
    for part in ("icip17_stereo_hand_pose_dataset", "labels.zip", "launch/demo.py"):
        assert part in said
    assert cli.main(["stb", f"--manual_dir={tmp_path / 'raw'}", f"--data_dir={tmp_path}", "--download"]) == 2
    assert "cannot be downloaded by us" in capsys.readouterr().err


# ---- a wrong reading shows


def complaints(outcome) -> str:
    return " ".join(selfcheck.complaints(selfcheck.statistics(outcome.observations)))


def test_the_right_reading_passes_the_self_check(tree):
    assert complaints(read(tree)) == ""


def test_labels_of_another_sequence_stop_the_preparation(tmp_path, files):
    """Labels are checked sequence by sequence, as a mix-up of two files would drown in a whole split."""
    mixed = files | {"labels/B1Random_SK.mat": shortened(files["labels/B5Random_SK.mat"], 2)}
    folder = mini_archives.write_tree(tmp_path / "raw", mixed)
    with pytest.raises(SelfCheckError, match=r"B1Random: .* belong to other pictures"):
        preparation.prepare("stb", manual_dir=folder, data_dir=tmp_path / "data", allow_partial=True)
    assert not list((tmp_path / "data").glob("stb/[!.]*/*"))


def shortened(mat: bytes, count: int) -> bytes:
    return mini_archives.mat(scipy.io.loadmat(io.BytesIO(mat))["handPara"][:, :, :count])


def test_self_check_sees_swapped_depth_bytes(tmp_path, sequences):
    wrong = [dataclasses.replace(frame, depth_mm=frame.depth_mm.byteswap()) for frame in sequences["B2Counting"]]
    folder = mini_archives.write_tree(tmp_path, mini_archives.stb_files({"B2Counting": wrong}))
    assert "the depth is decoded wrongly" in complaints(read(folder))


def test_self_check_sees_labels_left_in_the_depth_cameras_frame(tree, monkeypatch):
    monkeypatch.setattr(cameras, "depth_to_colour", lambda xyz_m: xyz_m)
    assert "the labels are in another camera's frame" in complaints(read(tree))


def test_self_check_sees_depth_left_in_the_depth_camera(tree, monkeypatch):
    monkeypatch.setattr(cameras, "warp_depth_m", lambda depth_m: depth_m)
    assert "float more than 20 mm in front of every surface" in complaints(read(tree))


def test_self_check_sees_wrong_joint_order(tree):
    joints = layout.read_labels(layout.find_labels(tree, "B2Counting", "SK"), "B2Counting", "SK", True)
    assert "the fingers run from little to thumb" in complaints(read(tree, joints=joints[:, layout.TO_OUR_ORDER]))


def test_self_check_sees_a_mirrored_frame(tree):
    joints = layout.read_labels(layout.find_labels(tree, "B2Counting", "SK"), "B2Counting", "SK", True)
    assert "the frame is mirrored" in complaints(read(tree, joints=joints * [-1, 1, 1]))


def test_a_box_around_the_nearest_segment_needs_no_joint(tree):
    settings = stb.Settings(box="mask")
    examples = read(tree, settings=settings).examples
    labels = layout.read_labels(layout.find_labels(tree, "B2Counting", "SK"), "B2Counting", "SK", allow_partial=True)
    for example, other in zip(examples, read(tree, settings=settings, joints=labels * 0.9).examples, strict=True):
        np.testing.assert_array_equal(example["K"], other["K"])
        np.testing.assert_array_equal(example["depth"], other["depth"])
        assert not np.array_equal(example["xyz"], other["xyz"])
        assert ((example["uv"] > -0.5) & (example["uv"] < 63.5)).all()


def with_a_cup(frame: StbFrame) -> StbFrame:
    """A cup in front of the hand, as large as one."""
    depth_mm = frame.depth_mm.copy()
    depth_mm[20:140, 20:140] = 250
    return dataclasses.replace(frame, depth_mm=depth_mm)


def test_a_box_that_misses_the_hand_is_no_sample(tmp_path, sequences):
    """The nearest segment can be something else; joints are known here, so it shows."""
    frames = [*sequences["B2Counting"][:2], with_a_cup(sequences["B2Counting"][2])]
    folder = mini_archives.write_tree(tmp_path, mini_archives.stb_files({"B2Counting": frames}))
    outcome = read(folder, settings=stb.Settings(box="mask"))
    assert len(outcome.examples) == 2
    assert "SK frame 2: stb/train/B2Counting_SK_2/left: only 0 of 21 visible joints" in outcome.problems[0]
    assert not read(folder).problems  # around the joints it is a sample like others


def test_a_frame_without_any_depth_is_no_sample(tmp_path, sequences):
    blank = dataclasses.replace(sequences["B2Counting"][0], depth_mm=np.zeros((480, 640), np.uint16))
    folder = mini_archives.write_tree(tmp_path, mini_archives.stb_files({"B2Counting": [blank]}))
    (problem,) = read(folder).problems
    assert "SK frame 0: stb/train/B2Counting_SK_0/left: the depth map shows nothing in the crop" in problem
