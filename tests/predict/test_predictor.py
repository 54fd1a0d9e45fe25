"""A network as a function: what it gives, and what it says of what it cannot take."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from conftest import redescribe, small_config, write_export
from PIL import Image

import pmd_jax
from pmd_jax.config.methods import METHODS
from pmd_jax.config.presets import with_fields
from pmd_jax.data import cropping, hand
from pmd_jax.data.cropping import CropBox
from pmd_jax.data.inputs import to_inputs
from pmd_jax.data.ray_frame import ray_rotation
from pmd_jax.models import saved_model
from pmd_jax.models.network import build
from pmd_jax.predict import predictor
from pmd_jax.runtime.errors import CheckpointError, ConfigError, InputError
from reference.made_up_columns import make_columns


def test_crops_to_joints(predict):
    """As the network says it, and each crop's joints whatever batch it comes in."""
    batch = make_columns(5).gather(np.arange(5))
    network, weights = build(small_config(), METHODS["rgb_baseline"], seed=0)
    joints = predict(batch.rgb)
    assert (joints.shape, joints.dtype) == ((5, 21, 3), np.float32)
    np.testing.assert_allclose(joints, network.evaluate(weights, to_inputs(batch).rgb).pose, atol=1e-5)
    np.testing.assert_allclose(predict(batch.rgb[3:4]), joints[3:4], atol=1e-5)


def picture_of(box: CropBox, crop: np.ndarray) -> np.ndarray:
    """A grey picture with a crop drawn at a box of whole pixels, each of its pixels as a square."""
    picture = np.full((240, 320, 3), 90, np.uint8)
    zoom, x0, y0 = int(box.side) // 64, int(box.x0), int(box.y0)
    picture[y0 : y0 + 64 * zoom, x0 : x0 + 64 * zoom] = crop.repeat(zoom, 0).repeat(zoom, 1)
    return picture


BOX = CropBox(100, 40, 128)
K = np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])


@pytest.fixture(scope="module")
def predict(tiny_export) -> predictor.Predictor:
    return pmd_jax.load(tiny_export)


def test_a_whole_picture(predict):
    """The network sees the crop, and the joints are placed so that their crop is the box."""
    crop = make_columns(1).rgb
    found = predict.from_image(picture_of(BOX, crop[0]), BOX)
    np.testing.assert_allclose(found.joints, predict(crop)[0], atol=1e-5)
    assert cropping.crop_box(found.uv_px) == pytest.approx(BOX, abs=1e-3)
    assert found.uv_is_approximate
    assert found.xyz_m is None
    assert not found.xyz_is_absolute
    assert found.box == BOX
    assert found.side is None


def test_a_network_of_wider_crops(tiny_export, tmp_path):
    """Its joints fill less of the box, in the picture and in space."""
    exported = saved_model.read(tiny_export)
    saved_model.save(tmp_path / "wide", exported.method, exported.config, exported.weights, crop_margin=2.4)
    wide = pmd_jax.load(tmp_path / "wide")
    assert wide.crop_margin == 2.4
    picture = picture_of(BOX, make_columns(1).rgb[0])
    assert cropping.crop_box(wide.from_image(picture, BOX).uv_px, 2.4) == pytest.approx(BOX, abs=1e-3)
    assert cropping.crop_box(wide.from_image(picture, BOX, K).uv_px, 2.4) == pytest.approx(BOX, abs=0.01)


@pytest.mark.parametrize("margin", ["-1", "NaN", '"wide"'])
def test_a_margin_that_is_none(tiny_export, tmp_path, margin):
    broken = shutil.copytree(tiny_export, tmp_path / "broken")
    described = (broken / "network.json").read_text()
    assert '"crop_margin": 1.5' in described
    redescribe(broken, described.replace('"crop_margin": 1.5', f'"crop_margin": {margin}'))
    with pytest.raises(CheckpointError, match=r"network\.json is broken"):
        pmd_jax.load(broken)


def test_an_export_from_before_margins_were_kept(tiny_export, tmp_path):
    older = shutil.copytree(tiny_export, tmp_path / "older")
    described = json.loads((older / "network.json").read_text())
    del described["crop_margin"]
    redescribe(older, json.dumps(described))
    assert pmd_jax.load(older).crop_margin == 1.5


