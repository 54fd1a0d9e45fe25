"""How near rendered poses come to recorded ones → benchmarks/results/pose_coverage.json.

    python -m benchmarks.pose_coverage animbank.pose    # a minute on two cores

The argument is a recording of a hand in the form of Intel's hand skeletal tracking samples (Apache-2.0): a line a pose,
17 bones of three numbers (metres) and a quaternion (x, y, z, w), forearm, palm, then three of each finger from thumb to
little; a bone begins at its joint and lies along its own z axis.

Poses are compared by the directions of the fingers' 15 bones in the frame of the palm: the distance of two is the mean
angle over them. It is measured to the nearest of the training poses of `large` and of `photo`; the same for the test
poses of each says what is near. The frame is made of wrist and MCPs, which other skeletons place a little otherwise, so
some degrees of every distance to a recorded pose are the frames'.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks import RESULTS
from benchmarks.measure import record
from pmd_jax.data import hand
from pmd_jax.prepare.registry import register_datasets
from pmd_jax.runtime.errors import InputError
from pmd_jax.runtime.markdown import markdown_table

FILE = RESULTS / "pose_coverage.json"
RENDERED, TESTED = 40_000, 2_000
CANDIDATES, CHUNK = 64, 100  # the nearest by the sum of cosines, of which the nearest by mean angle is found
PERCENTILES = (5, 25, 50, 75, 90, 95, 100)
BONE_NAMES = [f"{finger}_{part}" for finger in hand.FINGERS for part in ("proximal", "middle", "distal")]
ANGLES = ("spread", "base_flexion", "middle_flexion", "end_flexion")  # of each finger, degrees
STYLES = ("large", "photo")  # configurations of datasets/rendered_hands


def read_poses(path: Path) -> tuple[Float[np.ndarray, "n 17 3"], Float[np.ndarray, "n 17 4"]]:
    """Places and unit quaternions of the bones.

    Raises:
        InputError: the file cannot be read as such a recording; says what is wrong and where.
    """
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        for number, line in enumerate(lines, 1):
            if len(line) != 17 * 7:
                raise InputError(f"{path}: pose {number} has {len(line)} numbers; give 17 bones of 7.")
        values = np.array(lines, np.float64).reshape(-1, 17, 7)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a recording of poses ({error}).") from error
    length = np.linalg.norm(values[..., 3:], axis=-1, keepdims=True)
    if not len(values) or not np.isfinite(values).all() or (length < 0.5).any():
        raise InputError(f"{path} holds no poses, numbers that are not finite, or quaternions without a length.")
    return values[..., :3], values[..., 3:] / length


def recorded_bones(
    places: Float[np.ndarray, "n 17 3"], quaternions: Float[np.ndarray, "n 17 4"]
) -> Float[np.ndarray, "n 5 3 3"]:
    """Unit directions of each finger's bones in the palm's frame, of the right hand that this is or mirrors."""
    fingers = places[:, 2:].reshape(-1, 5, 3, 3)
    axis, w = quaternions[:, 4::3, :3], quaternions[:, 4::3, 3:]
    z = np.array([0.0, 0.0, 1.0])
    turned = z + 2 * np.cross(axis, np.cross(axis, z) + w * z)  # the last bone has no joint at its end
    along = np.concatenate([np.diff(fingers, axis=2), turned[:, :, None]], 2)
    bones = in_palm(along, places[:, 1], fingers[:, 1:, 0])
    if np.median(bones[:, 1:, 1:, 2]) < 0:  # fingers bend towards the palm, so this is a left hand
        bones = bones * [1, 1, -1]
    return bones


def rendered_bones(joints: Float[np.ndarray, "n 21 3"]) -> Float[np.ndarray, "n 5 3 3"]:
    """The same of right hands' 21 joints."""
    fingers = joints[:, 1:].reshape(-1, 5, 4, 3)
    return in_palm(np.diff(fingers, axis=2), joints[:, hand.WRIST], fingers[:, 1:, 0])


def in_palm(
    along: Float[np.ndarray, "n 5 3 3"], wrist: Float[np.ndarray, "n 3"], mcps: Float[np.ndarray, "n 4 3"]
) -> Float[np.ndarray, "n 5 3 3"]:
    """Unit directions in the frame x from little to index, y from the wrist to the MCPs, z out of a right palm."""
    y = _unit(mcps.mean(1) - wrist)
    across = mcps[:, 0] - mcps[:, 3]
    x = _unit(across - (across * y).sum(-1, keepdims=True) * y)
    frame = np.stack([x, y, np.cross(x, y)], 1)
    return np.einsum("nij,nfbj->nfbi", frame, _unit(along))


