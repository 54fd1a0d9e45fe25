"""Frames as files of the folder form. A frame is there with both of its pictures, or not at all."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from pmd_jax.data import rgbd_form
from pmd_jax.data.rgbd_form import Description
from pmd_jax.record.camera import Frame
from pmd_jax.runtime.errors import InputError
from pmd_jax.runtime.files import write_bytes, write_json

JPEG_QUALITY = 95


class RecordingWriter:
    """A new recording, a context: whatever ends it, frames that were written stay; without any, nothing stays.

    Args:
        folder: of the recording; must not exist yet.

    Raises:
        InputError: the folder exists; entering the context tells.
    """

    def __init__(self, folder: Path, description: Description):
        self.folder, self.description, self.count = folder, description, 0

    def __enter__(self) -> RecordingWriter:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.folder.mkdir()
        except FileExistsError:
            raise InputError(f"{self.folder} exists, and no recording is overwritten: name another folder.") from None
        write_json(self.folder / rgbd_form.DESCRIPTION, self.description.as_json())
        return self

    def __exit__(self, *_) -> None:
        if not self.count:
            shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, frame: Frame) -> None:
        """The next frame. The colour picture comes last and is what makes it one."""
        name = f"{self.count:06d}"
        depth = self.folder / rgbd_form.DEPTH / f"{name}.png"
        try:
            write_bytes(depth, _encoded(frame.depth, "PNG", compress_level=1))
            colour = _encoded(frame.rgb, "JPEG", quality=JPEG_QUALITY, subsampling=0)
            write_bytes(self.folder / rgbd_form.COLOUR / f"{name}.jpg", colour)
        except BaseException:
            depth.unlink(missing_ok=True)
            raise
        self.count += 1


def _encoded(picture: np.ndarray, form: str, **options: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, form, **options)
    return file.getvalue()
