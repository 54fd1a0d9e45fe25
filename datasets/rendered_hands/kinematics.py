"""From joint angles to bone transforms, joints and skinned vertices.

Every rotation is about a rest joint with an axis in the rest frame: G_bone = G_parent · [R | j − R·j]. Bones need no
frames of their own and no inverse bind matrices.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .mesh import FINGER_BONES, FOREARM_BONES, METACARPAL_BONES, HandMesh


class Angles(NamedTuple):
    """Anatomical angles in radians; zero is a straight, flat hand (the thumb's CMC: the rest shape)."""

    flexion: Float[np.ndarray, "*b 5 3"]  # thumb to little; MCP, PIP, DIP (thumb: CMC relative to rest, MCP, IP)
    abduction: Float[np.ndarray, "*b 5"]  # about the palmar normal, positive towards the little finger
    thumb_twist: Float[np.ndarray, "*b"]
    cup: Float[np.ndarray, "*b"]  # metacarpal of the little finger towards the palm; the ring's takes half
    wrist: Float[np.ndarray, "*b 3"]  # flexion, deviation, twist of the forearm


class Transforms(NamedTuple):
    """x ↦ rotation·x + translation of each bone, hand frame."""

    rotation: Float[np.ndarray, "*b 22 3 3"]
    translation: Float[np.ndarray, "*b 22 3"]


def rotation(axis: Float[np.ndarray, "*b 3"], angle: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b 3 3"]:
    """Rotation by `angle` radians about the unit vector `axis` (Rodrigues)."""
    x, y, z = np.moveaxis(np.broadcast_to(axis, (*angle.shape, 3)), -1, 0)
    sin, cos = np.sin(angle), np.cos(angle)
    rest = 1 - cos
    rows = [
        [cos + x * x * rest, x * y * rest - z * sin, x * z * rest + y * sin],
        [y * x * rest + z * sin, cos + y * y * rest, y * z * rest - x * sin],
        [z * x * rest - y * sin, z * y * rest + x * sin, cos + z * z * rest],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def bone_transforms(mesh: HandMesh, joints: Float[np.ndarray, "*b 27 3"], angles: Angles) -> Transforms:
    """Transforms of all bones for a hand whose rest joints are `joints`; the wrist stays where it is."""
    local = _local_rotations(mesh, joints, angles)
    rotations = np.empty_like(local)
    translations = np.empty((*local.shape[:-2], 3))
    for bone in mesh.bone_order:
        # The forearm hangs off the hand: its bones turn about their far end.
        pivot = joints[..., bone + 1 if bone in FOREARM_BONES else bone, :]
        turn = local[..., bone, :, :]
        offset = pivot - _apply(turn, pivot)
        parent = mesh.bone_parent[bone]
        if parent < 0:
            rotations[..., bone, :, :], translations[..., bone, :] = turn, offset
        else:
            rotations[..., bone, :, :] = rotations[..., parent, :, :] @ turn
            translations[..., bone, :] = _apply(rotations[..., parent, :, :], offset) + translations[..., parent, :]
    return Transforms(rotations, translations)


def _local_rotations(mesh: HandMesh, joints, angles: Angles) -> Float[np.ndarray, "*b 22 3 3"]:
    batch = angles.cup.shape
    local = np.broadcast_to(np.eye(3), (*batch, 22, 3, 3)).copy()
    y_axis, x_axis, z_axis = np.eye(3)[[1, 0, 2]]
    half_twist = rotation(y_axis, angles.wrist[..., 2] / 2)
    bend = rotation(x_axis, -angles.wrist[..., 0]) @ rotation(z_axis, angles.wrist[..., 1])
    local[..., FOREARM_BONES[1], :, :] = bend @ half_twist
    local[..., FOREARM_BONES[0], :, :] = half_twist
    local[..., METACARPAL_BONES[3], :, :] = rotation(x_axis, angles.cup)
    local[..., METACARPAL_BONES[2], :, :] = rotation(x_axis, angles.cup / 2)
    for finger, bones in enumerate(FINGER_BONES):
        turn = angles.flexion[..., finger, :] - mesh.rest_angle[finger]
        if finger == 0:  # the thumb's CMC angle is relative to rest already
            turn[..., 0] = angles.flexion[..., 0, 0]
        for segment, bone in enumerate(bones):
            local[..., bone, :, :] = rotation(mesh.flex_axis[finger], turn[..., segment])
        base = local[..., bones[0], :, :]
        local[..., bones[0], :, :] = rotation(mesh.abd_axis[finger], angles.abduction[..., finger]) @ base
    thumb, after = FINGER_BONES[0][:2]
    along = joints[..., after, :] - joints[..., thumb, :]
    along = along / np.sqrt((along**2).sum(-1, keepdims=True))
    local[..., thumb, :, :] = local[..., thumb, :, :] @ rotation(along, angles.thumb_twist)
    return local


def posed_joints(joints: Float[np.ndarray, "*b 27 3"], bones: Transforms) -> Float[np.ndarray, "*b 27 3"]:
    """Bone heads and tips after posing, hand frame."""
    carriers = [*range(22), *(finger[2] for finger in FINGER_BONES)]
    return _apply(bones.rotation[..., carriers, :, :], joints) + bones.translation[..., carriers, :]


def posed_labels(
    mesh: HandMesh, joints: Float[np.ndarray, "*b 27 3"], bones: Transforms
) -> Float[np.ndarray, "*b 21 3"]:
    """The 21 label points: the mean of the point as its bone carries it and as the parent bone does.

    With one bone alone a point off the pivot would swing about it as the joint bends.
    """
    points = joints[..., mesh.label_joint, :] + mesh.label_offset
    a, b = mesh.label_bone_a, mesh.label_bone_b
    by_bone = _apply(bones.rotation[..., a, :, :], points) + bones.translation[..., a, :]
    by_parent = _apply(bones.rotation[..., b, :, :], points) + bones.translation[..., b, :]
    return (by_bone + by_parent) / 2


def skin(
    mesh: HandMesh, vertices: Float[np.ndarray, "b v 3"], bones: Transforms
) -> tuple[Float[np.ndarray, "b v 3"], Float[np.ndarray, "b v 3"]]:
    """Linear blend skinning: posed vertices and unit normals."""
    affine = np.concatenate([bones.rotation, bones.translation[..., None]], -1).astype(np.float32)
    # One product a sample, never one over the batch: BLAS rounds differently for other shapes.
    blended = np.matmul(mesh.weights, affine.reshape(len(affine), 22, 12)).reshape(*vertices.shape[:2], 3, 4)
    points = _apply(blended[..., :3], vertices) + blended[..., 3]
    normals = _apply(blended[..., :3], np.broadcast_to(mesh.normals, vertices.shape))
    return points, normals / norm(normals)


def dot(a: Float[np.ndarray, "*b 3"], b: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 1"]:
    """Scalar product; written out, as NumPy sums short axes ten times slower."""
    return (a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2])[..., None]


def norm(a: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 1"]:
    """Euclidean length."""
    return np.sqrt(dot(a, a))


def _apply(matrix: Float[np.ndarray, "*b 3 3"], point: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    x, y, z = point[..., 0, None], point[..., 1, None], point[..., 2, None]
    return matrix[..., 0] * x + matrix[..., 1] * y + matrix[..., 2] * z