def _unit(vectors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def draw(style: str, split: str, count: int) -> Float[np.ndarray, "n 5 3 3"]:
    """The first poses of a configuration's split; nothing is pictured."""
    register_datasets()
    from pmd_datasets.rendered_hands import photo, postures, rendered_hands_dataset_builder, scene  # pyright: ignore
    from pmd_datasets.rendered_hands.draws import Draws  # pyright: ignore

    seed = rendered_hands_dataset_builder.split_seed(0, split)
    drawn = []
    for start in range(0, count, 2000):
        indices = range(start, min(start + 2000, count))
        if style == "photo":
            shape, pose = (Draws(seed, indices, f"photo {stream}") for stream in ("shape", "pose"))
            hands = scene.sample_hand(shape, pose, postures.sample_angles, photo.SHAPE_SPREAD)
        else:
            hands = scene.sample_hand(Draws(seed, indices, "shape"), Draws(seed, indices, "pose"))
        drawn.append(rendered_bones(hands.labels))
    return np.concatenate(drawn)


def nearest(
    poses: Float[np.ndarray, "n 5 3 3"], among: Float[np.ndarray, "m 5 3 3"]
) -> tuple[Float[np.ndarray, "n 15"], np.ndarray]:
    """The angle of each bone to that of the nearest pose in degrees, and which one that is."""
    flat = among.reshape(len(among), -1).astype(np.float32)
    angles, which = [], []
    for start in range(0, len(poses), CHUNK):
        some = poses[start : start + CHUNK]
        cosines = some.reshape(len(some), -1).astype(np.float32) @ flat.T
        few = np.argpartition(-cosines, min(CANDIDATES, len(among) - 1), axis=1)[:, :CANDIDATES]
        dots = (some[:, None] * among[few]).sum(-1).reshape(len(some), -1, len(BONE_NAMES))
        each = np.degrees(np.arccos(np.clip(dots, -1, 1)))
        best = each.mean(-1).argmin(1)
        rows = np.arange(len(some))
        angles.append(each[rows, best])
        which.append(few[rows, best])
    return np.concatenate(angles), np.concatenate(which)


def joint_angles(bones: Float[np.ndarray, "n 5 3 3"]) -> Float[np.ndarray, "n 5 4"]:
    """`ANGLES` of each finger: of the first bone in the palm's frame to the thumb's side and out of the palm, then how
    far the second and third are bent against the bone before."""
    x, y, z = np.moveaxis(bones[:, :, 0], -1, 0)
    bent = np.arccos(np.clip((bones[:, :, 1:] * bones[:, :, :-1]).sum(-1), -1, 1))
    spread, flexion = np.arctan2(x, np.hypot(y, z)), np.arctan2(z, y)
    return np.degrees(np.stack([spread, flexion, bent[..., 0], bent[..., 1]], -1))


def figures(angles: Float[np.ndarray, "n 15"]) -> dict[str, float]:
    """Percentiles of the distances, degrees."""
    distances = angles.mean(1)
    return {f"p{q}": float(np.percentile(distances, q)) for q in PERCENTILES} | {"mean": float(distances.mean())}


def holes(
    poses: Float[np.ndarray, "n 5 3 3"], among: Float[np.ndarray, "m 5 3 3"], angles: Float[np.ndarray, "n 15"]
) -> dict[str, Any]:
    """Of the tenth of poses that is worst covered: by bone and finger; and which joint angles are not drawn at all."""
    worst = angles.mean(1) >= np.percentile(angles.mean(1), 90)
    asked, given = joint_angles(poses), joint_angles(among)
    low, high = np.percentile(given, [1, 99], axis=0)
    beyond = ((asked < low) | (asked > high)).mean(0)
    joints = {}
    for row, finger in enumerate(hand.FINGERS):
        for column, name in enumerate(ANGLES):
            joints[f"{finger}_{name}"] = {
                "rendered_p1_p99": [float(low[row, column]), float(high[row, column])],
                "recorded_p5_p50_p95": np.percentile(asked[:, row, column], [5, 50, 95]).tolist(),
                "worst_tenth_p50": float(np.median(asked[worst, row, column])),
                "recorded_share_beyond": float(beyond[row, column]),
            }
    by_finger = angles.reshape(-1, 5, 3).mean(2)
    return {
        "worst_tenth_by_finger_deg": dict(zip(hand.FINGERS, by_finger[worst].mean(0).tolist(), strict=True)),
        "by_finger_deg": dict(zip(hand.FINGERS, by_finger.mean(0).tolist(), strict=True)),
        "worst_tenth_by_bone_deg": dict(zip(BONE_NAMES, angles[worst].mean(0).tolist(), strict=True)),
        "joint_angles_deg": joints,
    }


def measure(path: Path, rendered: int = RENDERED, tested: int = TESTED) -> dict[str, Any]:
    """All figures of the file."""
    recorded = recorded_bones(*read_poses(path))
    result: dict[str, Any] = {"recorded": len(recorded), "rendered": rendered, "configurations": {}}
    for style in STYLES:
        among = draw(style, "train", rendered)
        angles, _ = nearest(recorded, among)
        own, _ = nearest(draw(style, "test", tested), among)
        result["configurations"][style] = {
            "recorded_deg": figures(angles),
            "own_test_poses_deg": figures(own),
            "holes": holes(recorded, among, angles),
        }
    return result


def render(result: dict[str, Any]) -> str:
    """What is printed."""
    rows = []
    for style, found in result["configurations"].items():
        for whose in ("recorded_deg", "own_test_poses_deg"):
            rows.append((style, whose, *(f"{value:.1f}" for value in found[whose].values())))
    return markdown_table(("rendered", "poses", *(f"p{q}" for q in PERCENTILES), "mean"), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="the recording")
    parser.add_argument("--rendered", type=int, default=RENDERED, help="(%(default)s)")
    parser.add_argument("--out", type=Path, default=FILE, help="(%(default)s)")
    options = parser.parse_args(arguments)
    try:
        result = measure(options.path, options.rendered)
    except InputError as error:
        raise SystemExit(str(error)) from error
    record(options.out, result=result)
    print(render(result))


if __name__ == "__main__":
    main()
