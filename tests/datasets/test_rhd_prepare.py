"""`python -m pmd_jax.prepare rhd`: from a miniature archive to a prepared split, and every way it can be refused."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from pmd_jax.config import Config, DataConfig
from pmd_jax.data.selfcheck import SelfCheckError
from pmd_jax.prepare import cli, preparation, registry
from pmd_jax.prepare.archive import Archive
from pmd_jax.runtime.errors import ArchiveError, InputError
from pmd_jax.train.splits import prepare_once
from reference import mini_archives

registry.register_datasets()

from pmd_datasets.rhd.download import download  # noqa: E402

TRAIN, TEST = 5, 2


@pytest.fixture(scope="module")
def frames():
    drawn = mini_archives.rhd_frames(TRAIN + TEST, seed=11)
    return {"training": drawn[:TRAIN], "evaluation": drawn[TRAIN:]}


@pytest.fixture(scope="module")
def files(frames) -> dict[str, bytes]:
    return dict(mini_archives.rhd_files(frames))


@pytest.fixture(scope="module")
def zipped(tmp_path_factory, files) -> Path:
    return mini_archives.write_rhd_zip(tmp_path_factory.mktemp("raw"), files).parent


def nothing_prepared(data_dir: Path) -> bool:
    """No version's folder, neither whole nor half-written."""
    return not list(data_dir.glob("rhd/[!.]*/*"))