def test_paths_and_pillows_pictures_are_pictures_too(predict, tmp_path):
    picture = picture_of(BOX, make_columns(1).rgb[0])
    image = Image.fromarray(picture)
    image.save(tmp_path / "hand.png")
    joints = predict.from_image(picture).joints
    np.testing.assert_array_equal(predict.from_image(image).joints, joints)
    np.testing.assert_array_equal(predict.from_image(tmp_path / "hand.png").joints, joints)


def test_without_a_box_the_central_square(predict):
    picture = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    found = predict.from_image(picture)
    assert found.box == (40, 0, 240)
    np.testing.assert_array_equal(found.joints, predict.from_image(picture, (40, 0, 240)).joints)


def test_a_known_scale_gives_metres_relative_to_the_root(predict):
    found = predict.from_image(picture_of(BOX, make_columns(1).rgb[0]), BOX, hand_scale_m=0.09)
    np.testing.assert_allclose(found.xyz_m, found.joints * 0.09, rtol=1e-6)
    assert not found.xyz_is_absolute


def test_a_known_camera_and_depth_give_metres_from_the_camera(predict):
    found = predict.from_image(picture_of(BOX, make_columns(1).rgb[0]), BOX, K, 0.09, 0.5, side="left")
    assert found.xyz_is_absolute
    assert not found.uv_is_approximate
    assert found.side == "left"
    root = predict.from_image(picture_of(BOX, make_columns(1).rgb[0]), BOX).joints[9] * 0.09
    assert found.xyz_m[9, 2] == pytest.approx(0.5 + root[2], abs=1e-5)
    np.testing.assert_allclose(np.diff(found.xyz_m, axis=0), np.diff(found.joints, axis=0) * 0.09, atol=1e-6)
    np.testing.assert_allclose(hand.project(found.xyz_m, K), found.uv_px, atol=1e-2)
    middle = (found.uv_px.min(0) + found.uv_px.max(0)) / 2
    np.testing.assert_allclose(middle, [BOX.x0 + 63.5, BOX.y0 + 63.5], atol=1e-2)


def test_poses_of_the_crops_ray_are_turned_into_the_cameras_axes(tiny_export, tmp_path):
    """Where the camera is known; else the answer says which axes it has."""
    exported = saved_model.read(tiny_export)
    config = with_fields(exported.config, {"model.target_frame": "ray"})
    saved_model.save(tmp_path / "ray", exported.method, config, exported.weights)
    of_ray, plain = pmd_jax.load(tmp_path / "ray"), pmd_jax.load(tiny_export)
    picture = picture_of(BOX, make_columns(1).rgb[0])
    unknown, known = of_ray.from_image(picture, BOX), of_ray.from_image(picture, BOX, K)
    assert (unknown.axes, known.axes, plain.from_image(picture, BOX).axes) == ("ray", "camera", "camera")
    np.testing.assert_array_equal(unknown.joints, plain.from_image(picture, BOX).joints)
    middle = np.array(BOX[:2]) + (BOX[2] - 1) / 2
    np.testing.assert_allclose(known.joints, unknown.joints @ ray_rotation(K, middle), atol=1e-6)
    assert unknown.as_dict()["axes"] == "ray"


def test_a_camera_without_a_scale_places_in_perspective(predict):
    """The depth that the box implies takes the place of the root's."""
    picture = picture_of(BOX, make_columns(1).rgb[0])
    alone, with_depth = (predict.from_image(picture, BOX, K, root_depth_m=d) for d in (None, 0.5))
    assert alone.uv_is_approximate
    assert not with_depth.uv_is_approximate
    assert with_depth.xyz_m is None
    np.testing.assert_array_equal(alone.uv_px, with_depth.uv_px)
    assert cropping.crop_box(alone.uv_px) == pytest.approx(BOX, abs=1e-2)


