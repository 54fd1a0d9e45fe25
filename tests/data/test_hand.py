"""Anatomy, normalisation, projection, crops and flips, against brute force and numbers worked out by hand."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from pmd_jax.data import cropping, hand
from reference.made_up_columns import make_columns

both_libraries = pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
all_flips = pytest.mark.parametrize(("flip_u", "flip_v"), list(itertools.product([False, True], repeat=2)))


def sample(seed: int = 0):
    """One made-up sample's joints, pixels and intrinsics, float32."""
    columns = make_columns(1, seed)
    return columns.xyz[0], columns.uv[0], columns.K[0]


def noise_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


# ---- anatomy


def test_joint_order():
    assert len(hand.JOINT_NAMES) == len(set(hand.JOINT_NAMES)) == hand.NUM_JOINTS == 21
    assert hand.JOINT_NAMES[hand.WRIST] == "wrist"
    assert hand.JOINT_NAMES[hand.ROOT] == "middle_mcp"
    assert [hand.JOINT_NAMES[4 * finger + 4] for finger in range(5)] == [f"{name}_tip" for name in hand.FINGERS]


def test_bones_are_a_tree_of_five_chains_from_the_wrist():
    assert [child for _, child in hand.BONES] == list(range(1, 21))
    assert all(parent < child for parent, child in hand.BONES)
    parents = {child: parent for parent, child in hand.BONES}
    for finger in range(5):
        chain = [4 * finger + 4]
        while chain[-1] != hand.WRIST:
            chain.append(parents[chain[-1]])
        assert chain == [4 * finger + part for part in (4, 3, 2, 1)] + [hand.WRIST]


# ---- normalised pose


