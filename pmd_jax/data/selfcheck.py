"""Does a prepared hand make sense? Checks that need no second reading of the archive.

A decoder with its bytes swapped, labels in another camera's frame, or joints in another order give numbers, not
errors. A hand's own geometry gives them away: joints lie a few millimetres below the measured skin, K·xyz falls on
the annotated pixel, the first finger bone is longer than the last, and fingers bend towards the palm.

The bounds are wide. Each is set between what the right reading and the wrong ones of docs/datasets.md give on rendered
hands (tests/datasets): they stop a wrong reading, and say nothing on the quality of a right one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Num

from pmd_jax.data import hand
from pmd_jax.runtime.errors import InputError

MAX_REPROJECTION_PX = 1.0
SKIN_ABOVE_JOINT_MM = (-50.0, 15.0)  # the surface minus the joint: the skin is nearer to the camera
MAX_FLOATING_SHARE = 0.25
FLOATING_MM = 20.0  # a joint further in front of the surface than this cannot be inside the hand
SCALE_MM = (15.0, 200.0)  # palm centre (STB, about 39) or wrist (RHD, about 90) to middle MCP
MIN_ON_HAND_SHARE = 0.5

_MCP = np.array([5, 9, 13, 17])  # index to little


class SelfCheckError(InputError):
    """The data were read in a way that a hand's geometry rules out."""


class Observation(NamedTuple):
    """What one hand shows, measured in its original frame. NaN where a quantity cannot be measured."""

    xyz_m: Float[np.ndarray, "21 3"]  # camera frame
    visible: Bool[np.ndarray, " 21"]
    is_left: bool
    reprojection_px: Float[np.ndarray, " 21"]  # distance of K·xyz/z to the annotated uv
    skin_m: Float[np.ndarray, " 21"]  # measured surface minus joint, along z
    on_hand: Float[np.ndarray, " 21"]  # 1 where the joint's pixel belongs to this hand's mask


def observe(
    xyz_m: Float[np.ndarray, "21 3"],
    visible: Bool[np.ndarray, " 21"],
    is_left: bool,
    K: Float[np.ndarray, "3 3"],
    uv_px: Float[np.ndarray, "21 2"] | None = None,
    depth_m: Float[np.ndarray, "h w"] | None = None,
    hand_mask: Bool[np.ndarray, "h w"] | None = None,
) -> Observation:
    """Measures one hand against its own frame.

    Args:
        uv_px: annotated pixels, where the data set has them apart from xyz and K.
        depth_m: metres in the camera of K, 0 = not measured.
        hand_mask: the pixels of this hand.

    Raises:
        ValueError: see `hand.check_joints`; a joint behind the camera has no pixel.
    """
    hand.check_joints(xyz_m)
    projected = hand.project(xyz_m, K)
    missing = np.full(hand.NUM_JOINTS, np.nan)
    reprojection = missing if uv_px is None else np.linalg.norm(projected - uv_px, axis=-1)
    surface = missing if depth_m is None else _at(depth_m, projected)
    on_hand = missing if hand_mask is None else _at(hand_mask, projected)
    return Observation(
        xyz_m, visible, is_left, reprojection, np.where(surface > 0, surface, np.nan) - xyz_m[:, 2], on_hand
    )


def _at(image: Num[np.ndarray, "h w"], uv_px: Float[np.ndarray, "21 2"]) -> Float[np.ndarray, " 21"]:
    """The pixel under each joint, NaN outside the picture."""
    height, width = image.shape
    columns, rows = np.rint(uv_px.clip(-1, max(height, width))).astype(int).T
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    return np.where(inside, image[rows.clip(0, height - 1), columns.clip(0, width - 1)], np.nan)


def statistics(observations: Sequence[Observation]) -> dict[str, object]:
    """Figures over many hands, ready for JSON. None where nothing could be measured."""
    xyz_m = np.stack([o.xyz_m for o in observations]).astype(float)
    visible = np.stack([o.visible for o in observations])
    skin_mm = 1000 * np.stack([o.skin_m for o in observations])
    on_hand = np.stack([o.on_hand for o in observations])
    parents, children = np.array(hand.BONES).T
    bones_mm = 1000 * np.linalg.norm(xyz_m[:, children] - xyz_m[:, parents], axis=-1)
    typical = np.median(bones_mm, axis=0)
    return {
        "hands": len(observations),
        "scale_mm": _percentiles(1000 * hand.normalise(xyz_m).scale_m),
        "visible_share": float(visible.mean()),
        "reprojection_px": _percentiles(np.stack([o.reprojection_px for o in observations])),
        "skin_above_joint_mm": _percentiles(skin_mm[visible]),
        "floating_share": _mean(skin_mm > FLOATING_MM, of=np.isfinite(skin_mm)),
        "on_hand_share": _mean(on_hand > 0, of=np.isfinite(on_hand) & visible),
        "bones_mm": dict(zip(hand.JOINT_NAMES[1:], typical.round(1).tolist(), strict=True)),
        "first_to_last_bone": float(typical[_MCP].sum() / typical[_MCP + 2].sum()),
        "thumb_to_little_gap": float(_gap(xyz_m, 1, 5) / _gap(xyz_m, 13, 17)),
        "bend_towards_palm_mm": float(np.median(_bend_mm(xyz_m, np.array([o.is_left for o in observations])))),
    }


