"""The page's server: what it answers to pictures, and to what is none."""

from __future__ import annotations

import io
import socket
import tempfile

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import pmd_jax
from pmd_jax.app import server
from pmd_jax.runtime import cli


@pytest.fixture(scope="module")
def network(tiny_export):
    return pmd_jax.load(tiny_export)


@pytest.fixture
def client(network):
    return TestClient(server.server(network))


def picture_file(height: int = 48, width: int = 80, form: str = "PNG") -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, form)
    return file.getvalue()


def test_a_picture_gives_what_from_image_says(client, network):
    file = picture_file()
    answer = client.post("/hand?box=10,5,40&hand_scale_m=0.09&side=left", content=file)
    assert answer.status_code == 200
    told = answer.json()
    alone = network.from_image(Image.open(io.BytesIO(file)), (10, 5, 40), hand_scale_m=0.09, side="left")
    assert told["hand"] == alone.as_dict()
    assert told["size_px"] == [80, 48]
    assert told["seconds"] > 0


def test_without_a_box_it_is_the_central_square(client):
    assert client.post("/hand", content=picture_file()).json()["hand"]["box"] == [16, 0, 48]


@pytest.mark.parametrize(
    ("query", "file", "sentence"),
    [
        ("", b"", "The file: not a whole picture (cannot identify image file); give a JPEG or PNG."),
        ("", b"no picture", "not a whole picture"),
        ("", picture_file()[:-2000], "not a whole picture"),
        ("?box=1,2", picture_file(), "give three numbers"),
        ("?box=a,b,c", picture_file(), "give numbers"),
        ("?box=900,0,10", picture_file(), "outside the picture"),
        ("?hand_scale_m=-1", picture_file(), "hand_scale_m"),
        ("?side=up", picture_file(), "choose left or right"),
    ],
)
def test_what_cannot_be_used_gets_a_sentence(client, query, file, sentence):
    answer = client.post(f"/hand{query}", content=file)
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]
    assert "0x" not in answer.json()["error"]


def test_a_file_above_the_limit_is_refused(client, monkeypatch):
    monkeypatch.setattr(server, "MAX_BYTES", 1000)
    answer = client.post("/hand", content=picture_file())
    assert answer.status_code == 400
    assert "larger than" in answer.json()["error"]


def test_the_page_loads_nothing_from_elsewhere(client):
    answer = client.get("/")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "://" not in answer.text


def test_a_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(server, "NEEDS", ("no_such_server",))
    assert server.main([]) == cli.EXIT_BAD_INPUT
    assert "the extra 'app' is not installed" in capsys.readouterr().err


def test_a_missing_checkpoint_gets_a_sentence(tmp_path, capsys):
    assert server.main([f"--checkpoint={tmp_path / 'none'}"]) == cli.EXIT_BAD_INPUT
    assert "none" in capsys.readouterr().err


def test_a_port_in_use_gets_a_sentence(tiny_export, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert server.main([f"--checkpoint={tiny_export}", f"--port={port}"]) == cli.EXIT_BAD_INPUT
    assert f"--port={port}: cannot listen there" in capsys.readouterr().err


def test_the_server_writes_nothing(client, tmp_path, monkeypatch):
    """Neither where it runs nor among temporary files, whatever it is sent."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for file in (picture_file(1500, 2000), b"no picture", picture_file()[:-2000]):
        client.post("/hand", content=file)
    assert not list(tmp_path.iterdir())


def test_it_listens_on_this_machine_only_unless_told_otherwise(tiny_export, monkeypatch):
    asked = []

    def create_server(address, family):
        asked.append(address)
        assert family == socket.AF_INET
        raise OSError("enough")

    monkeypatch.setattr(socket, "create_server", create_server)
    server.main([f"--checkpoint={tiny_export}"])
    server.main([f"--checkpoint={tiny_export}", "--host=0.0.0.0", "--port=81"])
    assert asked == [("127.0.0.1", 8000), ("0.0.0.0", 81)]


@pytest.mark.parametrize("prefix", ["", "/proxy/8000", "/node/host/8000"])
def test_the_page_works_behind_a_prefix(client, prefix):
    """Whether the proxy takes it off or not; the page asks below its own place."""
    assert client.get(prefix + "/").text == server.page()
    assert client.post(prefix + "/hand", content=picture_file()).status_code == 200
    assert 'fetch("/' not in server.page()