def test_a_mirrored_picture_gives_mirrored_joints(predict):
    """What `mirror` shows the network is the mirrored crop, and its answer is mirrored back."""
    picture = picture_of(BOX, make_columns(1).rgb[0])
    mirrored = picture[:, ::-1]
    there = CropBox(320 - BOX.x0 - BOX.side, BOX.y0, BOX.side)
    ours, theirs = predict.from_image(picture, BOX, mirror=True), predict.from_image(mirrored, there)
    np.testing.assert_allclose(ours.joints, theirs.joints * [-1, 1, 1], atol=1e-5)
    np.testing.assert_allclose(ours.uv_px, [319, 0] + theirs.uv_px * [-1, 1], atol=1e-2)


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"box": (320, 0, 64)}, InputError, r"lies outside the picture of 320 × 240 pixels"),
        ({"box": (0, -64, 64)}, InputError, r"lies outside the picture"),
        ({"box": (10, 10, 0)}, InputError, r"no area"),
        ({"box": (10, 10, -5)}, InputError, r"no area"),
        ({"box": (10, float("nan"), 64)}, InputError, r"no area; give a finite corner"),
        ({"box": (0, 0, 1e300)}, InputError, r"a side of at most 1,000,000 px"),
        ({"box": (10, 10, 20, 20)}, InputError, r"give three numbers, x0, y0 and side"),
        ({"box": "hand"}, InputError, r"give three numbers"),
        ({"K": np.eye(2)}, ValueError, r"\(2, 2\); give the camera matrix"),
        ({"K": np.zeros((3, 3))}, InputError, r"fx, fy > 0"),
        ({"K": np.full((3, 3), np.nan)}, InputError, r"fx, fy > 0"),
        ({"hand_scale_m": 0}, InputError, r"hand_scale_m = 0: give metres"),
        ({"hand_scale_m": 1e39}, InputError, r"give metres, a number > 0 and at most 1000"),
        ({"root_depth_m": -1.0}, InputError, r"root_depth_m = -1.0: give metres"),
        ({"K": K, "hand_scale_m": 100.0, "root_depth_m": 0.001}, InputError, r"behind the camera"),
        ({"side": "Left"}, InputError, r"choose left or right"),
        ({"image": np.zeros((240, 320, 4), np.uint8)}, ValueError, r"give \(H, W, 3\)"),
        ({"image": np.zeros((240, 320, 3))}, TypeError, r"give uint8"),
        ({"image": "no_such.jpg"}, InputError, r"no_such.jpg: there is no such file"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_makes_no_sense_is_refused(predict, arguments, error, sentence):
    picture = np.full((240, 320, 3), 90, np.uint8)
    with pytest.raises(error, match=sentence):
        predict.from_image(**{"image": picture, **arguments})


@pytest.mark.parametrize(
    ("crops", "error", "sentence"),
    [
        (np.zeros((1, 64, 64, 3)), TypeError, r"float64; give uint8 values 0…255"),
        (np.zeros((64, 64, 3), np.uint8), ValueError, r"\(64, 64, 3\); give \(B, 64, 64, 3\)"),
        (np.zeros((1, 64, 64, 4), np.uint8), ValueError, r"\(1, 64, 64, 4\); give \(B, 64, 64, 3\)"),
    ],
    ids=["floats", "no batch", "alpha"],
)
def test_crops_of_another_type_or_shape(predict, crops, error, sentence):
    with pytest.raises(error, match=sentence):
        predict(crops)


def test_a_depth_teacher_sees_no_rgb(tmp_path):
    with pytest.raises(ConfigError, match="'depth_teacher', which sees depth"):
        pmd_jax.load(write_export(tmp_path / "export", "depth_teacher"))


def test_a_checkpoint_of_another_version(tiny_export, tmp_path):
    folder = shutil.copytree(tiny_export, tmp_path / "export")
    described = json.loads((folder / "network.json").read_text())
    redescribe(folder, json.dumps(described | {"format": 99}))
    with pytest.raises(CheckpointError, match="format 99, this version reads 1"):
        pmd_jax.load(folder)


def test_without_a_path_it_is_the_demo_network(tiny_export, tmp_path, monkeypatch):
    monkeypatch.setattr(predictor, "DEMO", tmp_path / "demo")
    with pytest.raises(CheckpointError, match=r"no demo network at .*demo: install pmd_jax again, or name"):
        pmd_jax.load()
    shutil.copytree(tiny_export, tmp_path / "demo")
    assert pmd_jax.load().method == "rgb_baseline"
