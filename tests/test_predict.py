"""The command: what it writes for pictures, folders and videos, and what it says of what it cannot use."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import pmd_jax
from pmd_jax import find_hands, predict, predictor, video
from pmd_jax.commands import EXIT_BAD_INPUT
from pmd_jax.data import hand
from pmd_jax.hand_files import columns

BOX = "100,40,128"


@pytest.fixture
def command(tiny_export, capfd):
    """Runs it with the tiny network; gives exit code, standard output and standard error."""

    def _command(*arguments) -> tuple[int, str, str]:
        capfd.readouterr()
        code = predict.main([*map(str, arguments), f"--checkpoint={tiny_export}"])
        return code, *capfd.readouterr()

    return _command


def noise(seed: int, height: int = 240, width: int = 320) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three pictures, and what is none and none of our business."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed, name in enumerate(("a.png", "b.jpg", "c.png")):
        Image.fromarray(noise(seed)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def write_video(path: Path, frames: int = 12, **options) -> Path:
    """A texture that drifts to the right, 3 pixels a picture."""
    wide = np.asarray(Image.fromarray(noise(0, 30, 60)).resize((640, 240), Image.Resampling.BICUBIC))
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.options = {"g": "1"}  # every picture for itself, so that a cut loses what follows it only
        for i in range(frames):
            window = np.ascontiguousarray(wide[:, 100 - 3 * i : 420 - 3 * i])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(window, format="rgb24")))
        container.mux(stream.encode())
    return path


def lines_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "joints.jsonl").read_text().splitlines()]


def nothing_in(out: Path) -> bool:
    return not out.exists() or not any(path.is_file() for path in out.rglob("*"))


# ---- pictures


def test_a_folder_with_a_box(command, folder, tiny_export, tmp_path):
    """Each line is what `from_image` says of that picture."""
    code, output, said = command(folder, f"--box={BOX}", f"--out={tmp_path}", "--hand_scale_m=0.09", "--side=right")
    assert (code, output, said) == (0, "", "")
    lines = lines_of(tmp_path)
    assert [Path(line["file"]).name for line in lines] == ["a.png", "b.jpg", "c.png"]
    network = pmd_jax.load(tiny_export)
    for line in lines:
        alone = network.from_image(line["file"], (100, 40, 128), hand_scale_m=0.09, side="right")
        np.testing.assert_allclose(line["joints"], alone.joints, atol=1e-4)
        np.testing.assert_allclose(line["uv_px"], alone.uv_px, atol=2e-2)
        np.testing.assert_allclose(line["xyz_m"], alone.xyz_m, atol=2e-5)
        assert line["box"] == [100, 40, 128]
        assert line["box_from"] == "given"
        assert line["side"] == "right"
        assert line["uv_is_approximate"]
        assert not line["xyz_is_absolute"]
    assert [path.name for path in tmp_path.iterdir()] == ["joints.jsonl"]


def test_more_pictures_than_a_batch(command, folder, tmp_path, monkeypatch):
    """The last batch is filled up, and nothing of that is seen."""
    command(folder, f"--out={tmp_path / 'one'}")
    monkeypatch.setattr(find_hands, "BATCH", 2)
    command(folder, f"--out={tmp_path / 'two'}")
    ours, theirs = lines_of(tmp_path / "two"), lines_of(tmp_path / "one")
    assert len(ours) == 3
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one["joints"], other["joints"], atol=1e-4)


def test_without_a_folder_lines_go_to_the_standard_output(command, folder):
    code, output, said = command(folder / "a.png", folder / "c.png")
    assert code == 0
    assert [json.loads(line)["box"] for line in output.splitlines()] == [[40, 0, 240]] * 2
    assert "2 of 2 had no box, and there is no hand detector" in said


def test_csv(command, folder, tmp_path):
    command(folder, f"--box={BOX}", f"--out={tmp_path}", "--format=csv")
    command(folder, f"--box={BOX}", f"--out={tmp_path}")
    with (tmp_path / "joints.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, line in zip(rows, lines_of(tmp_path), strict=True):
        assert list(row) == columns()
        assert float(row["middle_tip_y"]) == line["joints"][12][1]
        assert float(row["wrist_v_px"]) == line["uv_px"][0][1]
        assert (float(row["box_x0"]), row["file"]) == (100, line["file"])


def test_a_box_for_each_picture(command, folder, tmp_path):
    """And the command's own lines are such a file."""
    boxes = tmp_path / "boxes.jsonl"
    boxes.write_text('{"file": "a.png", "box": [1, 2, 100]}\n{"file": "elsewhere/c.png", "box": [-5.5, 6, 90]}\n')
    command(folder, f"--boxes={boxes}", f"--box={BOX}", f"--out={tmp_path / 'first'}")
    assert [line["box"] for line in lines_of(tmp_path / "first")] == [[1, 2, 100], [100, 40, 128], [-5.5, 6, 90]]
    command(folder, f"--boxes={tmp_path / 'first' / 'joints.jsonl'}", f"--out={tmp_path / 'second'}")
    assert lines_of(tmp_path / "second") == lines_of(tmp_path / "first")


