"""Which pose a hand takes: a mixture of everyday postures within anatomical limits, without self-penetration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from .draws import Draws
from .kinematics import Angles, Transforms, bone_transforms, posed_joints
from .mesh import FINGER_BONES, TIP_JOINTS, WRIST_BONE, HandMesh

SampleAngles = Callable[[Draws, int], Angles]
CANDIDATES = 3
PENETRATION_LIMIT_M = 0.004
MIXTURE = (0.35, 0.35, 0.20, 0.10)  # correlated curl, gesture, pinch or grasp, independent
MCP_DEG, PIP_DEG, DIP_DEG = (-18, 90), (0, 108), (-3, 75)
# CMC flexion, palmar abduction and twist relative to rest; MCP and IP flexion.
THUMB_LOW_DEG, THUMB_HIGH_DEG = (-18, -22, -8, -5, -10), (28, 22, 14, 50, 75)


def sample_pose(
    draws: Draws, mesh: HandMesh, joints: Float[np.ndarray, "b 27 3"], sample_angles: SampleAngles | None = None
) -> Transforms:
    """Bone transforms of a batch: the first of a few candidates that does not penetrate itself, else the best one.

    Args:
        joints: of the rest shape, metres, hand frame.
        sample_angles: draws the angles of k candidates a sample; None: the mixture of this file.
    """
    candidates = (sample_angles or _sample_angles)(draws, CANDIDATES)
    rest = np.broadcast_to(joints[:, None], (len(joints), CANDIDATES, 27, 3))
    bones = bone_transforms(mesh, rest, candidates)
    depth = penetration(posed_joints(rest, bones))
    acceptable = depth < PENETRATION_LIMIT_M
    chosen = np.where(acceptable.any(1), acceptable.argmax(1), depth.argmin(1))
    rows = np.arange(len(joints))
    return Transforms(bones.rotation[rows, chosen], bones.translation[rows, chosen])


def _sample_angles(draws: Draws, k: int) -> Angles:
    """`k` candidates a sample, each with the leading shape (b, k)."""
    mcp, pip, thumb = sample_posture(draws, k)
    mcp, pip = np.clip(mcp, *MCP_DEG), np.clip(pip, *PIP_DEG)
    dip = np.clip(pip * draws.uniform(k, 4, low=0.45, high=0.75) + draws.normal(k, 4, std=4), *DIP_DEG)
    thumb = np.clip(thumb, THUMB_LOW_DEG, THUMB_HIGH_DEG)
    fingers = np.stack([mcp, pip, dip], -1)
    flexion = np.concatenate([thumb[..., None, [0, 3, 4]], fingers], -2)
    splay = draws.normal(k, 1, std=5) * np.array([-1.0, -0.2, 0.5, 1.2]) + draws.normal(k, 4, std=2.5)
    splay = splay * (1 - 0.85 * np.clip(mcp, 0, 90) / 90)  # bent fingers cannot spread
    wrist = np.stack(
        [
            np.clip(draws.normal(k, std=22), -55, 55),
            np.clip(draws.normal(k, std=9), -22, 22),
            np.clip(draws.normal(k, std=30), -70, 70),
        ],
        -1,
    )
    return Angles(
        flexion=np.radians(flexion),
        abduction=np.radians(np.concatenate([thumb[..., 1:2], splay], -1)),
        thumb_twist=np.radians(thumb[..., 2]),
        cup=np.radians(draws.uniform(k, high=12)),
        wrist=np.radians(wrist),
    )


def sample_posture(draws: Draws, k: int):
    """MCP and PIP of the four fingers and the five thumb angles in degrees, from one of four families."""
    families = [_correlated_curl(draws, k), _gesture(draws, k), _pinch(draws, k), _independent(draws, k)]
    choice = np.searchsorted(np.cumsum(MIXTURE)[:-1], draws.uniform(k), side="right")[..., None]
    return [np.choose(choice, options) for options in zip(*families, strict=True)]


def _thumb(share: Float[np.ndarray, "b k 5"]) -> Float[np.ndarray, "b k 5"]:
    return np.array(THUMB_LOW_DEG) + share * (np.array(THUMB_HIGH_DEG) - np.array(THUMB_LOW_DEG))


def _correlated_curl(draws: Draws, k: int):
    """All fingers open or close together, neighbours alike."""
    curl = draws.uniform(k, 1, low=-0.1, high=1.05) + np.cumsum(draws.normal(k, 4, std=0.13), -1)
    mcp = -12 + 92 * np.clip(curl + draws.normal(k, 4, std=0.08), 0, 1)
    pip = 105 * np.clip(curl + draws.normal(k, 4, std=0.1), 0, 1)
    return mcp, pip, _thumb(np.clip(0.5 * curl[..., :1] + draws.uniform(k, 5, low=-0.05, high=0.65), 0, 1))


def _gesture(draws: Draws, k: int):
    """Each finger straight or curled: counting, pointing, thumbs up."""
    curled = draws.chance(0.5, k, 4)
    mcp = np.where(curled, draws.normal(k, 4, mean=70, std=13), draws.normal(k, 4, mean=4, std=9))
    pip = np.where(curled, draws.normal(k, 4, mean=90, std=13), draws.normal(k, 4, mean=8, std=8))
    tucked = draws.chance(0.5, k, 1)
    share = np.where(tucked, draws.uniform(k, 5, low=0.45), draws.uniform(k, 5, high=0.4))
    return mcp, pip, _thumb(share)


def _pinch(draws: Draws, k: int):
    """Finger tips towards an opposed thumb; fingers that take no part are curled less or more together."""
    taking_part = draws.uniform(k, 4) < np.array([1.0, 0.6, 0.4, 0.35])
    others = draws.uniform(k, 1)
    mcp = np.where(taking_part, draws.normal(k, 4, mean=44, std=10), 60 * others + draws.normal(k, 4, std=8))
    pip = np.where(taking_part, draws.normal(k, 4, mean=46, std=12), 85 * others + draws.normal(k, 4, std=8))
    low, high = np.array([0.5, 0.0, 0.4, 0.2, 0.15]), np.array([1.0, 0.4, 1.0, 0.7, 0.6])
    return mcp, pip, _thumb(low + (high - low) * draws.uniform(k, 5))


def _independent(draws: Draws, k: int):
    """Every angle for itself: odd, but within the limits."""
    mcp = draws.uniform(k, 4, low=MCP_DEG[0], high=MCP_DEG[1])
    pip = draws.uniform(k, 4, low=PIP_DEG[0], high=PIP_DEG[1])
    return mcp, pip, _thumb(draws.uniform(k, 5))


def _spheres():
    """Spheres along phalanges and metacarpals: (joint a, joint b, share of b, radius, finger, segment)."""
    rows = []
    for finger, bones in enumerate(FINGER_BONES):
        chain = (*bones, TIP_JOINTS[finger])
        for segment in range(3):
            radius = (0.0105, 0.009, 0.0075)[segment]
            rows += [(chain[segment], chain[segment + 1], share, radius, finger, segment) for share in (0.35, 0.7, 1.0)]
        if finger:
            rows += [(WRIST_BONE, chain[0], share, 0.0105, finger, -1) for share in (0.4, 0.6, 0.8)]
    a, b, share, radius, finger, segment = map(np.array, zip(*rows, strict=True))
    return a, b, share, radius, finger, segment


def _pairs() -> tuple[np.ndarray, np.ndarray]:
    """Pairs of spheres that should not overlap: of different fingers, or of a finger and the palm, not neighbours."""
    *_, finger, segment = _spheres()
    palm, base = segment < 0, segment == 0
    one, other = np.triu_indices(len(finger), 1)
    apart = (finger[one] != finger[other]) | ((palm[one] != palm[other]) & (segment[one] + segment[other] > 0))
    joined = (palm[one] & (palm[other] | base[other])) | (palm[other] & base[one])
    keep = apart & ~joined
    return one[keep], other[keep]


_SPHERES, _PAIRS = _spheres(), _pairs()


def penetration(joints: Float[np.ndarray, "*b 27 3"]) -> Float[np.ndarray, "*b"]:
    """The deepest overlap of the hand with itself in metres, less 3 mm that soft skin allows."""
    a, b, share, radius, *_ = _SPHERES
    one, other = _PAIRS
    centres = joints[..., a, :] + share[:, None] * (joints[..., b, :] - joints[..., a, :])
    distance = np.sqrt(((centres[..., one, :] - centres[..., other, :]) ** 2).sum(-1))
    return (radius[one] + radius[other] - distance).max(-1) - 0.003
