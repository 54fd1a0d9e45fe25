"""Films come out as players show them, each picture at its time; a film is refused only where it is cut short."""

from __future__ import annotations

import itertools
import resource
from pathlib import Path

import av
import numpy as np
import pytest
from film_files import put_cover_first, set_display_matrix, set_edit_list, write_film
from PIL import Image

from pmd_jax.predict import video
from pmd_jax.predict.video import VideoError, mp4_writer
from pmd_jax.predict.video_bytes import is_cut

TENTHS = [i / 10 for i in range(12)]
# The one colour at its upper left, another beside it, a third below.
CORNERS = np.asarray(
    Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 0, 0]]], np.uint8)).resize((64, 48), 0)
)
NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
MATRICES = [
    (swapped and (0, down, right, 0)) or (right, 0, 0, down)
    for swapped, right, down in itertools.product((False, True), (1, -1), (1, -1))
]


def times_of(path: Path) -> list[float]:
    return [frame.time_s for frame in video.Video(path)]


@pytest.mark.parametrize("matrix", MATRICES, ids=str)
def test_every_display_matrix(tmp_path, matrix):
    """Each stored pixel lies where the matrix sends it."""
    path = write_film(tmp_path / "turned.mp4", [0], CORNERS)
    set_display_matrix(path, matrix)
    ((rgb, _),) = video.Video(path)
    uv = np.stack(np.meshgrid(np.arange(64), np.arange(48)), -1)
    shown = uv @ np.reshape(matrix, (2, 2))
    shown -= shown.min((0, 1))
    expected = np.zeros((shown[..., 1].max() + 1, shown[..., 0].max() + 1, 3), np.uint8)
    expected[shown[..., 1], shown[..., 0]] = CORNERS
    assert rgb.shape == expected.shape
    assert abs(rgb.astype(int) - expected).mean() < 12  # H.264 and its colours


def test_without_a_matrix_as_it_is_stored(tmp_path):
    ((rgb, _),) = video.Video(write_film(tmp_path / "plain.mkv", [0], CORNERS))
    assert abs(rgb.astype(int) - CORNERS).mean() < 12


# ---- whole though they look cut


def test_an_edit_list_shows_a_part(tmp_path):
    path = write_film(tmp_path / "edited.mp4", TENTHS)
    set_edit_list(path, 0.5, 0.6)
    assert video.Video(path).frames == 12
    assert times_of(path) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5], abs=0.01)


@pytest.mark.parametrize("name", ["sound.mp4", "sound.mkv", "sound.ts", "sound.flv"])
def test_sound_may_be_longer_than_the_pictures(tmp_path, name):
    assert len(times_of(write_film(tmp_path / name, TENTHS, sound_s=3))) == 12


def test_avi_with_dropped_pictures(tmp_path):
    times = [0, 0.1, 0.2, 0.8, 0.9, 1.0, 2.0]
    path = write_film(tmp_path / "dropped.avi", times, codec="mjpeg")
    assert video.Video(path).frames == 21
    assert times_of(path) == pytest.approx(times)


def test_times_of_an_avi_are_in_order(tmp_path):
    """Its pictures refer to later ones: it holds the order of decoding only."""
    path = tmp_path / "order.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for number in range(12):
            shown = np.full((48, 64, 3), 20 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode())
    assert times_of(path) == pytest.approx(TENTHS)


def test_a_cover_picture_is_not_the_film(tmp_path):
    path = write_film(tmp_path / "cover.mp4", TENTHS)
    put_cover_first(path, tmp_path / "cover.jpg")
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "mjpeg"
    assert len(times_of(path)) == 12
    assert next(iter(video.Video(path))).rgb.shape == (48, 64, 3)


def test_times_begin_at_the_films_beginning(tmp_path):
    """A transport stream's clock runs on from film to film."""
    assert times_of(write_film(tmp_path / "clock.ts", TENTHS)) == pytest.approx(TENTHS, abs=1e-3)


# ---- cut short


@pytest.mark.parametrize(
    ("name", "options", "promised"),
    [
        ("cut.mp4", {"movflags": "faststart"}, "12 pictures"),
        ("cut.avi", {"codec": "mjpeg"}, "12 pictures"),
        ("cut.mkv", {"cluster_time_limit": "300"}, r"1\.2 s"),
    ],
)
def test_a_film_that_breaks_off(tmp_path, name, options, promised):
    path = write_film(tmp_path / name, TENTHS, NOISE, **options)
    assert not is_cut(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    assert is_cut(path)
    seen = []
    with pytest.raises(VideoError, match=rf"{name}: breaks off after \d+ pictures; it should have {promised}"):
        seen.extend(video.Video(path))
    assert 0 < len(seen) < 12


def test_a_film_that_is_cut_before_its_index(tmp_path):
    path = write_film(tmp_path / "cut.mp4", TENTHS, NOISE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VideoError, match="breaks off before its first picture"):
        video.Video(path)


def test_what_a_camera_puts_behind_its_film_is_no_part_of_it(tmp_path):
    path = write_film(tmp_path / "trailer.mp4", TENTHS)
    path.write_bytes(path.read_bytes() + b"\xff" * 1000)
    assert not is_cut(path)


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0", b"RIFF", b"\x1a\x45\xdf\xa3", b"no film at all"])
def test_what_is_no_film_is_not_cut(tmp_path, content):
    (tmp_path / "none").write_bytes(content)
    assert not is_cut(tmp_path / "none")


# ---- writing


def test_a_written_film_keeps_each_pictures_time(tmp_path):
    times = [3.0, 3.1, 3.2, 3.8, 5.0, 5.0, 8.3]
    with mp4_writer(tmp_path / "film.mp4", 30) as write:
        for time_s in times:
            write(np.zeros((47, 63, 3), np.uint8), time_s)
    assert times_of(tmp_path / "film.mp4") == pytest.approx([0, 0.1, 0.2, 0.8, 2.0, 2.0, 5.3], abs=1e-3)


def test_a_film_that_does_not_fit_leaves_nothing(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(OSError, match=r"too large.*film\.mp4"):
            _write_three(tmp_path / "film.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def _write_three(path: Path) -> None:
    with mp4_writer(path, 10) as write:
        for number in range(3):
            write(NOISE, number / 10)
