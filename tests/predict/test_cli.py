"""The command: what it writes for pictures, folders and videos, and what it says of what it cannot use."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import resource
import shutil
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from film_files import write_film
from PIL import Image

import pmd_jax
from pmd_jax.data import cropping
from pmd_jax.predict import cli, pipeline, predictor, video, writers
from pmd_jax.predict.writers import columns
from pmd_jax.runtime import files
from pmd_jax.runtime.cli import EXIT_BAD_INPUT

BOX = "100,40,128"


@pytest.fixture(autouse=True)
def no_detector(monkeypatch):
    """As without the extra: the tiny network is to see what it is told to."""
    monkeypatch.setattr(cli, "is_installed", lambda: False)


@pytest.fixture
def command(tiny_export, capfd):
    """Runs it with the tiny network; gives exit code, standard output and standard error."""

    def _command(*arguments) -> tuple[int, str, str]:
        capfd.readouterr()
        code = cli.main([*map(str, arguments), f"--checkpoint={tiny_export}"])
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
    assert (code, output) == (0, "")
    assert said == f"{folder}: 1 of 4 files left out, no picture or video by name: notes.txt.\n"
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
    monkeypatch.setattr(pipeline, "BATCH", 2)
    command(folder, f"--out={tmp_path / 'two'}")
    ours, theirs = lines_of(tmp_path / "two"), lines_of(tmp_path / "one")
    assert len(ours) == 3
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one["joints"], other["joints"], atol=1e-4)


def test_without_a_folder_lines_go_to_the_standard_output(command, folder):
    code, output, said = command(folder / "a.png", folder / "c.png")
    assert code == 0
    assert [json.loads(line)["box"] for line in output.splitlines()] == [[40, 0, 240]] * 2
    assert "2 of 2 had no box, and the hand detector is not installed" in said


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


@pytest.mark.parametrize("kind", ["folders", "video"])
def test_its_own_lines_give_the_same_boxes_again(command, tmp_path, kind):
    """Of two folders with pictures of one name, and of a video whose box moves."""
    if kind == "video":
        sources = [write_video(tmp_path / "drift.mp4", 4)]
        lines = [{"file": str(sources[0]), "frame": i, "box": [10 * i, 20, 100]} for i in range(4)]
    else:
        sources = [tmp_path / name for name in ("s1", "s2")]
        for seed, source in enumerate(sources):
            source.mkdir()
            Image.fromarray(noise(seed)).save(source / "frame.png")
        lines = [{"file": str(source / "frame.png"), "box": [i, 2, 100]} for i, source in enumerate(sources)]
    boxes = tmp_path / "boxes.jsonl"
    boxes.write_text("\n".join(map(json.dumps, lines)))
    for out in (tmp_path / "first", tmp_path / "second"):
        code, _, said = command(*sources, f"--boxes={boxes}", f"--out={out}")
        assert (code, said) == (0, "")
        assert [line["box"] for line in lines_of(out)] == [line["box"] for line in lines]
        assert {line["box_from"] for line in lines_of(out)} == {"given"}
        boxes = out / "joints.jsonl"
    assert lines_of(tmp_path / "first") == lines_of(tmp_path / "second")


def test_paths_may_begin_with_a_tilde(command, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(folder / "a.png", tmp_path / "a.png")
    (tmp_path / "boxes").write_text('{"file": "a.png", "box": [1, 2, 100]}')
    assert command("~/a.png", "--boxes=~/boxes", "--out=~/out")[0] == 0
    assert [line["box"] for line in lines_of(tmp_path / "out")] == [[1, 2, 100]]


def test_the_demo_network_is_the_default(tiny_export, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(predictor, "DEMO", tiny_export)
    assert cli.main([str(folder), f"--out={tmp_path}"]) == 0
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


# ---- names


@pytest.mark.parametrize("line_format", ["jsonl", "csv"])
def test_a_name_that_is_no_text_costs_nothing(command, folder, tmp_path, line_format):
    """Its bytes are no UTF-8; the lines are, and JSON gives the name back."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xe4d"))
    shutil.copy(folder / "a.png", f"{odd}.png")
    write_video(tmp_path / "film.mp4", 2).rename(f"{odd}.mp4")
    given = [folder / "c.png", f"{odd}.png", f"{odd}.mp4", f"--box={BOX}", f"--format={line_format}"]
    code, output, _ = command(*given)
    assert code == 0
    code, _, said = command(*given, f"--out={tmp_path / 'out'}", "--overlay", "--turntable")
    assert (code, "Error" in said) == (0, False)
    text = (tmp_path / "out" / f"joints.{line_format}").read_text(encoding="utf-8")
    assert text.splitlines() == output.splitlines()
    if line_format == "jsonl":
        assert [line["file"] for line in lines_of(tmp_path / "out")] == list(map(str, [*given[:3], given[2]]))
        boxes = f"--boxes={tmp_path / 'out' / 'joints.jsonl'}"
        code, _, said = command(f"{odd}.png", boxes, f"--out={tmp_path / 'again'}")
        assert (code, said) == (0, "")
    else:
        assert "b\\udce4d.png" in text
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == 3


def test_lines_are_utf_8_in_any_locale(folder, tiny_export, tmp_path, monkeypatch):
    shutil.copy(folder / "a.png", tmp_path / "手.png")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    assert cli.main([str(tmp_path / "手.png"), f"--checkpoint={tiny_export}"]) == 0
    assert json.loads(written.getvalue().decode("utf-8"))["file"] == str(tmp_path / "手.png")


