"""Rotation, scale and shift: K·xyz/z = uv in float64, pictures that move with their joints, hands that stay inside."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmd_jax.config import AugmentConfig
from pmd_jax.data import hand
from pmd_jax.data.augment import sample_keys, training_inputs
from pmd_jax.data.geometry import (
    CropWarp,
    draw_warp,
    keep_inside,
    sample_linear,
    sample_nearest,
    source_pixels,
    warp_crops,
    warp_labels,
)
from pmd_jax.data.inputs import Batch
from reference.made_up_columns import make_batch

SIZE, MIDDLE = 64, 31.5
ALL = AugmentConfig(rotation_deg=60.0, scale=1.3, shift=0.2)
CAMERAS = {
    "square pixels": np.array([[150.0, 0, 28.0], [0, 150.0, 36.0], [0, 0, 1]]),
    "other pixels": np.array([[150.0, 0, 28.0], [0, 190.0, 36.0], [0, 0, 1]]),
    "skew, and far from the axis": np.array([[150.0, 9.0, -400.0], [0, 190.0, 250.0], [0, 0, 1]]),
}


def warp_of(degrees: float, zoom: float = 1.0, shift_px: tuple[float, float] = (0.0, 0.0)) -> CropWarp:
    angle = np.deg2rad(degrees)
    return CropWarp(np.cos(angle), np.sin(angle), np.float64(zoom), np.array(shift_px))


def labels_of(K: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints of a hand in the middle of the crop that `K` describes, and their pixels, in float64."""
    z = np.random.default_rng(0).uniform(0.4, 0.6, 21)
    uv = np.random.default_rng(1).uniform(12, 52, (21, 2))
    xyz = np.linalg.solve(K, np.concatenate([uv, np.ones((21, 1))], 1).T).T * z[:, None]
    np.testing.assert_allclose(hand.project(xyz, K), uv, atol=1e-9)
    return xyz, uv, K


@pytest.fixture(params=CAMERAS.values(), ids=CAMERAS.keys())
def labels(request) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return labels_of(request.param)


# ---- labels, in float64


@pytest.mark.parametrize("degrees", [0.0, 17.0, -90.0, 163.0])
@pytest.mark.parametrize(("zoom", "shift_px"), [(1.0, (0.0, 0.0)), (1.4, (5.0, -9.0)), (0.8, (-11.0, 2.0))])
def test_the_projection_holds_exactly(labels, degrees, zoom, shift_px):
    xyz, uv, K = warp_labels(*labels, warp_of(degrees, zoom, shift_px), SIZE)
    assert xyz.dtype == uv.dtype == K.dtype == np.float64
    np.testing.assert_allclose(hand.project(xyz, K), uv, atol=1e-6)
    # A pinhole camera as before, with another focal length; the hand is turned about z and not changed.
    np.testing.assert_allclose(K[:2, :2], zoom * labels[2][:2, :2])
    np.testing.assert_array_equal(K[2], [0, 0, 1])
    np.testing.assert_array_equal(xyz[:, 2], labels[0][:, 2])
    complex_xy = (labels[0][:, 0] + 1j * labels[0][:, 1]) * np.exp(1j * np.deg2rad(degrees))
    np.testing.assert_allclose(xyz[:, 0] + 1j * xyz[:, 1], complex_xy, atol=1e-12)


def test_square_pixels_turn_about_the_crops_middle():
    xyz, uv, K = labels_of(CAMERAS["square pixels"])
    _, moved, _ = warp_labels(xyz, uv, K, warp_of(30.0, 1.2, (3.0, 4.0)), SIZE)
    before, after = ((points - MIDDLE) @ [1, 1j] for points in (uv, moved))
    np.testing.assert_allclose(after, 1.2 * before * np.exp(1j * np.pi / 6) + 3 + 4j, atol=1e-9)


def test_it_is_what_a_rolled_camera_sees_but_for_the_crops_place(labels):
    """The camera before, its hand turned about the optical axis: every pixel is as far from the warped one."""
    xyz, uv, _ = warp_labels(*labels, warp_of(40.0), SIZE)
    offset = uv - hand.project(xyz, labels[2])
    np.testing.assert_allclose(offset, np.broadcast_to(offset[0], offset.shape), atol=1e-9)