def test_the_demo_network_is_the_default(tiny_export, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(predictor, "DEMO", tiny_export)
    assert predict.main([str(folder), f"--out={tmp_path}"]) == 0
    assert len(lines_of(tmp_path)) == 3


def test_overlays_and_turntables(command, folder, tmp_path):
    twin = shutil.copytree(folder, tmp_path / "twin")
    out = tmp_path / "out"
    code, _, _ = command(folder / "a.png", twin / "a.png", f"--box={BOX}", f"--out={out}", "--overlay", "--turntable")
    assert code == 0
    for name in ("a", "a_2"):
        drawn = np.asarray(Image.open(out / "overlays" / f"{name}.png"))
        assert drawn.shape == (240, 320, 3)
        changed = (drawn != noise(0)).any(-1)
        assert changed[41:167, 101:227].mean() > 0.02
        assert not changed[:35].any()
        with Image.open(out / "turntables" / f"{name}.gif") as film:
            assert film.n_frames == 36


# ---- videos


def test_a_video(command, tmp_path):
    """A line a picture; the box follows the drift, starts where it was given and has its films beside it."""
    path = write_video(tmp_path / "drift.mp4")
    code, _, said = command(path, "--box=120,60,100", f"--out={tmp_path}", "--overlay", "--turntable", "--smooth")
    assert (code, said) == (0, "")
    lines = lines_of(tmp_path)
    assert [line["frame"] for line in lines] == list(range(12))
    assert lines[5]["time_s"] == pytest.approx(0.5)
    assert [line["box_from"] for line in lines] == ["given"] + ["followed"] * 11
    places = np.array([np.mean([np.min(line["uv_px"], 0), np.max(line["uv_px"], 0)], 0) for line in lines])
    assert places[-1, 0] - places[0, 0] == pytest.approx(33, abs=12)
    for kind in ("overlays", "turntables"):
        assert sum(1 for _ in video.Video(tmp_path / kind / "drift.mp4")) == 12


def test_a_video_that_breaks_keeps_what_was_read(command, tmp_path):
    path = write_video(tmp_path / "broken.mp4", movflags="faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    out = tmp_path / "out"
    code, _, said = command(path, f"--box={BOX}", f"--out={out}", "--overlay")
    assert code == EXIT_BAD_INPUT
    lines = lines_of(out)
    assert 2 <= len(lines) < 12
    assert f"broken.mp4: breaks off after {len(lines)} pictures; it should have 12 pictures" in said
    assert sum(1 for _ in video.Video(out / "overlays" / "broken.mp4")) == len(lines)


@pytest.mark.parametrize("content", [b"", b"no video" * 100], ids=["empty", "text"])
def test_what_is_no_video(command, tmp_path, content):
    (tmp_path / "bad.mp4").write_bytes(content)
    code, _, said = command(tmp_path / "bad.mp4", f"--out={tmp_path / 'out'}", "--overlay")
    assert code == EXIT_BAD_INPUT
    assert "bad.mp4: cannot be opened" in said
    assert "give an MP4" in said
    assert nothing_in(tmp_path / "out")


def test_a_camera_that_is_not_there(command, tmp_path):
    code, _, said = command("97", f"--out={tmp_path / 'out'}")
    assert code == EXIT_BAD_INPUT
    assert "camera 97: cannot be opened" in said
    assert nothing_in(tmp_path / "out")


def test_without_pyav_the_sentence_says_what_to_install(command, tmp_path, monkeypatch):
    path = write_video(tmp_path / "drift.mp4", 1)
    monkeypatch.setitem(sys.modules, "av", None)
    code, _, said = command(path, f"--out={tmp_path / 'out'}")
    assert code == EXIT_BAD_INPUT
    assert "the extra 'video' is not installed" in said
    assert nothing_in(tmp_path / "out")


# ---- bad input


def test_a_file_that_is_no_picture_is_named_and_the_others_go_on(command, folder, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    code, _, said = command(folder / "a.png", tmp_path / "bad.jpg", folder / "c.png", f"--out={tmp_path / 'out'}")
    assert code == EXIT_BAD_INPUT
    assert "bad.jpg: not a whole picture" in said
    assert [Path(line["file"]).name for line in lines_of(tmp_path / "out")] == ["a.png", "c.png"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{folder}/notes.txt"], "notes.txt: not a whole picture"),
        (["{folder}/none.png"], "none.png: there is no such file or folder"),
        (["{empty}"], "holds no picture and no video; looked for .jpg"),
        (["{folder}/a.png", "--box=400,0,50"], "a.png: box = (400.0, 0.0, 50.0) lies outside the picture of 320 × 240"),
        (["{folder}/a.png", "--box=0,0,0"], "it has no area"),
        (["{folder}/a.png", "--hand_scale_m=-1"], "hand_scale_m = -1.0: give metres"),
        (["{folder}/a.png", "--boxes={folder}/notes.txt"], "notes.txt: line 1 is not {"),
        (["{folder}/a.png", "--boxes={folder}/none"], "--boxes={folder}/none: cannot be read"),
        (["{folder}/a.png", "--checkpoint={empty}"], "holds no network.json"),
    ],
)
def test_bad_input_leaves_nothing(tiny_export, folder, tmp_path, capfd, arguments, sentence):
    empty = tmp_path / "empty"
    empty.mkdir()
    places = {"folder": folder, "empty": empty}
    given = [argument.format(**places) for argument in arguments]
    code = predict.main([f"--checkpoint={tiny_export}", *given, f"--out={tmp_path / 'out'}"])
    assert code == EXIT_BAD_INPUT
    said = capfd.readouterr().err
    assert sentence.replace("{folder}", str(folder)) in said
    assert "Traceback" not in said
    assert nothing_in(tmp_path / "out")


def test_drawings_need_a_folder(command, folder):
    code, output, said = command(folder, "--overlay")
    assert (code, output) == (EXIT_BAD_INPUT, "")
    assert "name a folder for them, --out=FOLDER" in said


def test_a_box_that_is_none_is_refused_by_the_parser(folder, capsys):
    with pytest.raises(SystemExit, match="2"):
        predict.main([str(folder), "--box=1,2"])
    assert "'1,2' is not X0,Y0,SIDE in pixels" in capsys.readouterr().err


def test_an_interruption_keeps_what_was_found(command, folder, tmp_path, monkeypatch):
    in_pictures = find_hands.in_pictures

    def interrupted(*arguments):
        yield next(in_pictures(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(find_hands, "in_pictures", interrupted)
    code, _, said = command(folder, f"--out={tmp_path}")
    assert code == predict.EXIT_INTERRUPTED
    assert "what was found is kept" in said
    assert len(lines_of(tmp_path)) == 1


def test_placed_joints_lie_in_their_boxes(command, folder, tmp_path):
    command(folder, f"--box={BOX}", f"--out={tmp_path}")
    for line in lines_of(tmp_path):
        assert hand.crop_box(np.array(line["uv_px"])) == pytest.approx((100, 40, 128), abs=0.1)