@both_libraries
def test_root_is_the_origin_and_the_scale_is_one(xp):
    xyz = xp.asarray(make_columns(5).xyz)
    pose, root_m, scale_m = hand.normalise(xyz)
    assert (pose.shape, root_m.shape, scale_m.shape) == ((5, 21, 3), (5, 3), (5,))
    np.testing.assert_array_equal(pose[:, 9], 0)
    np.testing.assert_allclose(np.linalg.norm(pose[:, 0], axis=-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(root_m, xyz[:, 9])
    np.testing.assert_allclose(
        scale_m, np.linalg.norm(np.asarray(xyz)[:, 0] - np.asarray(xyz)[:, 9], axis=-1), rtol=1e-6
    )


def test_normalise_by_hand():
    xyz = np.zeros((21, 3))
    xyz[9], xyz[0], xyz[8] = (0.1, 0.2, 0.5), (0.1, 0.23, 0.54), (0.2, 0.2, 0.4)
    pose, root_m, scale_m = hand.normalise(xyz)
    assert scale_m == pytest.approx(0.05)
    np.testing.assert_allclose(root_m, [0.1, 0.2, 0.5])
    np.testing.assert_allclose(pose[[0, 8]], [[0, 0.6, 0.8], [2, 0, -2]], atol=1e-12)


@both_libraries
def test_denormalise_is_the_inverse(xp):
    xyz = xp.asarray(make_columns(5).xyz)
    restored = hand.denormalise(hand.normalise(xyz))
    assert isinstance(restored, type(xyz))
    np.testing.assert_allclose(restored, xyz, atol=1e-6)


# ---- a palm centre made a wrist


def flat_hand() -> np.ndarray:
    """Metres: a wrist to middle MCP distance of 90 mm, the ring finger's MCP 20 mm beside, the palm half-way."""
    xyz = np.random.default_rng(0).normal([0, 0, 0.5], 0.05, (21, 3))
    xyz[9], xyz[13], xyz[0] = (0, 0.09, 0.5), (0.02, 0.085, 0.5), (0, 0.045, 0.5)
    return xyz


@pytest.mark.parametrize(
    ("rule", "wrist"), [("wrist_from_ring", (-0.02, 0.005, 0.5)), ("wrist_from_middle", (0, -0.009, 0.5))]
)
def test_wrist_rules_by_hand(rule, wrist):
    xyz = np.stack([flat_hand(), flat_hand() + 0.1]).astype(np.float32)
    moved = hand.wrist_from_palm(xyz, rule)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved[0, 0], wrist, atol=1e-7)
    np.testing.assert_allclose(moved[1, 0], np.add(wrist, 0.1), atol=1e-7)
    np.testing.assert_array_equal(moved[:, 1:], xyz[:, 1:])
    np.testing.assert_array_equal(xyz[0], flat_hand().astype(np.float32))  # what was given stays as it was


def test_wrist_rules_disagree_by_some_20_mm_and_agree_on_a_scale_with_a_wrist():
    """docs/datasets.md: the rules are 20 mm apart; a scale is about 90 mm with a wrist, half of it with the palm."""
    ring, middle = (hand.wrist_from_palm(flat_hand(), rule) for rule in ("wrist_from_ring", "wrist_from_middle"))
    assert 15 < 1000 * np.linalg.norm(ring[0] - middle[0]) < 25
    scale_m = hand.normalise(flat_hand()).scale_m
    assert hand.normalise(middle).scale_m == pytest.approx(2.2 * scale_m)
    assert 0.08 < hand.normalise(ring).scale_m < 0.1


# ---- projection and crops


@both_libraries
def test_project_by_hand(xp):
    K = xp.asarray([[100.0, 0, 32], [0, 200, 16], [0, 0, 1]])
    uv = hand.project(xp.asarray([[0.1, -0.05, 0.5], [0.0, 0.0, 2.0]]), K)
    np.testing.assert_allclose(uv, [[52, -4], [32, 16]], rtol=1e-6)


@both_libraries
def test_project_takes_batches(xp):
    columns = make_columns(5)
    np.testing.assert_allclose(hand.project(xp.asarray(columns.xyz), xp.asarray(columns.K)), columns.uv, atol=1e-3)


def test_crop_box_by_hand():
    """Extents 20 and 40, so a square of 1.5·40 around the centre (20, 40), which as an edge is (20.5, 40.5)."""
    uv = np.array([[10, 25], [30, 60], [12, 20.0]])
    assert cropping.crop_box(uv) == pytest.approx((20.5 - 30, 40.5 - 30, 60))
    assert cropping.crop_box(uv, margin=2.0) == pytest.approx((20.5 - 40, 40.5 - 40, 80))


def test_all_joints_lie_in_their_crop_with_the_margin_around_them():
    for seed in range(10):
        _, uv, _ = sample(seed)
        inside = cropping.crop_points(uv, cropping.crop_box(uv), 64)
        extent = inside.max(0) - inside.min(0)
        assert extent.max() == pytest.approx(64 / 1.5, rel=1e-5)
        np.testing.assert_allclose(inside.max(0) + inside.min(0), 63, atol=1e-4)  # centred


def test_placed_joints_have_their_box_as_crop():
    """Whatever their unit and origin; and a pose that weak perspective pictures comes back to its own pixels."""
    box = cropping.CropBox(-12.5, 40.25, 300.0)
    for seed in range(5):
        pose = np.random.default_rng(seed).normal(size=(21, 3))
        assert cropping.crop_box(cropping.project_weak_perspective(pose, box)) == pytest.approx(box)
        np.testing.assert_allclose(
            cropping.project_weak_perspective(7 * pose + 3, box),
            cropping.project_weak_perspective(pose, box),
            atol=1e-9,
        )
        uv = 50 * pose[:, :2] + [320, 200]
        np.testing.assert_allclose(cropping.project_weak_perspective(pose, cropping.crop_box(uv)), uv, atol=1e-9)


@pytest.mark.parametrize("margin", [1.5, 2.38])
def test_the_margin_of_crops_is_found_in_them(margin):
    uv = np.stack([sample(seed)[1] for seed in range(10)])
    crops = np.stack([cropping.crop_points(one, cropping.crop_box(one, margin), 64) for one in uv]).astype(np.float32)
    assert cropping.crop_margin(crops) == margin
    pose = uv[0, :, :2] * [1, 1]
    box = cropping.crop_box(pose, margin)
    np.testing.assert_allclose(cropping.project_weak_perspective(pose, box, margin), pose, atol=1e-9)


def test_joints_all_at_one_place_are_placed_in_the_middle():
    np.testing.assert_array_equal(
        cropping.project_weak_perspective(np.ones((21, 3)), cropping.CropBox(0, 0, 10)), np.full((21, 2), 4.5)
    )


@pytest.mark.parametrize("depth_known", [False, True])
def test_a_camera_finds_the_root(depth_known):
    """From the true pose and its crop, in hand scales; skew included."""
    for seed in range(10):
        xyz, _, K = (x.astype(np.float64) for x in sample(seed))
        K[0, 1] = 3.0
        normalised = hand.normalise(xyz)
        root = normalised.root_m / normalised.scale_m
        found = cropping.solve_root_translation(
            normalised.pose, cropping.crop_box(hand.project(xyz, K)), K, root[2] if depth_known else None
        )
        np.testing.assert_allclose(found, root, rtol=1e-4, atol=1e-4)


def test_a_box_that_no_root_fits_still_has_all_joints_before_the_camera():
    """A box far wider than the picture of a hand can be."""
    xyz, _, K = sample()
    pose = hand.normalise(xyz.astype(np.float64)).pose
    root = cropping.solve_root_translation(pose, cropping.CropBox(0, 0, 1e5), K.astype(np.float64))
    assert np.isfinite(root).all()
    assert (pose[:, 2] + root[2] > 0).all()


@pytest.mark.parametrize(
    "uv",
    [np.full((21, 2), 7.0), np.full((21, 2), np.nan), np.vstack([np.zeros((20, 2)), [[np.inf, 0]]])],
    ids=["one point", "NaN", "infinite"],
)
def test_degenerate_joints_have_no_crop(uv):
    with pytest.raises(ValueError, match=r"side (0.0|nan|inf) px; a crop needs finite joints that are not all equal"):
        cropping.crop_box(uv)


@both_libraries
def test_crop_points_equal_projection_with_the_crops_intrinsics(xp):
    xyz, uv, K = (x.astype(np.float64) for x in sample())
    uv = hand.project(xyz, K)
    for box in (cropping.crop_box(uv), cropping.CropBox(-7.3, 12.9, 41.7), cropping.CropBox(0, 0, 64)):
        points = cropping.crop_points(xp.asarray(uv), box, 64)
        projected = hand.project(xp.asarray(xyz), cropping.crop_intrinsics(xp.asarray(K), box, 64))
        np.testing.assert_allclose(points, projected, atol=1e-9 if xp is np else 1e-3)


def test_crop_points_by_hand():
    """The box's left edge is half a pixel left of the first centre, its middle is the crop's middle."""
    box = cropping.CropBox(10, 20, 32)
    corners = cropping.crop_points(np.array([[9.5, 19.5], [25.5, 35.5], [41.5, 51.5], [10, 20]]), box, 64)
    np.testing.assert_allclose(corners, [[-0.5, -0.5], [31.5, 31.5], [63.5, 63.5], [0.5, 0.5]])


def test_rgb_crop_of_a_whole_number_of_pixels_is_the_area_mean():
    image = noise_image(220, 240)
    crop = cropping.crop_rgb(image, cropping.CropBox(13, 7, 192), 64)
    assert (crop.shape, crop.dtype) == ((64, 64, 3), np.uint8)
    mean = image[7:199, 13:205].reshape(64, 3, 64, 3, 3).mean((1, 3))
    assert abs(crop - mean).max() < 1  # Pillow rounds to whole grey levels twice, after the rows and after the columns
    assert abs((crop - mean).mean()) < 0.02


def test_rgb_crop_without_zoom_is_the_picture():
    image = noise_image(80, 90)
    np.testing.assert_array_equal(cropping.crop_rgb(image, cropping.CropBox(11, 5, 64), 64), image[5:69, 11:75])


def test_rgb_crop_is_black_outside_the_picture():
    image = np.maximum(noise_image(70, 70), 1)
    crop = cropping.crop_rgb(image, cropping.CropBox(-20, 30, 64), 64)
    assert not crop[:, :20].any()
    assert not crop[40:].any()
    np.testing.assert_array_equal(crop[:40, 20:], image[30:, :44])
    assert not cropping.crop_rgb(image, cropping.CropBox(500, 500, 64), 64).any()


@pytest.mark.parametrize("seed", range(4))
def test_depth_crop_takes_the_nearest_sample(seed):
    """By brute force, at places where the crop also reaches outside the picture."""
    generator = np.random.default_rng(seed)
    depth = generator.integers(1, 60000, (90, 110)).astype(np.uint16)
    box = cropping.CropBox(*generator.uniform(-30, 60, 2), generator.uniform(20, 120))
    crop = cropping.crop_depth(depth, box, 64)
    assert (crop.shape, crop.dtype) == ((64, 64), np.uint16)
    expected = np.zeros((64, 64), np.uint16)
    for row, column in itertools.product(range(64), repeat=2):
        # Back from the crop's pixel to the picture's; the pixel whose centre is nearest.
        u = (column + 0.5) * box.side / 64 + box.x0 - 0.5
        v = (row + 0.5) * box.side / 64 + box.y0 - 0.5
        x, y = round(u), round(v)
        if 0 <= x < 110 and 0 <= y < 90:
            expected[row, column] = depth[y, x]
    np.testing.assert_array_equal(crop, expected)
    assert set(np.unique(crop)) - {0} <= set(np.unique(depth))


@pytest.mark.parametrize(
    "box", [cropping.CropBox(13, 21, 128), cropping.CropBox(20.4, 15.8, 96.3), cropping.CropBox(30.2, 31.7, 50)]
)
def test_pictures_and_points_go_to_the_same_place(box):
    """A bright square's centre of mass in both crops is where `crop_points` sends its centre."""
    rgb, depth = np.zeros((160, 160, 3), np.uint8), np.zeros((160, 160), np.uint16)
    rgb[50:66, 44:60], depth[50:66, 44:60] = 255, 1000
    expected = cropping.crop_points(np.array([51.5, 57.5]), box, 64)
    pixels = np.stack(np.meshgrid(np.arange(64), np.arange(64)), -1)
    for crop in (
        cropping.crop_rgb(rgb, box, 64)[..., 0].astype(float),
        cropping.crop_depth(depth, box, 64).astype(float),
    ):
        centre = (pixels * crop[..., None]).sum((0, 1)) / crop.sum()
        np.testing.assert_allclose(centre, expected, atol=0.5)


def test_any_finite_box_can_be_cut_out():
    """Pillow refuses a box that leaves the window by a rounding error."""
    image, depth = noise_image(60, 80), np.ones((60, 80), np.uint16)
    generator = np.random.default_rng(0)
    for _ in range(200):
        box = cropping.CropBox(*np.round(generator.uniform(-50, 90, 2), 1), round(generator.uniform(0.5, 300), 1))
        assert cropping.crop_rgb(image, box, 64).shape == (64, 64, 3)
        assert cropping.crop_depth(depth, box, 64).shape == (64, 64)


# ---- flips


@both_libraries
@all_flips
def test_flipped_labels_still_project(xp, flip_u, flip_v):
    xyz, uv, K = sample()
    arrays = [xp.asarray(x) for x in (xyz, uv, K)]
    flags = [xp.asarray(x) for x in (True, flip_u, flip_v)]
    new_xyz, new_uv, new_K, is_left = hand.flip_labels(*arrays, *flags, 64)
    assert (new_xyz.dtype, new_uv.dtype, new_K.dtype) == (np.float32,) * 3
    np.testing.assert_allclose(hand.project(np.asarray(new_xyz), np.asarray(new_K)), new_uv, atol=1e-3)
    signs = np.array([-1 if flip_u else 1, -1 if flip_v else 1])
    np.testing.assert_allclose(new_xyz, xyz * [*signs, 1], atol=0)
    np.testing.assert_allclose(new_uv, np.where(signs == 1, uv, 63 - uv), atol=1e-5)
    np.testing.assert_allclose(new_K[:2, 2], np.where(signs == 1, K[:2, 2], 63 - K[:2, 2]))
    np.testing.assert_allclose(np.diag(new_K), np.diag(K))
    assert bool(is_left) is (flip_u == flip_v)


@all_flips
def test_flipping_labels_twice_gives_them_back(flip_u, flip_v):
    xyz, uv, K = sample()
    flags = np.array(flip_u), np.array(flip_v)
    once = hand.flip_labels(xyz, uv, K, np.array(True), *flags, 64)
    twice = hand.flip_labels(*once, *flags, 64)
    for ours, original in zip(twice, (xyz, uv, K, np.array(True)), strict=True):
        np.testing.assert_allclose(ours, original, atol=1e-5)


def test_a_skewed_camera_is_flipped_too():
    xyz, _, K = sample()
    K = K + np.array([[0, 12.5, 0], [0, 0, 0], [0, 0, 0]], np.float32)
    uv = hand.project(xyz, K)
    flipped = hand.flip_labels(xyz, uv, K, np.array(False), np.array(True), np.array(False), 64)
    np.testing.assert_allclose(hand.project(flipped[0], flipped[2]), flipped[1], atol=1e-3)
