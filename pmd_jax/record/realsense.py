"""Intel RealSense cameras, and files that were recorded from one, by librealsense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pmd_jax.record.camera import CameraError, Frame, Geometry
from pmd_jax.runtime.errors import InputError, first_line

WIDTH, HEIGHT, FRAMES_PER_S = 640, 480, 30  # all models with depth have these
TIMEOUT_MS = 3000  # some cameras take two seconds for their first frame
FILE_TIMEOUT_MS = 500  # a file has nothing to wait for
SAME_MOMENT_MS = 17.0  # half a frame: colour and depth that lie further apart show different hands
_REMEDY = "plug it in to a USB 3 port and close other programs that use it"
_NO_CAMERA = f"No RealSense camera was found: {_REMEDY}, or give a recorded --file."


class RealSense:
    """The first camera that is plugged in, or a recorded file; depth is aligned to colour.

    Args:
        file: of librealsense's recorder or viewer; None: a camera.

    Raises:
        CameraError: no camera, or a file that cannot be played.
        InputError: librealsense cannot be loaded.
    """

    def __init__(self, file: Path | None = None):
        rs = _library()
        self._file, self._pipeline, self._align = file, rs.pipeline(), rs.align(rs.stream.color)
        config, self._timeout_ms = rs.config(), TIMEOUT_MS if file is None else FILE_TIMEOUT_MS
        if file is None:
            if not len(rs.context().query_devices()):  # `start` would wait for one for a quarter of a minute
                raise CameraError(_NO_CAMERA)
            config.enable_stream(rs.stream.depth, WIDTH, HEIGHT, rs.format.z16, FRAMES_PER_S)
            config.enable_stream(rs.stream.color, WIDTH, HEIGHT, rs.format.rgb8, FRAMES_PER_S)
        elif not file.is_file():
            raise CameraError(f"{file}: there is no such file.")
        else:
            config.enable_device_from_file(str(file), repeat_playback=False)
        try:
            profile = self._pipeline.start(config)
            device = profile.get_device()
            if file is not None:
                device.as_playback().set_real_time(False)  # no frame is left out because writing takes time
            colour = profile.get_stream(rs.stream.color).as_video_stream_profile()
            profile.get_stream(rs.stream.depth)
            unit_m = device.first_depth_sensor().get_depth_scale()
        except RuntimeError as error:
            raise CameraError(self._not_started(error)) from None
        if colour.format() != rs.format.rgb8:
            raise CameraError(f"{file}: colour is {colour.format().name}; record it as rgb8.")
        lens = colour.get_intrinsics()
        self.geometry = Geometry(lens.fx, lens.fy, lens.ppx, lens.ppy, lens.width, lens.height, float(f"{unit_m:.6g}"))

    def read(self) -> Frame | None:
        """See `camera.Camera`."""
        while True:
            try:
                frames = self._align.process(self._pipeline.wait_for_frames(self._timeout_ms))
            except RuntimeError as error:
                if self._file is not None:
                    return None
                raise CameraError(
                    f"The camera sends no frames any more ({first_line(error)}): is it plugged in?"
                ) from None
            colour, depth = frames.get_color_frame(), frames.get_depth_frame()
            if colour and depth and _same_moment(colour, depth):
                # Copies: librealsense uses the memory again.
                rgb, counts = np.array(colour.get_data()), np.array(depth.get_data())
                return Frame(rgb, counts, colour.get_timestamp() / 1000)

    def close(self) -> None:
        """See `camera.Camera`."""
        self._pipeline.stop()

    def _not_started(self, error: RuntimeError) -> str:
        if self._file is not None:
            return f"{self._file}: cannot be played ({first_line(error)}); it needs colour and depth."
        return f"The RealSense camera does not start ({first_line(error)}): {_REMEDY}."


def _same_moment(colour: Any, depth: Any) -> bool:
    """By their time stamps, where both are of one clock."""
    if colour.get_frame_timestamp_domain() != depth.get_frame_timestamp_domain():
        return True
    return abs(colour.get_timestamp() - depth.get_timestamp()) <= SAME_MOMENT_MS


def _library() -> Any:
    try:
        import pyrealsense2
    except ImportError as error:  # installed, but without what it needs of the system
        raise InputError(
            f"librealsense cannot be loaded ({error}); on Debian and Ubuntu: apt-get install libusb-1.0-0"
        ) from None
    return pyrealsense2
