"""A trained network as a function: crops to joints, whole pictures to hands."""

from __future__ import annotations

import sys
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from pmd_jax.config.backbones import CROP_SHAPE, CROP_SIZE_PX
from pmd_jax.config.methods import METHODS
from pmd_jax.data import cropping
from pmd_jax.data.cropping import scaled
from pmd_jax.models.description import Description, describe
from pmd_jax.predict.detector import Detection, PalmDetector
from pmd_jax.predict.engines import ENGINES, Engine, GraphError, JaxEngine, OnnxEngine
from pmd_jax.predict.hand_pose import HandPose, central_square, checked_box, place_hand
from pmd_jax.predict.images import as_picture
from pmd_jax.runtime.cores import has_accelerator
from pmd_jax.runtime.errors import CheckpointError, ConfigError, InputError
from pmd_jax.runtime.files import given_path
from pmd_jax.runtime.packaged import find, packaged

if TYPE_CHECKING:
    from pmd_jax.models.saved_model import SavedModel

DEMO = packaged("checkpoints/demo")


class Predictor:
    """RGB to joints.

    Attributes:
        method, config: the name of its method, and the configuration it was trained with.
        crop_margin: how many times as wide as the joints' larger extent its training crops were: 1.5 around joints.
        axes: of its joints, "camera" or "ray" (`config.model.target_frame`).
        engine: what runs it: "onnx" or "jax".
    """

    def __init__(self, description: Description, run: Engine):
        self.method, self.config, self.crop_margin = description.method, description.config, description.crop_margin
        self.axes, self.engine, self._run = description.config.model.target_frame, run.name, run
        self._detector: PalmDetector | None = None
        self._detecting = Lock()  # the detector is one thread's at a time

    def __call__(self, rgb: UInt8[np.ndarray, "b 64 64 3"]) -> Float[np.ndarray, "b 21 3"]:
        """Crops to joints relative to the middle MCP, in units of the wrist to middle MCP distance.

        Their axes are `axes`.

        Raises:
            TypeError: the crops are not uint8.
            ValueError: their shape is not (B, 64, 64, 3).
        """
        rgb = np.asarray(rgb)
        if rgb.dtype != np.uint8:
            raise TypeError(f"The crops are {rgb.dtype}; give uint8 values 0…255.")
        if rgb.ndim != 4 or rgb.shape[1:] != CROP_SHAPE:
            wanted = ", ".join(map(str, ("B", *CROP_SHAPE)))
            raise ValueError(f"The crops have shape {rgb.shape}; give ({wanted}), for one crop rgb[None].")
        return self._run(np.ascontiguousarray(rgb))

    def from_image(
        self,
        image: object,
        box: tuple[float, float, float] | None = None,
        K: Float[np.ndarray, "3 3"] | None = None,
        hand_scale_m: float | None = None,
        root_depth_m: float | None = None,
        *,
        side: str | None = None,
        mirror: bool = False,
    ) -> HandPose:
        """The hand in a whole picture.

        Args:
            image: uint8 RGB (H, W, 3), Pillow's image, or a file's path.
            box: (x0, y0, side), the square around the hand: left and upper edge and side in pixels,
                `crop_margin` times as wide as the joints' larger extent (`cropping.crop_box` makes it of points). It
                may reach outside the picture; `detect` finds some. None: the picture's central square.
            K: the picture's intrinsics, pixels. Makes `uv_px` a perspective projection, and the joints' axes the
                camera's for a network of camera-centred targets (`HandPose.axes`).
            hand_scale_m: distance from wrist (joint 0) to middle MCP (joint 9) in metres, about 0.09 for an adult.
                Gives `xyz_m`, relative to joint 9.
            root_depth_m: distance of joint 9 from the camera along z; with `K` and `hand_scale_m` it makes `xyz_m`
                absolute.
            side: "left" or "right"; handed on.
            mirror: show the network the mirrored crop and mirror its answer, for one that was trained on the other
                side's hands only.

        Raises:
            InputError: a picture that cannot be read, a box outside the picture or of no area, a camera or length that
                makes no sense.
            TypeError, ValueError: an array of another type or shape.
        """
        picture = as_picture(image)
        square = central_square(picture) if box is None else checked_box(box, picture)
        crop = cropping.crop_rgb(picture, square, CROP_SIZE_PX)
        joints = self.of_crops(crop[None], mirror)[0]
        return place_hand(
            joints, square, K, hand_scale_m, root_depth_m, side=side, margin=self.crop_margin, axes=self.axes
        )

    def detect(self, image: object) -> list[Detection]:
        """The hands in a picture, the surest first: boxes for `from_image`, and scores of 0.5 to 1. Needs `detect`.

        Args:
            image: as of `from_image`.

        Raises:
            InputError: the extra is not installed, the detector's file is missing or damaged, or the picture cannot be
                read.
        """
        picture, grown = as_picture(image), self.crop_margin / cropping.MARGIN
        with self._detecting:
            if self._detector is None:
                self._detector = PalmDetector()
            hands = self._detector(picture)
        return [found._replace(box=scaled(found.box, grown)) for found in hands]

    def of_crops(self, rgb: UInt8[np.ndarray, "b 64 64 3"], mirror: bool) -> Float[np.ndarray, "b 21 3"]:
        """As `__call__`; if `mirror`, by way of the mirrored crops."""
        return self(rgb[:, :, ::-1]) * np.array([-1, 1, 1], np.float32) if mirror else self(rgb)


