"""All that chance decides about a batch of pictures, before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

from . import background, camera, light, mesh, pose, skin, view
from .draws import Draws
from .kinematics import Transforms, posed_joints, posed_labels

Batch = TypeVar("Batch", bound=tuple)


class Scene(NamedTuple):
    """A batch of hands with their surroundings; every array has the batch as its first axis."""

    shape: Float[np.ndarray, "b 10"]  # standard deviations along the mesh's shape basis
    bones: Transforms
    labels: Float[np.ndarray, "b 21 3"]  # metres, hand frame
    placement: view.Placement
    look: skin.Look
    radiance: Float[np.ndarray, "b d 3"]
    exposure: Float[np.ndarray, " b"]  # mean visible irradiance
    backdrop: background.Backdrop
    sensor: camera.Sensor


def sample_scene(seed: int, indices: Sequence[int], views: str, frame: view.CropFrame | view.FullFrame) -> Scene:
    """Draws a batch. Each part has a random stream of its own, so that a change to one leaves the others alone."""

    def draws(stream: str) -> Draws:
        return Draws(seed, indices, stream)

    hand = mesh.load()
    shape = draws("shape").normal(len(hand.shape_basis), clip=2.5)
    joints = hand.joints + np.matmul(shape[:, None], hand.joint_basis).reshape(-1, 27, 3)
    bones = pose.sample_pose(draws("pose"), hand, joints)
    labels = posed_labels(hand, joints, bones)
    elbow = posed_joints(joints, bones)[:, mesh.ELBOW_JOINT] - joints[:, mesh.WRIST_BONE]
    forearm = elbow / np.sqrt((elbow**2).sum(-1, keepdims=True))
    return Scene(
        shape=shape,
        bones=bones,
        labels=labels,
        placement=view.place(draws("view"), labels, forearm, views, frame),
        look=skin.sample_look(draws("look")),
        radiance=light.sample_radiance(draws("light")),
        exposure=draws("exposure").uniform(low=0.35, high=0.8),
        backdrop=background.sample_backdrop(draws("background")),
        sensor=camera.sample_sensor(draws("sensor")),
    )


def rows(batch: Batch, chosen: slice) -> Batch:
    """Part of a batch: the same named tuple with every array cut along its first axis."""
    kind: Any = type(batch)
    return kind(*(rows(leaf, chosen) if isinstance(leaf, tuple) else leaf[chosen] for leaf in batch))