@pytest.mark.parametrize(("flip_u", "flip_v"), [(True, False), (False, True), (True, True)])
def test_flips_and_rotations_compose(labels, flip_u, flip_v):
    """Flipped and then turned by θ is turned by −θ (by θ after both flips) and then flipped."""

    def flip(xyz, uv, K):
        return hand.flip_labels(xyz, uv, K, np.bool_(False), flip_u, flip_v, SIZE)[:3]

    turned = warp_labels(*flip(*labels), warp_of(25.0), SIZE)
    np.testing.assert_allclose(hand.project(turned[0], turned[2]), turned[1], atol=1e-6)
    other = flip(*warp_labels(*labels, warp_of(25.0 if flip_u and flip_v else -25.0), SIZE))
    for ours, theirs in zip(turned, other, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_a_crop_without_a_camera_is_scaled_and_shifted_all_the_same():
    xyz, uv, _ = labels_of(CAMERAS["square pixels"])
    _, moved, K = warp_labels(xyz, uv, np.zeros((3, 3)), warp_of(0.0, 1.2, (3.0, 4.0)), SIZE)
    np.testing.assert_allclose(moved, 1.2 * (uv - MIDDLE) + MIDDLE + [3, 4])
    np.testing.assert_array_equal(K[:2, :2], 0)


# ---- pictures


def test_pixels_come_from_where_the_joints_come_from(labels):
    """`warp_labels` takes the place that a pixel is read from to that pixel."""
    warp = warp_of(20.0, 1.1, (2.0, -3.0))
    at = source_pixels(labels[2], warp, SIZE)
    assert at.shape == (SIZE, SIZE, 2)
    assert at.min() >= 0
    assert at.max() <= SIZE - 1
    _, back, _ = warp_labels(labels[0], at.reshape(-1, 2), labels[2], warp, SIZE)
    v, u = np.indices((SIZE, SIZE))
    missed = np.abs(back.reshape(SIZE, SIZE, 2) - np.stack([u, v], -1)).max(-1)
    inside = missed < 1e-6  # elsewhere the reflection is read
    assert inside[12:52, 12:52].all()
    assert inside.mean() > 0.6


def test_a_quarter_turn_moves_whole_pixels():
    random, K = np.random.default_rng(0), CAMERAS["square pixels"]
    rgb, depth = random.integers(0, 256, (SIZE, SIZE, 3)), random.integers(0, 9000, (SIZE, SIZE)).astype(np.uint16)
    for degrees, turns in ((0, 0), (90, -1), (180, 2), (-90, 1)):  # u towards v is clockwise
        at = source_pixels(K, warp_of(degrees), SIZE)
        np.testing.assert_allclose(sample_linear(rgb, at), np.rot90(rgb, turns), atol=1e-6)
        np.testing.assert_array_equal(sample_nearest(depth, at), np.rot90(depth, turns))


def test_between_pixels_colours_are_mixed_and_depths_are_not():
    v, u = np.indices((SIZE, SIZE))
    at = np.random.default_rng(0).uniform(0, SIZE - 1, (SIZE, SIZE, 2))
    ramp = sample_linear(np.stack([u, v, 2 * u - v], -1), at)
    np.testing.assert_allclose(ramp, np.stack([at[..., 0], at[..., 1], at @ [2, -1]], -1), atol=1e-9)
    nearest = sample_nearest(64 * v + u, at)
    np.testing.assert_array_equal(nearest, np.rint(at[..., 1]) * 64 + np.rint(at[..., 0]))


def test_beyond_the_border_the_reflection_is_shown():
    K = CAMERAS["square pixels"]
    row = source_pixels(K, warp_of(0.0, 1.0, (5.0, 0.0)), SIZE)[0, :, 0]
    np.testing.assert_allclose(row[:8], [5, 4, 3, 2, 1, 0, 1, 2], atol=1e-6)


# ---- hands that stay inside


@pytest.mark.parametrize("degrees", [0.0, 45.0, 120.0])
@pytest.mark.parametrize("shift_px", [(16.0, 16.0), (-16.0, 3.0)])
@pytest.mark.parametrize("zoom", [0.7, 1.0, 1.5])
def test_no_visible_joint_leaves_the_crop(labels, degrees, shift_px, zoom):
    xyz, uv, K = labels
    uv = uv + 12 - uv.min(0) * 0.9  # towards a corner
    uv[3], uv[5] = (-0.4, 63.4), (70.0, 10.0)  # on the edge, outside
    visible = np.ones(21, bool)
    visible[7] = False
    counted = visible & ((uv > -0.5) & (uv < 63.5)).all(1)
    asked = warp_of(degrees, zoom, shift_px)
    warp = keep_inside(asked, uv, visible, K, SIZE)
    _, moved, _ = warp_labels(xyz, uv, K, warp, SIZE)
    assert (moved[counted] > -0.001).all()
    assert (moved[counted] < 63.001).all()
    assert (warp.cos, warp.sin) == (asked.cos, asked.sin)
    assert warp.zoom <= zoom
    _, unlimited, _ = warp_labels(xyz, uv, K, asked, SIZE)
    assert (np.abs(unlimited[counted] - MIDDLE) > 32).any() or zoom <= 1  # so there was something to limit


def test_what_leaves_nothing_outside_is_not_limited(labels):
    _, uv, K = labels
    warp = keep_inside(warp_of(30.0, 0.9, (4.0, -4.0)), uv, np.ones(21, bool), K, SIZE)
    assert warp.zoom == 0.9
    np.testing.assert_array_equal(warp.shift_px, [4, -4])
    unlabelled = keep_inside(warp_of(30.0, 1.5, (16.0, -16.0)), np.full((21, 2), np.nan), np.zeros(21, bool), K, SIZE)
    assert unlabelled.zoom == 1.5
    np.testing.assert_array_equal(unlabelled.shift_px, [16, -16])


# ---- batches


@functools.cache
def warped(step: int = 0, order: tuple[int, ...] = tuple(range(24))) -> Batch:
    batch = jax.tree.map(lambda column: column[list(order)], make_batch(24))
    return jax.tree.map(np.asarray, _warped(batch, jnp.int32(step)))


@jax.jit
def _warped(batch: Batch, step: jax.Array) -> Batch:
    return warp_crops(batch, sample_keys(jnp.int32(0), step, batch.index), ALL)


def test_a_warped_batch_projects_and_keeps_its_hands():
    batch, after = make_batch(24), warped()
    np.testing.assert_allclose(hand.project(after.xyz, after.K), after.uv, atol=2e-3)
    assert [column.dtype for column in after] == [column.dtype for column in batch]
    counted = batch.visible & (np.abs(batch.uv - MIDDLE) < 32).all(-1)
    assert (np.abs(after.uv[counted] - MIDDLE) < 32).all()
    turned = np.rad2deg(np.angle((after.xyz[:, 9, :2] @ [1, 1j]) / (batch.xyz[:, 9, :2] @ [1, 1j])))
    assert np.abs(turned).max() <= 60 + 1e-3
    assert np.ptp(turned) > 60
    np.testing.assert_array_equal(after.depth_origin_m, batch.depth_origin_m)


def test_draws_belong_to_the_sample_and_the_step():
    order = tuple(np.random.default_rng(0).permutation(24).tolist())
    for ours, theirs in zip(warped(order=order), warped(), strict=True):
        np.testing.assert_array_equal(ours, theirs[list(order)])
    assert (warped(step=1).uv != warped().uv).all()


def test_student_and_teacher_see_the_same_geometry():
    """A ramp in red and in depth: linearly sampled it is what the nearest pixel has, to the pixel's half."""
    v, u = np.indices((SIZE, SIZE))
    batch = make_batch(8)
    rgb = np.broadcast_to((u + 2 * v)[..., None], batch.rgb.shape).astype(np.uint8)
    depth = 5000 + rgb[..., 0].astype(np.uint16)
    paired = batch._replace(rgb=rgb, depth=depth, depth_origin_m=np.full(8, 0.5, np.float32))

    @jax.jit
    def see(batch: Batch):
        keys = sample_keys(jnp.int32(0), jnp.int32(0), batch.index)
        return training_inputs(batch, jnp.int32(0), jnp.int32(0), ALL, False), jax.vmap(_warp_alone)(batch, keys)

    inputs, xyz = see(paired)
    red, counts = (np.asarray(inputs.rgb[..., 0]) + 1) * 127.5, np.asarray(inputs.depth[..., 0]) * 2000
    assert np.abs(red - rgb[..., 0]).max() > 10
    assert np.abs(red - counts).max() <= 0.5 + 1 + 0.5 + 1e-2
    np.testing.assert_allclose(inputs.target, hand.normalise(np.asarray(xyz)).pose, atol=1e-5)


def _warp_alone(sample: Batch, key: jax.Array) -> jax.Array:
    warp = keep_inside(draw_warp(key, ALL, SIZE), sample.uv, sample.visible, sample.K, SIZE)
    return warp_labels(sample.xyz, sample.uv, sample.K, warp, SIZE)[0]


def test_nothing_is_done_by_default():
    batch = make_batch(2)
    assert warp_crops(batch, sample_keys(0, 0, batch.index), AugmentConfig()) is batch
