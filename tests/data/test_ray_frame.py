"""Poses in the axes of their crop's ray: a rotation in float64, undone at prediction, and blind to the crop's place."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from pmd_jax.data import hand
from pmd_jax.data.augment import flip
from pmd_jax.data.geometry import CropWarp, warp_labels
from pmd_jax.data.inputs import to_inputs
from pmd_jax.data.ray_frame import from_ray, ray_rotation, to_ray
from reference.made_up_columns import make_batch

SIZE, MIDDLE = 64, 31.5
CAMERAS = {
    "square pixels": np.array([[150.0, 0, 28.0], [0, 150.0, 36.0], [0, 0, 1]]),
    "other pixels, far from the axis": np.array([[150.0, 0, -180.0], [0, 190.0, 250.0], [0, 0, 1]]),
    "skew": np.array([[150.0, 9.0, 80.0], [0, 190.0, -30.0], [0, 0, 1]]),
}


@pytest.mark.parametrize("K", CAMERAS.values(), ids=CAMERAS.keys())
def test_the_smallest_rotation_that_takes_the_ray_to_the_axis(K):
    rotation = ray_rotation(K, MIDDLE)
    ray = np.linalg.solve(K, [MIDDLE, MIDDLE, 1.0])
    length = np.linalg.norm(ray)
    np.testing.assert_allclose(rotation @ ray, [0, 0, length], atol=1e-12)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    # The angle of a rotation is in its trace; the smallest possible is the one between the ray and the axis.
    assert (np.trace(rotation) - 1) / 2 == pytest.approx(1 / length)


def test_in_the_middle_and_without_a_camera_it_is_the_identity():
    centred = np.array([[200.0, 0, MIDDLE], [0, 200.0, MIDDLE], [0, 0, 1]])
    np.testing.assert_allclose(ray_rotation(centred, MIDDLE), np.eye(3), atol=1e-15)
    np.testing.assert_array_equal(ray_rotation(np.zeros((3, 3)), MIDDLE), np.eye(3))


def test_one_hand_under_two_rays_has_one_target():
    """A hand that is carried around the camera looks the same from it; only its place in the picture changes."""
    pose = np.random.default_rng(0).normal(size=(21, 3)) * 0.05
    crops = []
    for K in (CAMERAS["square pixels"], CAMERAS["other pixels, far from the axis"]):
        turned_there = pose @ ray_rotation(K, MIDDLE)  # as the camera's axes have it
        crops.append(to_ray(turned_there, K, SIZE))
    np.testing.assert_allclose(crops[0], crops[1], atol=1e-12)
    np.testing.assert_allclose(from_ray(crops[0], K, SIZE), turned_there, atol=1e-12)


def test_a_batch_in_one_call_and_in_float32():
    batch = make_batch(8)
    turned = to_ray(batch.xyz, batch.K, SIZE)
    assert turned.dtype == np.float32
    one_by_one = [to_ray(xyz, K, SIZE) for xyz, K in zip(batch.xyz, batch.K, strict=True)]
    np.testing.assert_allclose(turned, np.stack(one_by_one), atol=1e-6)
    np.testing.assert_allclose(from_ray(turned, batch.K, SIZE), batch.xyz, atol=1e-6)


def test_the_target_of_a_changed_crop_is_that_of_the_hand_as_it_shows_there():
    """Mirrored, and rotated in the plane about its middle: so is the target in the ray's axes."""
    batch = make_batch(4)
    K = np.repeat(np.array([[150.0, 0, -60.0], [0, 150.0, 40.0], [0, 0, 1]], np.float32)[None], 4, 0)
    batch = batch._replace(K=K, uv=hand.project(batch.xyz, K).astype(np.float32))
    plain = np.asarray(to_inputs(batch, "ray").target)
    mirrored = flip(batch, jnp.array([[True, False]] * 4))
    np.testing.assert_allclose(to_inputs(mirrored, "ray").target, plain * [-1, 1, 1], atol=1e-5)

    cos, sin = np.cos(0.7), np.sin(0.7)
    warp = CropWarp(cos, sin, np.float64(1.2), np.zeros(2))
    xyz, K = batch.xyz[0].astype(np.float64), CAMERAS["square pixels"]
    turned, _, its_camera = warp_labels(xyz, hand.project(xyz, K), K, warp, SIZE)
    expected = to_ray(hand.normalise(xyz).pose, K, SIZE) @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]).T
    np.testing.assert_allclose(to_ray(hand.normalise(turned).pose, its_camera, SIZE), expected, atol=1e-6)


def test_the_camera_s_axes_are_left_alone():
    batch = make_batch(3)
    np.testing.assert_array_equal(to_inputs(batch).target, hand.normalise(batch.xyz).pose)
    unlabelled = batch._replace(xyz=np.full_like(batch.xyz, np.nan))
    assert np.isnan(to_inputs(unlabelled, "ray").target).all()
