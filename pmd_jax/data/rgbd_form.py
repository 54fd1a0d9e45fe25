"""The folder form of an RGB-D recording: what `pmd_jax.record` writes and `datasets/rgbd_folder` reads.

<recording>/intrinsics.json      the camera, the unit of depth, and whose hand it is (`Description`)
<recording>/color/000000.jpg     or .png, 8 bits
<recording>/depth/000000.png     16-bit grey, counts of `depth_unit_m`, 0 = not measured, registered to the colour
<recording>/joints/000000.json   optional: {"right": [[x, y, z], … 21]}, metres, camera frame, our joint order
<recording>/joints.jsonl         or all of them: {"frame": "000000", "right": …} a line
<recording>/boxes.json           optional: {"000000": {"right": [x0, y0, side]}}, the squares to crop, pixels
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from pmd_jax.data.hand import SIDES
from pmd_jax.runtime.errors import InputError

DESCRIPTION, BOXES, JOINT_LINES = "intrinsics.json", "boxes.json", "joints.jsonl"  # files
COLOUR, DEPTH, JOINTS = "color", "depth", "joints"  # folders
HANDS = (*SIDES, "both")
SPLITS = ("train", "test")
MAX_SIDE_PX = 8192
FOCAL_PER_WIDTH = (0.2, 5.0)  # views of 136° and of 11°


@dataclass(frozen=True)
class Description:
    """`intrinsics.json`.

    Attributes:
        fx, fy, cx, cy: of the colour camera, in pixels whose centres lie at integers.
        width, height: of both pictures, pixels.
        depth_unit_m: metres a count of the depth map.
        hand: which hand the frames show: "left", "right", or "both".
        order: for "both", the sides as they lie in the picture from left to right; else empty.
        split: what the recording is for: "train" or "test".

    Raises:
        InputError: a value that no camera has, or a word that is not one of these; the message names it.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    depth_unit_m: float
    hand: str
    order: tuple[str, ...] = ()
    split: str = "train"

    def __post_init__(self):
        for size in ("width", "height"):
            if not 1 <= getattr(self, size) <= MAX_SIDE_PX:
                raise InputError(f"{size} = {getattr(self, size)}: give 1 to {MAX_SIDE_PX} pixels")
        for focal in (self.fx, self.fy):
            low, high = (share * self.width for share in FOCAL_PER_WIDTH)
            if not low <= focal <= high:
                raise InputError(
                    f"fx, fy = {self.fx:g}, {self.fy:g} pixels for pictures {self.width} pixels wide: no camera has "
                    f"that (limits {low:g} to {high:g}); give those of this size of picture"
                )
        if not (0 <= self.cx <= self.width and 0 <= self.cy <= self.height):
            raise InputError(
                f"cx, cy = {self.cx:g}, {self.cy:g} lies outside pictures of {self.width} × {self.height}: give the "
                "principal point of this size of picture, in pixels"
            )
        if not 0 < self.depth_unit_m <= 1:
            raise InputError(f"depth_unit_m = {self.depth_unit_m:g}: give metres a count, 0.001 for millimetres")
        for name, known in (("hand", HANDS), ("split", SPLITS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} = {getattr(self, name)!r}: choose one of {', '.join(known)}")
        if self.hand == "both" and sorted(self.order) != sorted(SIDES):
            raise InputError(
                'hand = "both" needs order: the sides as they lie in the picture from left to right, ["left", "right"] '
                'or ["right", "left"]'
            )

    @property
    def K(self) -> Float[np.ndarray, "3 3"]:
        """Intrinsics as a matrix."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    @property
    def sides(self) -> tuple[str, ...]:
        """Of the hands in each frame, from left to right in the picture."""
        return self.order if self.hand == "both" else (self.hand,)

    def as_json(self) -> dict[str, Any]:
        """For the file."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value != ()}


def parse_description(text: str) -> Description:
    """`intrinsics.json`'s text; names that we do not know are left to those who wrote them.

    Raises:
        InputError: no JSON, or a name is missing or has a value of another kind.
    """
    try:
        given = json.loads(text)
    except ValueError as error:
        raise InputError(f"not JSON ({error})") from None
    if not isinstance(given, Mapping):
        raise InputError("not a JSON object of names and values")
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Description):
        if field.name in given:
            values[field.name] = _of_kind(field.name, given[field.name])
        elif field.default is dataclasses.MISSING:
            raise InputError(f"{field.name} is missing; it needs fx, fy, cx, cy, width, height, depth_unit_m and hand")
    return Description(**values)


def _of_kind(name: str, value: Any) -> Any:
    if name in ("hand", "split"):
        return value
    if name == "order":
        return tuple(value) if isinstance(value, list) and all(isinstance(one, str) for one in value) else (value,)
    whole = name in ("width", "height")
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not abs(value) < 1e9:
        raise InputError(f"{name} = {value!r}: give a {'whole number' if whole else 'number'}")
    return value if whole else float(value)
