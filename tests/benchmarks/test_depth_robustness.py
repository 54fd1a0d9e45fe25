"""Disturbed depth crops: the joints stay where the map shows them, and the file keeps one row a label."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import small_config

from benchmarks import depth_robustness as robustness
from pmd_jax.config.methods import METHODS
from pmd_jax.data import hand
from pmd_jax.models import saved_model
from pmd_jax.models.network import build
from pmd_jax.runtime.errors import InputError


@pytest.fixture(scope="module")
def maps() -> robustness.Maps:
    return robustness.draw(6)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A run's folder with an untrained depth network whose depth counts from the front."""
    folder, config = tmp_path_factory.mktemp("run"), small_config()
    config.data.depth_origin = "front"
    _, weights = build(config, METHODS["depth_teacher"], 0)
    saved_model.save(folder / "depth_teacher" / "export", "depth_teacher", config, weights)
    return folder


@pytest.mark.parametrize(
    "change",
    [
        robustness.Change(),
        robustness.Change(angle_deg=60),
        robustness.Change(angle_deg=-90, scale=1.3),
        robustness.Change(angle_deg=180, scale=0.9, shift=0.1),
    ],
)
def test_the_joints_lie_under_the_surface_that_the_crop_shows(maps, change):
    """At the joints' pixels something is less than 8 cm nearer; so turn, scale and shift of map and joints agree."""
    crops = robustness.crop(maps, change, (1, 0))
    inside, near = 0, 0
    for row in range(len(crops.depth)):
        # Which pixels the joints fall on follows from the crop's own camera: turned back, they are those of the box.
        box = robustness.moved(robustness.cropping.crop_box(maps.uv_px[row]), (change.shift, 0), change.scale)
        uv = robustness.cropping.crop_points(maps.uv_px[row], box, 64) - 31.5
        angle = np.deg2rad(change.angle_deg)
        turned = uv @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) + 31.5
        u, v = np.rint(turned).astype(int).T
        ok = (u >= 0) & (u < 64) & (v >= 0) & (v < 64)
        behind = crops.xyz_m[row, ok, 2] - crops.depth[row][v[ok], u[ok]] * hand.DEPTH_UNIT_M
        shown = crops.depth[row][v[ok], u[ok]] > 0
        inside += ok.sum()
        near += (shown & (behind > -0.01) & (behind < 0.08)).sum()
    assert inside > 100
    assert near > 0.93 * inside


def test_a_turn_moves_x_and_y_alone(maps):
    plain, turned = (robustness.crop(maps, robustness.Change(angle_deg=angle), (1, 0)) for angle in (0, 90))
    np.testing.assert_allclose(turned.xyz_m[..., 0], -plain.xyz_m[..., 1], atol=1e-6)
    np.testing.assert_allclose(turned.xyz_m[..., 1], plain.xyz_m[..., 0], atol=1e-6)
    np.testing.assert_array_equal(turned.xyz_m[..., 2], plain.xyz_m[..., 2])
    same = (np.rot90(plain.depth, -1, (1, 2)) == turned.depth).mean()  # but for pixels that are cut otherwise
    assert same > 0.97


def test_a_wall_stands_behind_the_hand_and_a_camera_changes_what_is_seen(maps):
    plain = robustness.crop(maps, robustness.Change(), (1, 0)).depth
    walled = robustness.crop(maps, robustness.Change(wall_m=0.05), (1, 0)).depth
    assert (plain == 0).any((1, 2)).all()
    assert (walled > 0).all()
    for row in range(len(plain)):
        hands = walled[row] == plain[row]
        behind = walled[row][plain[row] == 0]
        np.testing.assert_array_equal(behind, walled[row][hands].max() + 500)
    seen = robustness.crop(maps, robustness.Change(sensor=0.5), (1, 0)).depth
    assert not seen[plain == 0].any()
    assert (seen != plain).any((1, 2)).all()


def test_the_file_keeps_a_row_a_label(teacher, tmp_path, monkeypatch, maps, capsys):
    asked = []
    monkeypatch.setattr(robustness, "BATCH", len(maps.depth))
    monkeypatch.setattr(robustness, "draw", lambda count: asked.append(count) or maps)
    out = tmp_path / "out.json"
    for label in ("before", "after", "before"):
        robustness.main([str(teacher), f"--label={label}", "--hands=6", f"--out={out}"])
    rows = json.loads(out.read_text())["rows"]
    assert list(rows) == ["before", "after"]
    assert rows["before"] == rows["after"]
    assert rows["before"]["depth_origin"] == "front"
    for axis, changes in robustness.AXES.items():
        assert len(rows["after"][axis]) == len(changes)
        assert all(0 < found["z_mm"] < found["epe_mm"] for found in rows["after"][axis].values())
    unchanged = (("rotation_deg", "0"), ("scale", "1"), ("shift", "0"), ("wall_cm", "none"), ("sensor", "0"))
    assert len({rows["after"][axis][name]["epe_mm"] for axis, name in unchanged}) == 1
    assert "| together all |" in capsys.readouterr().out
    assert asked == [6, 6, 6]


def test_a_folder_without_one_depth_network_is_refused(tmp_path, tiny_export):
    for folder in (tmp_path, tiny_export):
        with pytest.raises(InputError, match=r"holds 0 depth networks; give the folder"):
            robustness.read_network(folder)
    with pytest.raises(SystemExit, match="holds 0 depth networks"):
        robustness.main([str(tmp_path), "--label=x", f"--out={tmp_path / 'out.json'}"])
    assert not (tmp_path / "out.json").exists()