def test_the_command_prepares_a_partial_archive(tmp_path, zipped, frames):
    command = [sys.executable, "-m", "pmd_jax.prepare", "rhd", f"--manual_dir={zipped}", f"--data_dir={tmp_path}"]
    root = Path(preparation.__file__).parents[2]
    done = subprocess.run([*command, "--allow_partial"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"train: {TRAIN} samples of {TRAIN} frames, 0 left out" in done.stdout
    assert "surface − joint" in done.stdout

    folder = tmp_path / "rhd/default/1.0.0"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["splits"]["test"]["samples"] == TEST
    assert summary["splits"]["train"]["figures"]["on_hand_share"] > 0.9
    with Image.open(folder / "contact_sheet.png") as sheet:
        assert sheet.size[0] >= 2 * TRAIN * 64

    builder = tfds.builder_from_directory(folder)
    for split, source in (("train", "training"), ("test", "evaluation")):
        examples = builder.as_data_source(split)
        assert len(examples) == len(frames[source])
        for number, (example, frame) in enumerate(zip(examples, frames[source], strict=True)):
            name, part, index, side = example["key"].decode().split("/")
            assert (name, part, int(index)) == ("rhd", split, number)
            np.testing.assert_allclose(example["xyz"], frame.xyz_m[side], atol=1e-4)
            assert example["rgb"].shape == (64, 64, 3)
            assert example["depth"].dtype == np.uint16

    with pytest.raises(ArchiveError, match="was prepared with --allow_partial"):
        preparation.prepare("rhd", manual_dir=zipped, data_dir=tmp_path)
    assert preparation.prepare("rhd", manual_dir=zipped, data_dir=tmp_path, allow_partial=True) == folder


def test_full_keeps_the_original_bytes(tmp_path, files, frames):
    raw = mini_archives.write_tree(tmp_path / "raw/rhd", files)
    folder = preparation.prepare(
        "rhd", manual_dir=raw.parent, data_dir=tmp_path, dataset_config="full", allow_partial=True
    )
    undecoded = {name: tfds.decode.SkipDecoding() for name in ("rgb", "depth", "mask")}
    builder = tfds.builder_from_directory(folder)
    for number, example in enumerate(builder.as_data_source("train", decoders=undecoded)):
        assert example["rgb"] == files[f"training/color/{number:05d}.png"]
        assert example["depth"] == files[f"training/depth/{number:05d}.png"]
        assert example["mask"] == files[f"training/mask/{number:05d}.png"]
        entry = frames["training"][number].entry()
        np.testing.assert_allclose(example["xyz"], entry["xyz"], atol=1e-6)
        np.testing.assert_allclose(example["uv"], entry["uv_vis"][:, :2], rtol=1e-6)
        np.testing.assert_array_equal(example["visible"], entry["uv_vis"][:, 2] == 1)
    decoded = builder.as_data_source("test")[0]
    wide = decoded["depth"].astype(int)
    np.testing.assert_array_equal(wide[..., 0] * 256 + wide[..., 1], frames["evaluation"][0].depth_code)


def damaged(files: dict[str, bytes]) -> dict[str, bytes]:
    """Three frames that cannot be used: a picture missing, one cut off, one of another size."""
    files = dict(files)
    del files["training/mask/00000.png"]
    files["training/depth/00002.png"] = files["training/depth/00002.png"][:2000]
    files["evaluation/color/00001.png"] = mini_archives.png(np.zeros((100, 320, 3), np.uint8))
    return files


def test_all_that_is_wrong_is_listed_and_can_be_left_out(tmp_path, files):
    raw = mini_archives.write_tree(tmp_path / "raw", damaged(files))
    with pytest.raises(ArchiveError) as refusal:
        preparation.prepare("rhd", manual_dir=raw, data_dir=tmp_path / "strict", allow_partial=True, allow_bad=2)
    text = str(refusal.value)
    assert "3 frame(s) of rhd/default" in text
    assert "training/mask/00000.png: missing" in text
    assert "training/depth/00002.png: not a whole PNG" in text
    assert (
        "evaluation/color/00001.png: a picture of 320 × 100, colour of 8 bits; 320 × 320, colour of 8 bits, belongs"
        in text
    )
    assert "--allow_bad=3" in text
    assert nothing_prepared(tmp_path / "strict")

    folder = preparation.prepare("rhd", manual_dir=raw, data_dir=tmp_path / "lax", allow_partial=True, allow_bad=3)
    keys = [example["key"] for example in tfds.builder_from_directory(folder).as_data_source("train")]
    assert [int(key.split(b"/")[2]) for key in keys] == [1, 3, 4]
    left_out = json.loads((folder / "summary.json").read_text())["splits"]["train"]["left_out"]
    assert [name for name in ("00000.png", "00002.png") if not any(name in line for line in left_out)] == []
    assert "left out: " in cli.describe(folder)


def test_what_was_left_out_must_be_allowed_again(tmp_path, files):
    """Data prepared without three frames are not those of a whole archive, whoever asks for them later."""
    raw = mini_archives.write_tree(tmp_path / "raw", damaged(files))
    places = {"manual_dir": raw, "data_dir": tmp_path / "data", "allow_partial": True}
    folder = preparation.prepare("rhd", **places, allow_bad=5)
    for allowed in (3, 5):
        assert preparation.prepare("rhd", **places, allow_bad=allowed) == folder
    with pytest.raises(
        ArchiveError, match=r"without 3 frame\(s\) \(allowed: 2\), first .*00000.png: missing\."
    ) as refusal:
        preparation.prepare("rhd", **places, allow_bad=2)
    assert "--config.data.allow_bad=3" in str(refusal.value)


def test_a_whole_archive_is_whole_whatever_was_allowed(tmp_path, zipped, monkeypatch):
    """Allowed is not left out: nothing is missing here."""
    whole = {"train": TRAIN, "test": TEST}
    builder = registry.builder_class("rhd")
    folder = preparation.prepare("rhd", manual_dir=zipped, data_dir=tmp_path, allow_partial=True, allow_bad=9)
    assert json.loads((folder / "summary.json").read_text())["partial"]
    monkeypatch.setattr(builder, "PUBLISHED_FRAMES", whole)
    assert preparation.prepare("rhd", manual_dir=zipped, data_dir=tmp_path) == folder
    monkeypatch.setattr(builder, "PUBLISHED_FRAMES", whole | {"test": TEST + 1})
    with pytest.raises(ArchiveError, match="from fewer frames than were published") as refusal:
        preparation.prepare("rhd", manual_dir=zipped, data_dir=tmp_path)
    assert "--config.data.allow_partial=true" in str(refusal.value)


def test_the_options_that_are_advised_to_a_run_are_there():
    """Every `--config.data.…` in the package's messages is a field."""
    advised = {"allow_partial", "allow_bad"}
    root = Path(preparation.__file__).parents[2]
    sources = [*root.glob("pmd_jax/**/*.py"), *root.glob("datasets/**/*.py")]
    advised |= {name for path in sources for name in re.findall(r"--config\.data\.(\w+)", path.read_text())}
    advised |= {name for path in sources for name in re.findall(r"\boption\(\"(\w+)\"", path.read_text())}
    assert advised <= {field.name for field in dataclasses.fields(DataConfig)}


def test_a_run_prepares_with_its_own_options(tmp_path, files):
    raw = mini_archives.write_tree(tmp_path / "raw" / "rhd", damaged(files))
    data = DataConfig("rhd", data_dir=str(tmp_path / "data"), manual_dir=str(raw.parent), allow_partial=True)
    with pytest.raises(ArchiveError, match=r"leave these frames out by .*--config\.data\.allow_bad=3"):
        prepare_once(Config(data=data))
    folder = prepare_once(Config(data=dataclasses.replace(data, allow_bad=3)))
    assert (folder / "summary.json").is_file()


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"splits": {"train": {}}}'])
def test_a_broken_summary_is_said(tmp_path, content):
    folder = tmp_path / "rhd/default/1.0.0"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "summary.json").write_text(content)
    with pytest.raises(ArchiveError, match=r"summary\.json is missing or broken .*: delete .* prepare it again"):
        preparation.prepare("rhd", data_dir=tmp_path)


