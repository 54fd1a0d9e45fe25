"""The baked hand: a right hand with forearm in a frame of its own.

Hand frame: metres, origin at the wrist, +y to the middle MCP, +z out of the palm, +x to the thumb. `bake_hand.py` makes
the file from MakeHuman's CC0 data and says what each array means.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

ASSET = Path(__file__).with_name("hand_cc0.npz")
FOREARM_BONES = (0, 1)  # lowerarm01, lowerarm02
WRIST_BONE = 2
METACARPAL_BONES = (3, 4, 5, 6)  # of index, middle, ring and little finger
FINGER_BONES = ((7, 8, 9), (10, 11, 12), (13, 14, 15), (16, 17, 18), (19, 20, 21))  # thumb to little, base to tip
TIP_JOINTS = (22, 23, 24, 25, 26)  # thumb to little
ELBOW_JOINT = 0


@dataclass(frozen=True)
class HandMesh:
    """Rest shape, skin weights, skeleton and label points of a right hand."""

    vertices: Float[np.ndarray, "v 3"]  # metres, hand frame
    shape_basis: Float[np.ndarray, "s v*3"]  # metres a standard deviation
    faces: Int[np.ndarray, "f 3"]  # outward by the right-hand rule
    weights: Float[np.ndarray, "v 22"]  # each row sums to 1
    normals: Float[np.ndarray, "v 3"]  # outward, of the rest shape
    neighbours: Int[np.ndarray, "v 6"]  # vertices of the 1-ring, itself where it has fewer
    is_forearm: Bool[np.ndarray, " f"]
    is_hand: Bool[np.ndarray, " v"]  # a corner of a face that is not the forearm's
    nail: Float[np.ndarray, " v"]  # 0…1
    redness: Float[np.ndarray, " v"]  # 0…1
    joints: Float[np.ndarray, "27 3"]  # bone heads, then five tips
    joint_basis: Float[np.ndarray, "s 81"]
    bone_parent: Int[np.ndarray, " 22"]  # −1 at the wrist, the root
    bone_order: Int[np.ndarray, " 22"]  # parents first
    flex_axis: Float[np.ndarray, "5 3"]  # a positive turn curls the finger
    abd_axis: Float[np.ndarray, "5 3"]
    rest_angle: Float[np.ndarray, "5 3"]  # radians of flexion that the rest shape already has
    label_joint: Int[np.ndarray, " 21"]
    label_bone_a: Int[np.ndarray, " 21"]
    label_bone_b: Int[np.ndarray, " 21"]
    label_offset: Float[np.ndarray, "21 3"]  # metres, from the pivot to the middle of the finger


@cache
def load() -> HandMesh:
    """The mesh of this folder with what follows from it (normals, neighbours)."""
    with np.load(ASSET, allow_pickle=False) as data:
        raw = {name: data[name] for name in data.files}
    vertices, faces = raw["vertices"].astype(np.float32), raw["faces"].astype(np.int64)
    weights = raw["weights"].astype(np.float32)
    weights /= weights.sum(1, keepdims=True)  # half precision in the file
    on_forearm = weights[:, FOREARM_BONES].sum(1) > 0.5
    floats = ("joints", "flex_axis", "abd_axis", "rest_angle", "label_offset")
    is_forearm = on_forearm[faces].all(1)
    integers = ("bone_parent", "bone_order", "label_joint", "label_bone_a", "label_bone_b")
    return HandMesh(
        vertices=vertices,
        shape_basis=raw["shape_basis"].astype(np.float32).reshape(len(raw["shape_basis"]), -1),
        faces=faces,
        weights=weights,
        normals=vertex_normals(vertices, faces).astype(np.float32),
        neighbours=neighbour_table(faces, len(vertices)),
        is_forearm=is_forearm,
        is_hand=np.isin(np.arange(len(vertices)), faces[~is_forearm]),
        nail=raw["nail"].astype(np.float32),
        redness=raw["redness"].astype(np.float32),
        joint_basis=raw["joint_basis"].astype(np.float64).reshape(len(raw["joint_basis"]), -1),
        **{name: raw[name].astype(np.float64) for name in floats},
        **{name: raw[name].astype(np.int64) for name in integers},
    )


def vertex_normals(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "v 3"]:
    """Area-weighted unit normals."""
    a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    normals = np.zeros(vertices.shape)
    np.add.at(normals, faces.ravel(), np.repeat(np.cross(b - a, c - a), 3, axis=0))
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def neighbour_table(faces: Int[np.ndarray, "f 3"], num_vertices: int, width: int = 6) -> Int[np.ndarray, "v {width}"]:
    """Up to `width` neighbours of every vertex, filled up with the vertex itself."""
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    table = np.repeat(np.arange(num_vertices)[:, None], width, axis=1)
    filled = np.zeros(num_vertices, np.int64)
    for one, other in np.concatenate([edges, edges[:, ::-1]]):
        if filled[one] < width:
            table[one, filled[one]] = other
            filled[one] += 1
    return table