def load(path: str | Path | None = None, engine: str | None = None, threads: int | None = None) -> Predictor:
    """An exported network as a function.

    ONNX Runtime runs it on CPUs, JAX where there is an accelerator. Their joints agree within 1e-5 hand scales on a
    CPU. A graph that is missing, damaged, of another network or unknown to the runtime is not run: JAX takes its place,
    with a sentence on stderr.

    Args:
        path: an export's folder, see `export_folder`.
        engine: "onnx" or "jax"; None: the one for this machine.
        threads: ONNX Runtime uses at most so many; None: as many as there are cores to use.

    Raises:
        CheckpointError: the folder is missing or broken, of another version, or its arrays do not fit its description;
            with `engine` "onnx" also a graph that cannot be used.
        ConfigError: the folder holds a depth teacher, which cannot see RGB.
        InputError: there is no such engine, or no such number of threads.
    """
    if engine is not None and engine not in ENGINES:
        raise InputError(f"engine = {engine!r}: choose from {', '.join(ENGINES)}, or leave it out.")
    if threads is not None and (type(threads) is not int or threads < 1):
        raise InputError(f"threads = {threads!r}: give a whole number of 1 or more, or leave it out.")
    folder = export_folder(path)
    description = _describe_student(folder)
    if engine == "onnx" or (engine is None and not has_accelerator()):
        try:
            return Predictor(description, OnnxEngine(folder, description, threads))
        except GraphError as error:
            sentence = f"The ONNX graph of {folder} is not used: {error}."
            if engine is not None:
                raise CheckpointError(f"{sentence} engine='jax' does without.") from error
            print(f"{sentence} JAX runs the network.", file=sys.stderr)
    from pmd_jax.models import saved_model  # brings JAX

    return Predictor(description, JaxEngine(saved_model.read(folder)))


def of_saved_model(saved: SavedModel) -> Predictor:
    """A network in memory as a function, run by JAX."""
    return Predictor(Description(saved.method, saved.config, saved.crop_margin), JaxEngine(saved))


def read_student(path: str | Path | None = None) -> SavedModel:
    """The network of an export folder that sees RGB, with its weights. Arguments and errors as `load`."""
    from pmd_jax.models import saved_model

    folder = export_folder(path)
    _describe_student(folder)
    return saved_model.read(folder)


def export_folder(path: str | Path | None) -> Path:
    """An export's folder as somebody named it; None, and "checkpoints/demo" in any folder, is the demo network.

    Raises:
        CheckpointError: the demo network is missing.
    """
    if path is not None:
        return find(given_path(path))
    if not DEMO.is_dir():
        raise CheckpointError(f"There is no demo network at {DEMO}: install pmd_jax again, or name an export folder.")
    return DEMO


def _describe_student(folder: Path) -> Description:
    description = describe(folder)
    if METHODS[description.method].modality != "rgb":
        raise ConfigError(f"{folder} holds {description.method!r}, which sees depth; give an RGB network's export.")
    return description