def test_a_split_without_a_usable_frame_is_refused(tmp_path, files):
    unusable = {name: data for name, data in files.items() if not name.startswith("evaluation/mask")}
    raw = mini_archives.write_tree(tmp_path / "raw", unusable)
    with pytest.raises(ArchiveError, match="no usable frame in the test split"):
        preparation.prepare("rhd", manual_dir=raw, data_dir=tmp_path / "data", allow_partial=True, allow_bad=TEST)
    assert nothing_prepared(tmp_path / "data")


def test_a_corrupt_member_of_a_zip_is_named(tmp_path, files):
    path = mini_archives.write_rhd_zip(tmp_path, files)
    data = bytearray(path.read_bytes())
    name = b"RHD_published_v2/training/color/00001.png"
    start = data.index(name) + len(name) + 100
    data[start : start + 50] = bytes(50)
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"training/color/00001.png: cannot be read"):
        Archive(path, "RHD_published_v2/").read("training/color/00001.png")


def test_swapped_depth_bytes_stop_the_preparation(tmp_path, frames):
    wrong = {
        split: [dataclasses.replace(frame, depth_code=frame.depth_code.byteswap()) for frame in members]
        for split, members in frames.items()
    }
    raw = mini_archives.write_tree(tmp_path / "raw", dict(mini_archives.rhd_files(wrong)))
    with pytest.raises(SelfCheckError, match=r"train: the measured surface .* byte order"):
        preparation.prepare("rhd", manual_dir=raw, data_dir=tmp_path / "data", allow_partial=True)
    assert nothing_prepared(tmp_path / "data")


@pytest.mark.parametrize("there", [True, False])
def test_no_archive_says_what_to_do(tmp_path, capsys, there):
    raw = tmp_path / "raw"
    if there:
        mini_archives.write_tree(raw, {"readme.txt": b"nothing"})
    assert cli.main(["rhd", f"--manual_dir={raw}", f"--data_dir={tmp_path}"]) == 2
    said = capsys.readouterr().err
    for part in (str(raw), "RHD_v1-1.zip", "lmb.informatik.uni-freiburg.de", "7,080,690,299", "launch/demo.py"):
        assert part in said


