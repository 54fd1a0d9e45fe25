"""All that chance decides about a batch of pictures, before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float, Int

from . import background, camera, light, mesh, pose, skin, view
from .draws import Draws
from .kinematics import Transforms, posed_joints, posed_labels
from .kinematics import skin as skin_vertices

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

    def lift(self) -> Float[np.ndarray, "b v"]:
        """How far clothes lie above the skin, metres."""
        return skin.sleeve_offset(mesh.load(), self.look)


def sample_scene(seed: int, indices: Sequence[int], views: str, frame: view.CropFrame | view.FullFrame) -> Scene:
    """Draws a batch. Each part has a random stream of its own, so that a change to one leaves the others alone."""

    def draws(stream: str) -> Draws:
        return Draws(seed, indices, stream)

    hand = sample_hand(draws("shape"), draws("pose"))
    return Scene(
        shape=hand.shape,
        bones=hand.bones,
        labels=hand.labels,
        placement=view.place(draws("view"), hand.labels, hand.forearm, views, frame),
        look=skin.sample_look(draws("look")),
        radiance=light.sample_radiance(draws("light")),
        exposure=draws("exposure").uniform(low=0.35, high=0.8),
        backdrop=background.sample_backdrop(draws("background")),
        sensor=camera.sample_sensor(draws("sensor")),
    )


class Hand(NamedTuple):
    """A batch of posed hands, hand frame, metres."""

    shape: Float[np.ndarray, "b 10"]
    bones: Transforms
    labels: Float[np.ndarray, "b 21 3"]
    joints: Float[np.ndarray, "b 27 3"]  # bone heads and tips as posed
    forearm: Float[np.ndarray, "b 3"]  # unit vector from the wrist to the elbow


def sample_hand(
    shape_draws: Draws, pose_draws: Draws, sample_angles: pose.SampleAngles | None = None, spread: float = 1.0
) -> Hand:
    """Draws shape and pose; `sample_angles` as in `pose.sample_pose`, `spread` of the shapes in standard deviations."""
    hand = mesh.load()
    shape = shape_draws.normal(len(hand.shape_basis), std=spread, clip=2.5)
    joints = hand.joints + np.matmul(shape[:, None], hand.joint_basis).reshape(-1, 27, 3)
    bones = pose.sample_pose(pose_draws, hand, joints, sample_angles)
    posed = posed_joints(joints, bones)
    elbow = posed[:, mesh.ELBOW_JOINT] - joints[:, mesh.WRIST_BONE]
    forearm = elbow / np.sqrt((elbow**2).sum(-1, keepdims=True))
    return Hand(shape, bones, posed_labels(hand, joints, bones), posed, forearm)


def surface(
    shape: Float[np.ndarray, "b 10"], bones: Transforms, placement: view.Placement, lift: Float[np.ndarray, "b v"]
) -> tuple[Float[np.ndarray, "b v 3"], Float[np.ndarray, "b v 3"]]:
    """Vertices and unit normals in the camera frame; `lift`: how far clothes lie above the skin, metres."""
    hand = mesh.load()
    # One product a sample, never one over the batch: BLAS rounds differently for other shapes.
    change = np.matmul(shape.astype(np.float32)[:, None], hand.shape_basis)
    points, normals = skin_vertices(hand, hand.vertices + change.reshape(-1, *hand.vertices.shape), bones)
    points += normals * lift[..., None]
    return placement.to_camera(points), placement.turn(normals)


def rows(batch: Batch, chosen: slice | Int[np.ndarray, " n"]) -> Batch:
    """Part of a batch: the same named tuple with every array cut along its first axis."""
    kind: Any = type(batch)
    return kind(*(rows(leaf, chosen) if isinstance(leaf, tuple) else leaf[chosen] for leaf in batch))
