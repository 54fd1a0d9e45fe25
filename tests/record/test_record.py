"""A camera's frames on the disk: what is recorded is whole and stays, whatever ends it. The camera is made up."""

from __future__ import annotations

import json
import signal
import threading
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from pmd_jax.prepare import registry
from pmd_jax.prepare.archive import Archive
from pmd_jax.record import cli, page, session
from pmd_jax.record.camera import CameraError, Frame, Geometry
from pmd_jax.record.writer import RecordingWriter
from pmd_jax.runtime.errors import EXIT_BAD_INPUT, InputError
from reference import mini_recording

registry.register_datasets()

from pmd_datasets.rgbd_folder import frames, layout  # noqa: E402

FPS = 30


class FakeCamera:
    """Hands in turn at 30 frames a second, by its own clock; after `plugged` frames somebody pulls the plug."""

    geometry = Geometry(
        mini_recording.FOCAL,
        mini_recording.FOCAL,
        mini_recording.WIDTH / 2,
        mini_recording.HEIGHT / 2,
        mini_recording.WIDTH,
        mini_recording.HEIGHT,
        0.001,
    )

    def __init__(self, hands: list[dict[str, np.ndarray]], count: int = 90, plugged: int = 1000):
        self.frames = self._frames(hands, count)
        self.plugged, self.closed = plugged, False

    @staticmethod
    def _frames(hands, count: int) -> Iterator[Frame]:
        for number in range(count):
            drawn = hands[number % len(hands)]
            depth_m = np.where(drawn["depth"] > 0, drawn["depth"] * 1e-4, mini_recording.WALL_M)
            yield Frame(drawn["rgb"], np.rint(depth_m * 1000).astype(np.uint16), 1000 + number / FPS)

    def read(self) -> Frame | None:
        if self.plugged == 0:
            raise CameraError("The camera sends no frames any more: is it plugged in?")
        self.plugged -= 1
        return next(self.frames, None)

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def hands() -> list[dict[str, np.ndarray]]:
    return mini_recording.hands(3, seed=9)


def options(folder: Path, **changes: object) -> Namespace:
    given = {"hand": "right", "order": None, "split": "train", "seconds": None, "wait": 0.0, "rate": 10.0}
    return Namespace(folder=folder, host="127.0.0.1", port=0, **given | changes)


def recorded(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("color/*.jpg"))


def test_what_is_recorded_can_be_prepared(hands, tmp_path, capsys):
    cli.record(FakeCamera(hands), options(tmp_path / "kitchen"))
    recording = layout.read_recording(Archive(tmp_path / "kitchen"))
    outcome = frames.read_task(frames.Task(recording))
    assert len(outcome.examples) == outcome.frames == len(recorded(tmp_path / "kitchen"))
    assert 28 <= outcome.frames <= 30  # three seconds, ten a second
    assert f"{outcome.frames} frames were recorded in {tmp_path / 'kitchen'}" in capsys.readouterr().out
    first = np.asarray(Image.open(tmp_path / "kitchen" / "depth" / "000000.png"))
    drawn = hands[0]["depth"]
    np.testing.assert_allclose(first[drawn > 0], drawn[drawn > 0] / 10, atol=0.51)
    colour = np.asarray(Image.open(tmp_path / "kitchen" / "color" / "000000.jpg"))
    assert abs(colour.astype(int) - hands[0]["rgb"]).mean() < 4


def test_seconds_wait_and_rate_are_the_cameras(hands, tmp_path):
    cli.record(FakeCamera(hands), options(tmp_path / "a", seconds=1.0, wait=0.5, rate=30))
    assert 29 <= len(recorded(tmp_path / "a")) <= 31


def test_a_camera_that_is_unplugged_leaves_what_it_gave(hands, tmp_path):
    with pytest.raises(CameraError, match=r"is it plugged in\? 7 frames were recorded in"):
        cli.record(FakeCamera(hands, plugged=7), options(tmp_path / "a", rate=60))
    assert recorded(tmp_path / "a") == [f"{number:06d}" for number in range(7)]
    assert len(frames.read_task(frames.Task(layout.read_recording(Archive(tmp_path / "a")))).examples) == 7


def test_without_a_frame_nothing_is_left(hands, tmp_path):
    with pytest.raises(CameraError, match="Nothing was recorded"):
        cli.record(FakeCamera(hands, plugged=0), options(tmp_path / "a"))
    assert not list(tmp_path.iterdir())


def test_a_frame_is_whole_or_not_there(hands, tmp_path, monkeypatch):
    """The disk is full when the second colour picture comes."""
    camera = FakeCamera(hands)
    real, written = Image.Image.save, []

    def save(self, file, form, **more):
        written.append(form)
        if written.count("JPEG") == 2:
            raise OSError(28, "No space left on device")
        real(self, file, form, **more)

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="No space left"):
        cli.record(camera, options(tmp_path / "a"))
    monkeypatch.undo()
    assert recorded(tmp_path / "a") == ["000000"]
    assert [path.name for path in (tmp_path / "a" / "depth").iterdir()] == ["000000.png"]