def test_a_truncated_zip_is_refused(tmp_path, zipped):
    data = (zipped / "RHD_v1-1.zip").read_bytes()
    (tmp_path / "RHD_v1-1.zip").write_bytes(data[: len(data) // 2])
    with pytest.raises(ArchiveError, match=f"RHD_v1-1.zip: not a whole zip .* {len(data) // 2:,} bytes"):
        preparation.prepare("rhd", manual_dir=tmp_path, data_dir=tmp_path / "data")
    assert nothing_prepared(tmp_path / "data")


def test_too_few_frames_and_a_missing_split_are_refused(tmp_path, zipped, files):
    with pytest.raises(ArchiveError, match=f"{TRAIN} frames; RHD has 41,258 here"):
        preparation.prepare("rhd", manual_dir=zipped, data_dir=tmp_path)
    half = mini_archives.write_tree(
        tmp_path / "half", {name: data for name, data in files.items() if name.startswith("training")}
    )
    with pytest.raises(ArchiveError, match=r"No evaluation/anno_evaluation.pickle in .*; --allow_partial"):
        preparation.prepare("rhd", manual_dir=half, data_dir=tmp_path)
    assert nothing_prepared(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts a tiny disk, which needs root")
def test_a_full_disk_is_said(tmp_path, zipped):
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", tmp_path], capture_output=True)
    if mount.returncode:
        pytest.skip("no right to mount a tiny disk here")
    try:
        with pytest.raises(InputError, match=r"disk of .* is full"):
            preparation.prepare("rhd", manual_dir=zipped, data_dir=tmp_path, allow_partial=True)
        assert nothing_prepared(tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


KILLED = """
import os, signal, sys
from pmd_jax.prepare import cli, raw_builder
raw_builder.refuse = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # called when all samples are written
cli.main(sys.argv[1:])
"""


def test_what_a_killed_preparation_left_is_removed_by_the_next(tmp_path, zipped, capsys, monkeypatch):
    command = ["rhd", f"--manual_dir={zipped}", f"--data_dir={tmp_path}", "--allow_partial"]
    root = Path(preparation.__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", KILLED, *command], cwd=root, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    [left] = tmp_path.glob("rhd/default/*")
    assert left.name.startswith("incomplete.")
    assert any(left.iterdir())
    with monkeypatch.context() as patch:  # where a lock means nothing the owner may be alive
        patch.setattr(fcntl, "flock", Mock(side_effect=OSError(errno.ENOLCK, "no locks")))
        patch.setattr(preparation, "_build", Mock())
        preparation.prepare("rhd", manual_dir=zipped, data_dir=tmp_path, allow_partial=True)
    assert left.is_dir()
    capsys.readouterr()
    assert cli.main(command) == 0
    assert f"Removing what a killed preparation left in {left.parent}: {left.name}." in capsys.readouterr().err
    assert sorted(path.name for path in left.parent.iterdir()) == ["1.0.0"]


@pytest.mark.parametrize(("name", "config"), [("rhd", "large"), ("rhd", "full"), ("stb", "large"), ("stb", "full")])
def test_a_run_refuses_pictures_of_another_size_by_name(tmp_path, name, config):
    """Before 29 GB are read; and what is advised is accepted, as far as a folder without an archive."""
    data = DataConfig(name, config, data_dir=str(tmp_path), manual_dir=str(tmp_path))
    with pytest.raises(
        InputError, match=f"dataset_config = '{config}': its pictures are not crops of 64 px"
    ) as refusal:
        prepare_once(Config(data=data))
    advised = str(refusal.value).rpartition("choose from ")[2].rstrip(".").split(", ")
    assert {"default", "mask_box"} <= set(advised)
    assert {"large", "full"}.isdisjoint(advised)
    for other in advised:
        with pytest.raises(ArchiveError, match=r"in a run --config\.data\.allow_partial=true"):
            prepare_once(Config(data=dataclasses.replace(data, dataset_config=other)))


@pytest.mark.parametrize("content", ["{", "", "[]", '{"splits": 3}', None])
def test_a_broken_description_is_said(tmp_path, content, capsys):
    folder = tmp_path / "rendered_hands/smoke/1.0.0"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "dataset_info.json").write_text(content)
    command = ["rendered_hands", "--dataset_config=smoke", f"--data_dir={tmp_path}"]
    assert cli.main(command) == 2
    said = capsys.readouterr().err
    assert "dataset_info.json" in said
    assert "prepare it again" in said
    assert folder.is_dir()


def test_a_data_dir_that_is_a_file(tmp_path, zipped, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    for data_dir in (file, file / "below"):
        assert cli.main(["rhd", f"--manual_dir={zipped}", f"--data_dir={data_dir}", "--allow_partial"]) == 2
        assert "name a folder" in capsys.readouterr().err
    assert file.read_text() == "mine"


WITHOUT_RIGHTS = """
import os, sys
from pathlib import Path
from pmd_jax.prepare import cli as prepare
from pmd_jax.data.dataset import DataError, read_columns

folder, raw, closed = map(Path, sys.argv[1:])

def all_three(folder, raw, archive_dir, data_dir):
    try:
        read_columns(folder, "train")
    except DataError as error:
        print(error)
    print(prepare.main(["rhd", f"--manual_dir={raw}", f"--data_dir={archive_dir}"]))
    print(prepare.main(["rendered_hands", "--dataset_config=smoke", f"--data_dir={data_dir}"]))

all_three(Path("nowhere"), folder, closed.parent / "first", os.devnull)  # imports all: the interpreter may be closed
print("----")
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
sys.stderr = sys.stdout
all_three(folder, raw, closed.parent / "data", closed)
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that anyone may look into; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_no_permission_is_said_and_nothing_is_told_to_be_deleted(zipped, open_folder):
    for name, mode in (("raw", 0o755), ("prepared", 0o755), ("data", 0o777)):
        (open_folder / name).mkdir()
        (open_folder / name).chmod(mode)
    zip_file, info = (
        Path(shutil.copy(zipped / "RHD_v1-1.zip", open_folder / "raw")),
        open_folder / "prepared" / "info.json",
    )
    info.touch()
    for path in (zip_file, info):
        path.chmod(0)
    closed = open_folder / "closed"
    closed.mkdir(mode=0o555)
    command = [sys.executable, "-c", WITHOUT_RIGHTS, str(info.parent), str(zip_file.parent), str(closed)]
    done = subprocess.run(command, cwd=Path(preparation.__file__).parents[2], capture_output=True, text=True)
    said = done.stdout.partition("----")[2]
    assert f"{info} may not be read by you: change its permissions." in said, done.stderr
    assert f"{zip_file}: may not be read by you: change its permissions." in said
    assert f"Permission denied: '{closed}" in said
    assert said.count("\n2\n") == 2
    for wrong in ("Traceback", "delete", "broke off"):
        assert wrong not in said
    assert not list(closed.iterdir())


def test_options_that_mean_nothing_are_refused(tmp_path):
    with pytest.raises(ValueError, match="drawn, not read from an archive"):
        preparation.prepare("rendered_hands", data_dir=tmp_path, allow_bad=1)
    with pytest.raises(ValueError, match="allow_bad = -1 must not be negative"):
        preparation.prepare("rhd", data_dir=tmp_path, allow_bad=-1)
    with pytest.raises(ValueError, match="nonsense"):
        preparation.prepare("rhd", data_dir=tmp_path, dataset_config="nonsense")
    with pytest.raises(ValueError, match="Unknown data set 'rdh'"):
        preparation.prepare("rdh", data_dir=tmp_path)


# ---- download


@pytest.fixture
def server():
    """Serves bytes, and honours a range; `limit` cuts each answer short."""

    class Handler(BaseHTTPRequestHandler):
        content, limit, asked = bytes(range(256)) * 4000, None, []

        def do_GET(self):
            asked = self.headers.get("Range")
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            self.asked.append(start)
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(self.content) - start))
            self.end_headers()
            self.wfile.write(self.content[start:][: self.limit])

        def log_message(self, *_):
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield Handler, f"http://127.0.0.1:{http.server_port}/RHD_v1-1.zip"
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_broken_download_goes_on_where_it_stopped(tmp_path, server):
    handler, url = server
    size = len(handler.content)
    handler.limit = size // 3
    with pytest.raises(ArchiveError, match="The same command goes on"):
        download(tmp_path, url, size)
    assert not (tmp_path / "RHD_v1-1.zip").exists()
    handler.limit = None
    path = download(tmp_path, url, size)
    assert path.read_bytes() == handler.content
    assert handler.asked == [0, size // 3]
    assert download(tmp_path, "http://127.0.0.1:1/", size) == path  # there already: nothing is asked


def test_a_download_that_was_killed_at_its_end_is_whole(tmp_path):
    (tmp_path / "RHD_v1-1.zip.part").write_bytes(b"whole")
    assert download(tmp_path, "http://127.0.0.1:1/x.zip", 5).read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["RHD_v1-1.zip"]


def test_another_file_than_ours_is_refused(tmp_path, server):
    handler, url = server
    with pytest.raises(ArchiveError, match=r"has 1,024,000 bytes in place of 1,024,001"):
        download(tmp_path, url, len(handler.content) + 1)
    assert not list(tmp_path.glob("*.zip"))


def test_no_connection_is_said(tmp_path):
    with pytest.raises(ArchiveError, match="broke off"):
        download(tmp_path, "http://127.0.0.1:1/x.zip", 10)
