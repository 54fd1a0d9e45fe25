"""The poses of everyday pictures: a table of named postures, half-way poses between two of them, and `pose`'s mixture.

The table holds what people do in front of cameras (pointing, counting, pinching, holding, waving); the rest fills the
space between, so that no part of what a hand can do is left out.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from . import pose
from .draws import Draws
from .kinematics import Angles

# Weight; MCP of index to little finger; PIP likewise; thumb as shares of its limits (CMC flexion, palmar abduction,
# twist, MCP, IP); spread of the fingers. Degrees but for weight and shares.
_POSTURES = {
    "relaxed": (8, (18, 24, 28, 32), (28, 34, 36, 34), (0.35, 0.45, 0.4, 0.25, 0.25), 2),
    "flat": (6, (0, 0, 0, 0), (4, 4, 4, 5), (0.2, 0.4, 0.3, 0.1, 0.15), -1),
    "spread": (7, (-4, -4, -4, -4), (3, 3, 3, 4), (0.05, 0.15, 0.3, 0.1, 0.1), 11),
    "point": (7, (6, 72, 76, 78), (10, 95, 96, 92), (0.75, 0.55, 0.6, 0.55, 0.5), 0),
    "gun": (4, (2, 72, 76, 78), (6, 96, 96, 92), (0.05, 0.1, 0.3, 0.1, 0.1), 0),
    "beak": (5, (22, 66, 72, 76), (48, 92, 94, 90), (0.45, 0.35, 0.7, 0.15, 0.3), 0),
    "tongs": (5, (38, 68, 74, 76), (52, 88, 92, 90), (0.7, 0.25, 0.7, 0.3, 0.4), 0),
    "two": (5, (2, 2, 74, 76), (5, 5, 94, 92), (0.8, 0.65, 0.6, 0.6, 0.6), 8),
    "three": (3, (2, 2, 2, 72), (5, 5, 6, 92), (0.85, 0.7, 0.7, 0.6, 0.6), 6),
    "thumb_and_two": (3, (2, 4, 74, 78), (5, 6, 94, 92), (0.05, 0.15, 0.3, 0.1, 0.1), 6),
    "four": (3, (0, 0, 0, 0), (4, 4, 4, 5), (0.95, 0.75, 0.8, 0.7, 0.6), 5),
    "little": (2, (72, 74, 72, 4), (94, 96, 92, 8), (0.75, 0.6, 0.6, 0.6, 0.6), 2),
    "call": (2, (70, 74, 70, 4), (92, 95, 90, 8), (0.05, 0.1, 0.3, 0.05, 0.05), 5),
    "horns": (2, (4, 74, 72, 6), (8, 95, 92, 8), (0.8, 0.6, 0.7, 0.6, 0.6), 4),
    "thumb_up": (6, (78, 80, 82, 82), (98, 100, 98, 94), (0.02, 0.1, 0.3, 0.05, 0.02), 0),
    "fist": (7, (78, 80, 82, 82), (100, 102, 100, 96), (0.8, 0.6, 0.7, 0.65, 0.6), 0),
    "hook": (2, (6, 8, 8, 10), (88, 90, 90, 86), (0.4, 0.4, 0.4, 0.3, 0.3), 1),
    "ring": (6, (46, 12, 8, 4), (54, 16, 12, 12), (0.7, 0.25, 0.8, 0.4, 0.4), 4),
    "pinch": (7, (44, 48, 54, 58), (46, 52, 58, 58), (0.7, 0.25, 0.8, 0.35, 0.35), 1),
    "middle_pinch": (2, (18, 48, 14, 8), (24, 52, 18, 14), (0.75, 0.35, 0.85, 0.4, 0.4), 3),
    "pen": (4, (46, 50, 58, 62), (48, 56, 68, 70), (0.75, 0.3, 0.8, 0.3, 0.4), -1),
    "grasp": (7, (42, 44, 46, 48), (52, 54, 54, 52), (0.6, 0.15, 0.8, 0.2, 0.25), 2),
    "wide_grasp": (4, (22, 24, 26, 30), (34, 34, 36, 36), (0.45, 0.05, 0.8, 0.1, 0.2), 6),
    "claw": (3, (4, 4, 6, 8), (56, 58, 58, 56), (0.35, 0.15, 0.5, 0.25, 0.4), 9),
    "table_top": (3, (68, 70, 72, 74), (8, 8, 10, 12), (0.6, 0.3, 0.8, 0.2, 0.2), 0),
    "key": (3, (48, 56, 62, 66), (72, 80, 84, 82), (0.45, 0.55, 0.4, 0.3, 0.35), 0),
    "typing": (4, (26, 26, 28, 30), (38, 40, 40, 38), (0.3, 0.4, 0.5, 0.2, 0.3), 4),
}
TABLE_SHARE, BLEND_SHARE = 0.72, 0.3
_WEIGHT, _MCP, _PIP, _THUMB, _SPREAD = (np.array(column, float) for column in zip(*_POSTURES.values(), strict=True))
_LAST = np.cumsum(_WEIGHT / _WEIGHT.sum())[:-1]


def sample_angles(draws: Draws, k: int) -> Angles:
    """`k` candidates a sample, each with the leading shape (b, k)."""
    mcp, pip, thumb, spread = _posture(draws, k)
    mcp, pip = np.clip(mcp, *pose.MCP_DEG), np.clip(pip, *pose.PIP_DEG)
    dip = np.clip(pip * draws.uniform(k, 4, low=0.35, high=0.8) + draws.normal(k, 4, std=5), *pose.DIP_DEG)
    thumb = np.clip(thumb, pose.THUMB_LOW_DEG, pose.THUMB_HIGH_DEG)
    flexion = np.concatenate([thumb[..., None, [0, 3, 4]], np.stack([mcp, pip, dip], -1)], -2)
    splay = spread * np.array([-1.0, -0.2, 0.5, 1.2]) + draws.normal(k, 4, std=2.5)
    splay = splay * (1 - 0.85 * np.clip(mcp, 0, 90) / 90)  # bent fingers cannot spread
    wrist = [draws.normal(k, std=deviation) for deviation in (24, 9, 30)]
    return Angles(
        flexion=np.radians(flexion),
        abduction=np.radians(np.concatenate([thumb[..., 1:2], splay], -1)),
        thumb_twist=np.radians(thumb[..., 2]),
        cup=np.radians(draws.uniform(k, high=14)),
        wrist=np.radians(np.clip(np.stack(wrist, -1), (-60, -22, -70), (60, 22, 70))),
    )


def _posture(draws: Draws, k: int) -> list[Float[np.ndarray, "b k n"]]:
    """MCP, PIP, thumb and spread in degrees."""
    mcp, pip, thumb = pose.sample_posture(draws, k)
    mixture = [mcp, pip, thumb, draws.normal(k, 1, std=5)]
    named, from_table = draws.chance(TABLE_SHARE, k, 1), _from_table(draws, k)
    return [np.where(named, *pair) for pair in zip(from_table, mixture, strict=True)]


def _from_table(draws: Draws, k: int) -> list[Float[np.ndarray, "b k n"]]:
    """A posture as a person takes it, never twice alike; some on their way to another."""
    one, other = (np.searchsorted(_LAST, draws.uniform(k), side="right") for _ in range(2))
    share = (draws.chance(BLEND_SHARE, k) * draws.uniform(k, high=0.5))[..., None]
    mcp, pip, thumb, spread = (
        values[one] * (1 - share) + values[other] * share for values in (_MCP, _PIP, _THUMB, _SPREAD[:, None])
    )
    loose = draws.uniform(k, 1, low=0.5, high=1.5)  # how far all of it strays from the table
    together, apart = draws.normal(k, 1, std=6), draws.normal(2, k, 4, std=6)
    mcp = mcp + loose * (together + apart[:, 0])
    pip = pip + loose * (together + apart[:, 1])
    low, high = np.array(pose.THUMB_LOW_DEG), np.array(pose.THUMB_HIGH_DEG)
    thumb = low + (high - low) * (thumb + loose * draws.normal(k, 5, std=0.13))
    return [mcp, pip, thumb, spread + loose * draws.normal(k, 1, std=4)]