def test_a_recording_is_never_overwritten(hands, tmp_path, capsys):
    cli.record(FakeCamera(hands, 6), options(tmp_path / "a"))
    before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*.*")}
    with pytest.raises(InputError, match="no recording is overwritten"):
        cli.record(FakeCamera(hands), options(tmp_path / "a"))
    assert cli.main([str(tmp_path / "a"), "--hand=right"]) == EXIT_BAD_INPUT  # before a camera is looked for
    assert "no recording is overwritten" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "a").rglob("*.*")} == before


def test_ctrl_c_ends_it_and_keeps_all(hands, tmp_path):
    class Interrupted(FakeCamera):
        def read(self) -> Frame | None:
            if self.plugged == 995:
                signal.raise_signal(signal.SIGINT)
            return super().read()

    handler = signal.getsignal(signal.SIGINT)
    cli.record(Interrupted(hands), options(tmp_path / "a", rate=60))
    assert len(recorded(tmp_path / "a")) == 6
    assert signal.getsignal(signal.SIGINT) is handler


def test_both_hands_need_their_order(hands, tmp_path):
    with pytest.raises(InputError, match="needs order"):
        cli.record(FakeCamera(hands), options(tmp_path / "a", hand="both"))
    cli.record(FakeCamera(hands, 3), options(tmp_path / "a", hand="both", order="right,left"))
    assert json.loads((tmp_path / "a" / "intrinsics.json").read_text())["order"] == ["right", "left"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--rate=0"], "--rate=0: choose above 0 and at most 60 frames a second"),
        (["--seconds=-1"], "--seconds=-1: choose 0 or more seconds"),
        (["--wait=nan"], "--wait=nan: choose 0 or more seconds"),
    ],
)
def test_options_that_make_no_sense(given, sentence, tmp_path, capsys):
    assert cli.main([str(tmp_path / "a"), "--hand=right", *given]) == EXIT_BAD_INPUT
    assert sentence in capsys.readouterr().err


def test_a_missing_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "NEEDS", ("no_such_camera",))
    assert cli.main([str(tmp_path / "a"), "--hand=right"]) == EXIT_BAD_INPUT
    assert "the extra 'realsense' is not installed" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# ---- the page


def test_the_page_shows_the_latest_frame_and_stops(hands, tmp_path):
    camera, view = FakeCamera(hands), session.View()
    description = page.Description(*camera.geometry, hand="right")
    client = TestClient(page.server(view, description))
    assert "://" not in client.get("/").text
    assert client.get("/view.jpg").status_code == 204
    view.frame, view.count, view.seconds = camera.read(), 12, 1.25
    answer = client.get("/view.jpg")
    assert (answer.headers["X-Hand"], answer.headers["X-Frames"], answer.headers["X-Seconds"]) == (
        "right hand",
        "12",
        "1.2",
    )
    assert answer.content[:2] == b"\xff\xd8"
    shown, _ = page.picture(view.frame, description)
    assert shown.size == (2 * mini_recording.WIDTH, mini_recording.HEIGHT)
    wall = view.frame._replace(depth=np.full_like(view.frame.depth, 1000))
    assert page.picture(wall, description)[1] == "no hand: the nearest surface is 1 m away"
    assert client.post("/stop").status_code == 204
    with RecordingWriter(tmp_path / "a", description) as writer:
        session.run(camera, writer, view, wait_s=0, seconds=None, per_s=10)
    assert not (tmp_path / "a").exists()  # it was stopped before the first frame


@pytest.mark.browser
def test_the_page_in_a_browser(hands, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    camera, view = FakeCamera(hands), session.View()
    view.frame, view.count, view.seconds = camera.read(), 12, 1.25
    with page.shown(view, page.Description(*camera.geometry, hand="right"), "127.0.0.1", 0) as address:
        browser.get(address)
        wide = 2 * mini_recording.WIDTH
        script = "return document.getElementById('view').naturalWidth"
        WebDriverWait(browser, 30).until(lambda page: page.execute_script(script) == wide)
        assert browser.find_element(By.ID, "said").text == "12 frames, 1 s"
        assert browser.find_element(By.ID, "hand").text == "Found: right hand"
        browser.find_element(By.ID, "stop").click()
        assert view.stop.wait(timeout=10)
    WebDriverWait(browser, 30).until(lambda page: "ended" in page.find_element(By.ID, "said").text)


def test_the_page_is_served_while_it_records(hands, tmp_path):
    threads = {thread.name for thread in threading.enumerate()}
    with page.shown(session.View(), page.Description(*FakeCamera.geometry, hand="right"), "127.0.0.1", 0) as address:
        assert address.startswith("http://127.0.0.1:")
        assert "page" in {thread.name for thread in threading.enumerate()}
    assert {thread.name for thread in threading.enumerate()} <= threads