def _gap(xyz_m, a, b) -> float:
    return np.median(np.linalg.norm(xyz_m[:, a] - xyz_m[:, b], axis=-1))


def _bend_mm(xyz_m: Float[np.ndarray, "n 21 3"], is_left: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """How far the fingertips lie on the palm's side of the knuckles.

    The palm's normal is index MCP × little MCP, seen from joint 0; on a left hand it points out of the back.
    """
    from_wrist = xyz_m - xyz_m[:, :1]
    normal = np.cross(from_wrist[:, 5], from_wrist[:, 17])
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-12
    bend = ((xyz_m[:, _MCP + 3] - xyz_m[:, _MCP]) @ normal[:, :, None])[..., 0].mean(-1)
    return 1000 * np.where(is_left, -bend, bend)


def _percentiles(values: Float[np.ndarray, "*n"]) -> dict[str, float] | None:
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    return dict(zip(("p5", "median", "p95"), np.percentile(values, (5, 50, 95)).round(3).tolist(), strict=True))


def _mean(values: Bool[np.ndarray, "*n"], of: Bool[np.ndarray, "*n"]) -> float | None:
    return float(values[of].mean()) if of.any() else None


def complaints(figures: dict) -> list[str]:
    """A sentence for each bound that these `statistics` break; empty when the reading makes sense."""
    skin, residual, scale = figures["skin_above_joint_mm"], figures["reprojection_px"], figures["scale_mm"]
    found = []
    if residual and residual["median"] > MAX_REPROJECTION_PX:
        found.append(
            f"K·xyz lies {residual['median']:.1f} px from the annotated uv (limit {MAX_REPROJECTION_PX}): "
            "xyz is not in the camera's frame, or the joint orders differ."
        )
    if not SCALE_MM[0] <= scale["median"] <= SCALE_MM[1]:
        found.append(
            f"joint 0 and the middle MCP are {scale['median']:.1f} mm apart (limits {SCALE_MM}): the unit is wrong."
        )
    if skin and not SKIN_ABOVE_JOINT_MM[0] <= skin["median"] <= SKIN_ABOVE_JOINT_MM[1]:
        found.append(
            f"the measured surface minus the joints' depth is {skin['median']:.0f} mm (limits {SKIN_ABOVE_JOINT_MM}): "
            "the depth's byte order or unit is wrong, or the labels are in another camera's frame."
        )
    if (figures["floating_share"] or 0) > MAX_FLOATING_SHARE:
        found.append(
            f"{figures['floating_share']:.0%} of the joints float more than {FLOATING_MM:.0f} mm in front of every "
            f"surface (limit {MAX_FLOATING_SHARE:.0%}): the labels are in another camera's frame or belong to other "
            "pictures, or the depth is decoded wrongly."
        )
    if figures["on_hand_share"] is not None and figures["on_hand_share"] < MIN_ON_HAND_SHARE:
        found.append(
            f"only {figures['on_hand_share']:.0%} of the visible joints lie on their hand's mask "
            f"(limit {MIN_ON_HAND_SHARE:.0%}): left and right hand, or the frames, are mixed up."
        )
    if figures["first_to_last_bone"] < 1:
        found.append(
            f"the fingers' first bones are {figures['first_to_last_bone']:.2f} times as long as their last (limit 1): "
            "the joints run from tip to base."
        )
    if figures["thumb_to_little_gap"] < 1:
        found.append(
            f"the first two fingers' bases are {figures['thumb_to_little_gap']:.2f} times as far apart as the last "
            "two's (limit 1): the fingers run from little to thumb."
        )
    if figures["bend_towards_palm_mm"] < 0:
        found.append(
            f"the fingers bend {-figures['bend_towards_palm_mm']:.0f} mm backwards: left and right hands are swapped, "
            "the fingers run from little to thumb, or the frame is mirrored."
        )
    return found


def summary_lines(figures: dict) -> list[str]:
    """The figures as a few lines for the terminal."""

    def spread(name: str, unit: str) -> str:
        values = figures[name]
        return (
            f"{values['median']:.1f} {unit} ({values['p5']:.1f} to {values['p95']:.1f})" if values else "not measured"
        )

    def share(name: str) -> str:
        return "not measured" if figures[name] is None else f"{figures[name]:.1%}"

    return [
        f"scale {spread('scale_mm', 'mm')}; visible joints {share('visible_share')}; on the hand's mask "
        f"{share('on_hand_share')}",
        f"K·xyz − uv {spread('reprojection_px', 'px')}; surface − joint {spread('skin_above_joint_mm', 'mm')}; "
        f"joints in front of every surface {share('floating_share')}",
        f"first/last finger bone {figures['first_to_last_bone']:.2f}; thumb–index/ring–little gap "
        f"{figures['thumb_to_little_gap']:.2f}; fingers bend {figures['bend_towards_palm_mm']:.1f} mm towards the palm",
    ]
