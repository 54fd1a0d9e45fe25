"""Records a depth camera: `python -m pmd_jax.record data/raw/rgbd_folder/kitchen --hand=right`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from pmd_jax.data.rgbd_form import HANDS, SPLITS, Description
from pmd_jax.record import page, session
from pmd_jax.record.camera import Camera, CameraError
from pmd_jax.record.writer import RecordingWriter
from pmd_jax.runtime import cli
from pmd_jax.runtime.errors import InputError
from pmd_jax.runtime.files import given_path

NEEDS = ("pyrealsense2", "starlette", "uvicorn")
MAX_FRAMES_PER_S = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pmd_jax.record", description="Records a RealSense camera; Enter, Ctrl-C or the page ends it."
    )
    parser.add_argument("folder", type=given_path, help="of the recording, new: data/raw/rgbd_folder/kitchen, say")
    parser.add_argument("--hand", choices=HANDS, required=True, help="which hand the frames show")
    parser.add_argument("--order", help="for --hand=both: left,right or right,left, as they lie in the picture")
    parser.add_argument("--split", choices=SPLITS, default="train", help="what it is for (%(default)s)")
    parser.add_argument("--seconds", type=float, help="how long to record (until somebody ends it)")
    parser.add_argument("--wait", type=float, default=3.0, metavar="S", help="seconds before it begins (%(default)s)")
    parser.add_argument("--rate", type=float, default=10.0, metavar="N", help="frames to keep a second (%(default)s)")
    parser.add_argument("--file", type=given_path, help="a file recorded by librealsense, in place of a camera")
    parser.add_argument("--host", default="127.0.0.1", help="who may look: this machine only (%(default)s)")
    parser.add_argument("--port", type=int, default=8001, help="of the page (%(default)s)")
    options = parser.parse_args(arguments)
    return cli.exit_code(lambda: _record(options))


def _record(options: argparse.Namespace) -> None:
    _check(options)
    cli.require("realsense", NEEDS)
    from pmd_jax.record.realsense import RealSense

    camera = RealSense(options.file)
    try:
        record(camera, options)
    finally:
        camera.close()


def _check(options: argparse.Namespace) -> None:
    if options.folder.exists():
        raise InputError(f"{options.folder} exists, and no recording is overwritten: name another folder.")
    if not 0 < options.rate <= MAX_FRAMES_PER_S:
        raise InputError(f"--rate={options.rate:g}: choose above 0 and at most {MAX_FRAMES_PER_S:g} frames a second.")
    for name in ("seconds", "wait"):
        value = getattr(options, name)
        if value is not None and not 0 <= value < float("inf"):
            raise InputError(f"--{name}={value:g}: choose 0 or more seconds.")


def record(camera: Camera, options: argparse.Namespace) -> None:
    """Records a started camera, with the page beside it, and says what came of it.

    Raises:
        InputError: the folder exists, the page cannot be served, or the camera's values make no sense.
        CameraError: the camera went away; what was recorded is kept.
    """
    order = tuple(options.order.split(",")) if options.order else ()
    description = Description(*camera.geometry, hand=options.hand, order=order, split=options.split)
    view = session.View()
    with page.shown(view, description, options.host, options.port) as address, _stopping(view.stop):
        print(f"Open {address} in a browser to see it; Enter or Ctrl-C ends the recording.", flush=True)
        with RecordingWriter(options.folder, description) as writer:
            try:
                session.run(camera, writer, view, wait_s=options.wait, seconds=options.seconds, per_s=options.rate)
            except CameraError as error:
                raise CameraError(f"{error} {_kept(options.folder, writer.count)}") from None
    print(_kept(options.folder, writer.count))


def _kept(folder: Path, count: int) -> str:
    return f"{count} frames were recorded in {folder}." if count else "Nothing was recorded."


@contextmanager
def _stopping(stop: Event) -> Iterator[None]:
    """Inside, Ctrl-C, SIGTERM and Enter set `stop`, and interrupt nothing; a second Ctrl-C interrupts."""

    def asked(number: int, _frame) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    def wait_for_enter() -> None:
        if sys.stdin.readline():
            stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if sys.stdin is not None and sys.stdin.isatty():
        threading.Thread(target=wait_for_enter, name="enter", daemon=True).start()
    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