def test_a_folder_says_what_it_leaves_out(command, folder, tmp_path):
    for name in ("a.png", "d.jfif"):
        shutil.copy(folder / ("a.png" if name == "a.png" else "b.jpg"), tmp_path / name)
    write_video(tmp_path / "f.ts", 2)
    for name in ("._a.png", "x.HEIC", "y.HEIC", "z.heic", "README"):
        (tmp_path / name).write_bytes(b"none")
    code, output, said = command(tmp_path, f"--box={BOX}")
    assert code == 0
    assert [Path(json.loads(line)["file"]).name for line in output.splitlines()] == ["a.png", "d.jfif", "f.ts", "f.ts"]
    assert "5 of 8 files left out, no picture or video by name: ._a.png, README, x.HEIC and 2 more .heic. HEIC" in said
    assert "save it as JPEG" in said


def test_a_folder_of_heic_alone_says_what_to_do(command, tmp_path):
    (tmp_path / "x.HEIC").write_bytes(b"none")
    code, _, said = command(tmp_path)
    assert code == 2
    assert "holds no picture and no video (but x.HEIC)" in said
    assert "save it as JPEG" in said


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


def test_films_keep_each_pictures_time(command, tmp_path):
    path = write_film(tmp_path / "film.mp4", [0, 0.1, 0.2, 3.0, 5.3])
    command(path, "--box=0,0,48", f"--out={tmp_path / 'out'}", "--overlay", "--turntable")
    for kind in ("overlays", "turntables"):
        frames = video.Video(tmp_path / "out" / kind / "film.mp4")
        assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.2, 3.0, 5.3], abs=1e-3)


def test_a_box_that_does_not_fit_a_video_costs_that_video_only(command, tmp_path):
    wide, small = write_video(tmp_path / "a.mp4", 2), write_film(tmp_path / "b.mp4", [0, 0.1])
    code, _, said = command(wide, small, wide, "--box=200,0,50", f"--out={tmp_path}")
    assert code == EXIT_BAD_INPUT
    assert "b.mp4, picture 0: box = (200.0, 0.0, 50.0) lies outside the picture of 64 × 48" in said
    assert [Path(line["file"]).name for line in lines_of(tmp_path)] == ["a.mp4"] * 4


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


# ---- a full disk


@pytest.mark.parametrize("kind", ["overlay", "turntable"])
@pytest.mark.parametrize("source", ["pictures", "video"])
def test_a_drawing_that_does_not_fit_leaves_the_lines(command, folder, tmp_path, monkeypatch, kind, source):
    sources = [write_video(tmp_path / "film.mp4", 3)] if source == "video" else [folder / "a.png", folder / "c.png"]
    replacing = files.replacing

    @contextlib.contextmanager
    def full(path):
        with replacing(path) as unfinished:
            yield unfinished
            if path.name.startswith("joints") is False:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))

    for module in (writers, video):
        monkeypatch.setattr(module, "replacing", full)
    code, _, said = command(*sources, f"--box={BOX}", f"--out={tmp_path / 'out'}", f"--{kind}")
    assert code == EXIT_BAD_INPUT
    assert said.count("No space left on device") == 1
    assert "its joints are kept. Make room" in said
    assert len(lines_of(tmp_path / "out")) == (3 if source == "video" else 2)
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["joints.jsonl"]


def test_lines_that_do_not_fit_leave_those_before(command, folder, tmp_path):
    command(folder, f"--out={tmp_path}")
    first = (tmp_path / "joints.jsonl").read_bytes().splitlines(keepends=True)[0]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(first) + 100, before[1]))
    try:
        code, _, said = command(folder, f"--out={tmp_path / 'out'}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == EXIT_BAD_INPUT
    assert "what was found before is kept" in said
    assert (tmp_path / "out" / "joints.jsonl").read_bytes() == first
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["joints.jsonl"]


@pytest.mark.parametrize("out", ["a.png", "a.png/deeper"])
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_done(command, folder, out, monkeypatch):
    monkeypatch.setattr(predictor, "load", lambda *_: pytest.fail("loaded"))
    code, _, said = command(folder / "a.png", f"--out={folder / out}")
    assert code == EXIT_BAD_INPUT
    assert f"--out={folder / out}: {folder / 'a.png'} is no folder; name another" in said


def test_a_folder_without_the_right_to_write(command, folder, tmp_path, monkeypatch):
    """The tests may run as root, who may write anywhere."""
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    code, _, said = command(folder / "a.png", f"--out={tmp_path / 'out'}")
    assert code == EXIT_BAD_INPUT
    assert f"--out={tmp_path / 'out'}: you may not write to {tmp_path}; name another folder." in said


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
    code = cli.main([f"--checkpoint={tiny_export}", *given, f"--out={tmp_path / 'out'}"])
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
        cli.main([str(folder), "--box=1,2"])
    assert "'1,2' is not X0,Y0,SIDE in pixels" in capsys.readouterr().err


def test_an_interruption_keeps_what_was_found(command, folder, tmp_path, monkeypatch):
    predict_images = pipeline.predict_images

    def interrupted(*arguments):
        yield next(predict_images(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "predict_images", interrupted)
    code, _, said = command(folder, f"--out={tmp_path}")
    assert code == cli.EXIT_INTERRUPTED
    assert "what was found is kept" in said
    assert len(lines_of(tmp_path)) == 1


def test_placed_joints_lie_in_their_boxes(command, folder, tmp_path):
    command(folder, f"--box={BOX}", f"--out={tmp_path}")
    for line in lines_of(tmp_path):
        assert cropping.crop_box(np.array(line["uv_px"])) == pytest.approx((100, 40, 128), abs=0.1)
