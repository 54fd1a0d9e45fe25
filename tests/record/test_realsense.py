"""librealsense's software device, recorded by its recorder and played by its pipeline, as a real camera would be."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pmd_jax.record import cli, realsense
from pmd_jax.record.camera import CameraError, Geometry
from pmd_jax.runtime.errors import EXIT_BAD_INPUT

rs = pytest.importorskip("pyrealsense2", exc_type=ImportError, reason="needs the extra realsense and libusb")

WIDTH, HEIGHT, FRAMES = 64, 48, 8
UNIT_M = 0.00025


def stream(kind, form, bytes_a_pixel: int, uid: int):
    lens = rs.intrinsics()
    lens.width, lens.height, lens.fx, lens.fy, lens.ppx, lens.ppy = WIDTH, HEIGHT, 60.0, 61.0, 31.0, 24.0
    lens.model, lens.coeffs = rs.distortion.none, [0.0] * 5
    made = rs.video_stream()
    made.type, made.index, made.uid, made.fmt, made.bpp = kind, 0, uid, form, bytes_a_pixel
    made.width, made.height, made.fps, made.intrinsics = WIDTH, HEIGHT, 30, lens
    return made


def software_frame(profile, pixels: np.ndarray, number: int):
    frame = rs.software_video_frame()
    frame.pixels, frame.profile = pixels, profile.as_video_stream_profile()
    frame.bpp = pixels.itemsize * (pixels.shape[2] if pixels.ndim == 3 else 1)
    frame.stride = WIDTH * frame.bpp
    frame.timestamp, frame.frame_number, frame.domain = (
        1000 + number * 100 / 3,
        number + 1,
        rs.timestamp_domain.hardware_clock,
    )
    frame.depth_units = UNIT_M
    return frame


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """A file in which frame n has depth 2000 + n and red n."""
    path = tmp_path_factory.mktemp("film") / "hand.db3"
    device = rs.software_device()
    depth, colour = device.add_sensor("Stereo Module"), device.add_sensor("RGB Camera")
    depth_profile = depth.add_video_stream(stream(rs.stream.depth, rs.format.z16, 2, 1))
    depth.add_read_only_option(rs.option.depth_units, UNIT_M)
    colour_profile = colour.add_video_stream(stream(rs.stream.color, rs.format.rgb8, 3, 2))
    same = rs.extrinsics()
    same.rotation, same.translation = [1, 0, 0, 0, 1, 0, 0, 0, 1], [0, 0, 0]
    depth_profile.register_extrinsics_to(colour_profile, same)
    recorder, queue = rs.recorder(str(path), device), rs.frame_queue(2 * FRAMES)
    sensors = recorder.query_sensors()
    for sensor in sensors:
        sensor.open(sensor.get_stream_profiles()[0])
        sensor.start(queue)
    for number in range(FRAMES):
        depth.on_video_frame(software_frame(depth_profile, np.full((HEIGHT, WIDTH), 2000 + number, np.uint16), number))
        red = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        red[..., 0] = number
        colour.on_video_frame(software_frame(colour_profile, red, number))
        time.sleep(0.01)  # the recorder drops what comes faster than it writes
    time.sleep(0.2)
    for sensor in sensors:
        sensor.stop()
        sensor.close()
    del recorder, sensors  # closes the file
    return path


def test_a_file_is_played_with_colour_and_depth_of_one_moment(film):
    camera = realsense.RealSense(film)
    assert camera.geometry == pytest.approx(Geometry(60.0, 61.0, 31.0, 24.0, WIDTH, HEIGHT, UNIT_M))
    frames = []
    while (frame := camera.read()) is not None:
        frames.append(frame)
    camera.close()
    assert len(frames) >= FRAMES // 2
    for frame in frames:
        number = int(frame.rgb[0, 0, 0])
        assert (frame.rgb.shape, frame.rgb.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
        assert frame.depth[HEIGHT // 2, WIDTH // 2] == 2000 + number
        assert frame.time_s == pytest.approx(1 + number / 30)


def test_the_command_turns_a_file_into_a_recording(film, tmp_path, capsys):
    options = ["--hand=left", f"--file={film}", "--wait=0", "--rate=60", "--port=0"]
    assert cli.main([str(tmp_path / "a"), *options]) == 0
    written = sorted((tmp_path / "a" / "depth").iterdir())
    assert f"{len(written)} frames were recorded" in capsys.readouterr().out
    assert len(written) >= FRAMES // 2
    assert 2000 <= np.asarray(Image.open(written[0]))[HEIGHT // 2, WIDTH // 2] < 2000 + FRAMES


def test_without_a_camera_or_a_file_there_is_a_sentence(tmp_path, capsys):
    with pytest.raises(CameraError, match="there is no such file"):
        realsense.RealSense(tmp_path / "none.bag")
    (tmp_path / "broken.db3").write_bytes(b"no film")
    with pytest.raises(CameraError, match=r"broken\.db3: cannot be played"):
        realsense.RealSense(tmp_path / "broken.db3")
    if len(rs.context().query_devices()):
        pytest.skip("there is a camera")
    assert cli.main([str(tmp_path / "a"), "--hand=left"]) == EXIT_BAD_INPUT
    assert "No RealSense camera was found" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
