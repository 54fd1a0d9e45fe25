"""A trained network as a function: crops to joints, whole pictures to hands."""

from __future__ import annotations

import functools
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float, UInt8

from pmd_jax.config.backbones import CROP_SHAPE, CROP_SIZE_PX
from pmd_jax.config.methods import METHODS
from pmd_jax.data import cropping
from pmd_jax.data.inputs import normalise_rgb
from pmd_jax.models import saved_model
from pmd_jax.models.fold_batch_norm import fold
from pmd_jax.models.pmd_net import PMDNet
from pmd_jax.models.row_parts import in_row_parts
from pmd_jax.predict.hand_pose import HandPose, central_square, checked_box, place_hand
from pmd_jax.predict.images import as_picture
from pmd_jax.runtime.errors import CheckpointError, ConfigError
from pmd_jax.runtime.files import given_path
from pmd_jax.runtime.packaged import find, packaged

DEMO = packaged("checkpoints/demo")


class Predictor:
    """RGB to joints.

    Attributes:
        row, config: which network this is, and the configuration it was trained with.
        crop_margin: how many times as wide as the joints' larger extent its training crops were: 1.5 around joints.
    """

    def __init__(self, exported: saved_model.SavedModel):
        self.row, self.config, self.crop_margin = exported.row, exported.config, exported.crop_margin
        graph, params = nnx.split(in_row_parts(fold(nnx.merge(exported.network.evaluation, *exported.weights))))
        self._params = jax.device_put(params)
        self._run = jax.jit(functools.partial(_predict, graph))

    def __call__(self, rgb: UInt8[np.ndarray, "b 64 64 3"]) -> Float[np.ndarray, "b 21 3"]:
        """Crops to joints relative to the middle MCP, in units of the wrist to middle MCP distance; the camera's axes.

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
        return np.asarray(self._run(self._params, rgb))

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
                may reach outside the picture. None: the picture's central square, for we have no hand detector.
            K: the picture's intrinsics, pixels. Makes `uv_px` a perspective projection.
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
        return place_hand(joints, square, K, hand_scale_m, root_depth_m, side=side, margin=self.crop_margin)

    def of_crops(self, rgb: UInt8[np.ndarray, "b 64 64 3"], mirror: bool) -> Float[np.ndarray, "b 21 3"]:
        """As `__call__`; if `mirror`, by way of the mirrored crops."""
        return self(rgb[:, :, ::-1]) * np.array([-1, 1, 1], np.float32) if mirror else self(rgb)


def _predict(graph: nnx.GraphDef[PMDNet], params: nnx.State, rgb: jax.Array) -> jax.Array:
    return nnx.merge(graph, params, copy=True)(normalise_rgb(rgb)).pose


def load(path: str | Path | None = None) -> Predictor:
    """An exported student as a function of uint8 crops. Arguments and errors as `read_student`."""
    return Predictor(read_student(path))


def read_student(path: str | Path | None = None) -> saved_model.SavedModel:
    """The network of an export folder that sees RGB.

    Args:
        path: an export's folder, see `export_folder`.

    Raises:
        CheckpointError: the folder is missing or broken, of another version, or its arrays do not fit its description.
        ConfigError: the folder holds a depth teacher, which cannot see RGB.
    """
    folder = export_folder(path)
    exported = saved_model.read(folder)
    if METHODS[exported.row].modality != "rgb":
        raise ConfigError(f"{folder} holds {exported.row!r}, which sees depth; give an RGB network's export.")
    return exported


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
