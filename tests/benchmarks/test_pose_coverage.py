"""Pose coverage: what is read of a recording, and that the distance is one of poses, not of hands or views."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import pose_coverage as coverage
from pmd_jax.runtime.errors import InputError


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    return coverage.draw("large", "test", 60)


def recording(bones: np.ndarray, turn: np.ndarray, mirror: float) -> tuple[np.ndarray, np.ndarray]:
    """Places and quaternions of hands whose bones have these directions, in some frame of a camera."""
    mcps = np.array([[0.03, 0.09, 0], [0.01, 0.09, 0], [-0.01, 0.09, 0], [-0.03, 0.09, 0]])
    heads = np.concatenate([[[0.03, 0.03, 0]], mcps])
    fingers = heads[:, None] + np.concatenate([np.zeros((len(bones), 5, 1, 3)), 0.04 * bones[:, :, :2].cumsum(2)], 2)
    palm = np.zeros((len(bones), 2, 3))
    places = np.concatenate([palm, fingers.reshape(-1, 15, 3)], 1) * [1, 1, mirror]
    ends = bones[:, :, 2] * [1, 1, mirror] @ turn.T
    quaternions = np.zeros((len(bones), 17, 4))
    quaternions[..., 3] = 1
    half = ends + np.array([0, 0, 1.0])  # the shortest turn of z to the end's direction
    half /= np.linalg.norm(half, axis=-1, keepdims=True)
    quaternions[:, 4::3] = np.concatenate([np.cross([0, 0, 1.0], half), half[..., 2:]], -1)
    return places @ turn.T + [0.1, 0.2, 0.4], quaternions


@pytest.mark.parametrize("mirror", [1, -1])
def test_directions_do_not_depend_on_place_view_and_side(drawn, mirror):
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    found = coverage.recorded_bones(*recording(drawn, turn, mirror))
    np.testing.assert_allclose(found, drawn, atol=1e-6)


def test_the_distance_is_the_mean_angle_to_the_nearest(drawn):
    bent = drawn[:7].copy()
    axis = np.cross(bent[:, 1, 2], [0.3, -0.5, 0.8])
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    bent[:, 1, 2] = np.cos(0.2) * bent[:, 1, 2] + np.sin(0.2) * np.cross(axis, bent[:, 1, 2])
    angles, which = coverage.nearest(bent, drawn)
    np.testing.assert_array_equal(which, range(7))
    expected = np.zeros((7, 15))
    expected[:, 5] = np.degrees(0.2)
    np.testing.assert_allclose(angles, expected, atol=1e-3)


def test_few_candidates_find_what_all_find(drawn):
    among = coverage.draw("large", "train", 400)
    dots = np.clip((drawn[:, None] * among).sum(-1), -1, 1).reshape(len(drawn), 400, -1)
    best = np.degrees(np.arccos(dots)).mean(-1).min(1)
    np.testing.assert_allclose(coverage.nearest(drawn, among)[0].mean(1), best, rtol=1e-5)


def test_holes_are_where_angles_are_not_drawn(drawn):
    """A thumb that is bent in the middle as none that was drawn."""
    asked = drawn.copy()
    asked[:, 0, 1] = -asked[:, 0, 0]
    found = coverage.holes(asked, drawn, coverage.nearest(asked, drawn)[0])
    joints = found["joint_angles_deg"]
    assert joints["thumb_middle_flexion"]["recorded_share_beyond"] == 1
    assert joints["ring_middle_flexion"]["recorded_share_beyond"] < 0.1
    by_finger = found["worst_tenth_by_finger_deg"]
    assert max(by_finger, key=by_finger.get) == "thumb"


def test_configurations_draw_poses_of_their_own(drawn):
    assert np.abs(coverage.draw("photo", "test", 60) - drawn).max() > 0.1
    np.testing.assert_array_equal(coverage.draw("large", "test", 3), drawn[:3])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no poses"),
        ("1 2 3\n", "pose 1 has 3 numbers"),
        (" ".join(["x"] * 119), "cannot be read"),
        (" ".join(["0"] * 119), "quaternions without a length"),
        (" ".join(["nan"] * 119), "not finite"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(tmp_path, text, said):
    path = tmp_path / "poses"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        coverage.read_poses(path)
    with pytest.raises(SystemExit, match=said):
        coverage.main([str(path), "--out", str(tmp_path / "out.json")])
    assert not (tmp_path / "out.json").exists()


def test_the_command_writes_all_figures(tmp_path, drawn, capsys):
    turn = np.eye(3)
    places, quaternions = recording(drawn[:5], turn, 1)
    np.savetxt(tmp_path / "poses", np.concatenate([places, quaternions], -1).reshape(5, -1))
    out = tmp_path / "out.json"
    coverage.main([str(tmp_path / "poses"), "--rendered", "200", "--out", str(out)])
    result = json.loads(out.read_text())["result"]
    assert result["recorded"] == 5
    for style in coverage.STYLES:
        found = result["configurations"][style]
        assert 0 < found["recorded_deg"]["p50"] <= found["recorded_deg"]["p100"]
    assert "| photo | recorded_deg |" in capsys.readouterr().out
