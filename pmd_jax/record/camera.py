"""What a depth camera is to the recorder; a new make of camera is one more class with these three members."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import UInt8, UInt16

from pmd_jax.runtime.errors import InputError


class CameraError(InputError):
    """There is no camera, or it went away; the message says what to do."""


class Geometry(NamedTuple):
    """The colour camera's, to which depth is registered; the names are those of `rgbd_form.Description`."""

    fx: float  # pixels
    fy: float
    cx: float  # pixels, centres at integers
    cy: float
    width: int
    height: int
    depth_unit_m: float  # metres a count


class Frame(NamedTuple):
    """Colour and depth of one moment."""

    rgb: UInt8[np.ndarray, "h w 3"]
    depth: UInt16[np.ndarray, "h w"]  # counts, 0 = not measured
    time_s: float  # by the camera's clock


class Camera(Protocol):
    """A source of frames, started."""

    geometry: Geometry

    def read(self) -> Frame | None:
        """The next frame, when it is there; None after the last one of a file.

        Raises:
            CameraError: the camera was unplugged, or sends nothing.
        """
        ...

    def close(self) -> None:
        """Stops it."""
        ...
