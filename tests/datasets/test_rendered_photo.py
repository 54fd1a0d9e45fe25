"""Rendered hands in the photo style: labels stay exact, samples stay reproducible, and the pictures differ."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from pmd_jax import prepare
from pmd_jax.data import cropping, hand

prepare.register_datasets()

from pmd_datasets.rendered_hands import (  # noqa: E402
    camera_effects,
    canvas,
    generate,
    objects,
    photo,
    photo_background,
    photo_scenes,
    postures,
    rendered_hands_dataset_builder,
    view,
    viewpoints,
)
from pmd_datasets.rendered_hands.draws import Draws  # noqa: E402
from pmd_datasets.rendered_hands.raster import Hits, rasterise  # noqa: E402
from pmd_datasets.rendered_hands.rendered_hands_dataset_builder import Builder, RenderedHandsConfig  # noqa: E402

SEED = 3
PHOTO = generate.Settings(views="everyday", style="photo")


@pytest.fixture(scope="module")
def crops():
    """64 crops at 128 px, not reduced: the resolution at which labels are checked against pixels."""
    return generate.render(SEED, range(64), generate.Settings(view.CropFrame(128, 128), "everyday", "photo"))


@pytest.fixture(scope="module")
def drawn():
    """What chance decided about 1,500 pictures."""
    return photo.sample_scene(SEED, range(1500), "everyday", view.CropFrame())


def test_sample_is_the_same_in_every_batch():
    together = generate.render(SEED, range(12), PHOTO)
    photo_background._scene.cache_clear()  # nor does it matter what was drawn before
    for indices in ([7], [11, 3, 7]):
        apart = generate.render(SEED, indices, PHOTO)
        for name, values in apart.items():
            np.testing.assert_array_equal(values, together[name][indices], err_msg=f"{name} of {indices}")


def test_labels_project_into_the_picture(crops):
    K, xyz = crops["K"].astype(np.float64), crops["xyz"].astype(np.float64)
    np.testing.assert_allclose(hand.project(xyz, K), crops["uv"], atol=2e-3)
    boxes = np.array([cropping.crop_box(uv.astype(np.float64)) for uv in crops["uv"]])
    np.testing.assert_allclose(boxes, np.broadcast_to([0, 0, 128], boxes.shape), atol=1e-2)
    assert (xyz[..., 2] > 0.12).all()


def test_depth_agrees_with_the_joints(crops):
    column, row = np.rint(crops["uv"]).astype(int).transpose(2, 0, 1)
    depth = crops["depth"][np.arange(len(row))[:, None], row, column]
    behind = (crops["xyz"][..., 2] * 1000 - depth / 10)[depth > 0]  # mm under what the camera sees
    assert (depth > 0).mean() > 0.97  # the rest lies beyond the picture's edge
    assert (behind > -3).mean() > 0.998
    assert 7 < np.median(behind) < 20
    visible = crops["visible"]
    assert 0.5 < visible.mean() < 0.85
    assert not visible[depth == 0].any()
    assert (behind[visible[depth > 0]] < 31).all()
    assert (crops["mask"] <= (crops["depth"] > 0)).all()
    root_m = crops["xyz"][:, hand.ROOT, 2][:, None, None]
    assert (np.abs(crops["depth"] * hand.DEPTH_UNIT_M - root_m)[crops["mask"]] < 0.3).all()


def test_pictures_differ(crops):
    light = crops["rgb"].mean((1, 2, 3)) / 255
    assert light.min() < 0.25
    assert light.max() > 0.65
    background = np.where(crops["depth"][..., None] == 0, crops["rgb"].astype(float), np.nan)
    spread = np.nanstd(background.mean(-1), axis=(1, 2))
    assert (spread > 8).mean() > 0.8  # a few plain walls
    assert np.median(spread) > 25
    something_else = (crops["depth"] > 0) & ~crops["mask"]
    assert (something_else.mean((1, 2)) > 0.05).mean() > 0.2


def test_tones_clothes_and_things(drawn):
    tone = drawn.look.tone.mean(1)
    assert np.quantile(tone, 0.05) < 0.06
    assert np.quantile(tone, 0.95) > 0.55
    expected = {
        "sleeve": (drawn.wear.sleeve, 0.55),
        "glove": (drawn.wear.glove, 0.05),
        "a ring": (drawn.wear.ring.any(1), 0.27),
        "second hand": (drawn.has_second, photo.SECOND_HAND_SHARE),
        "held": (drawn.things.present[:, 0], 0.3),
        "beside": (drawn.things.present[:, 1], 0.3),
        "shadow": (drawn.surroundings.shadow[:, 0] > 0, 0.35),
        "JPEG": (drawn.effects.quality > 0, 0.45),
        "left": (drawn.placement.is_left, 0.5),
    }
    for name, (share, about) in expected.items():
        assert share.mean() == pytest.approx(about, abs=0.05), name
    assert len(np.unique(drawn.surroundings.which)) == photo_background.NUM_SCENES


def test_hands_are_seen_from_all_sides(drawn):
    unit = drawn.placement.linear / drawn.placement.scale[:, None, None]
    facing, fingers = unit[:, 2, 2], unit[:, :, 1]
    palm, back, side = (facing < -0.5).mean(), (facing > 0.5).mean(), (np.abs(facing) < 0.5).mean()
    assert min(palm, back, side) > 0.2
    assert (fingers[:, 2] < -0.6).mean() > 0.05  # fingertips towards the camera
    assert (fingers[:, 2] > 0.6).mean() > 0.05  # and away from it
    circle = np.histogram(np.arctan2(fingers[:, 1], fingers[:, 0]), 8, (-np.pi, np.pi))[0] / len(fingers)
    assert circle.min() > 0.03
    assert circle.max() < 0.4  # up is the rule


def test_views_are_rotations():
    turns = viewpoints.everyday_rotations(Draws(1, range(50), "test"), 3)
    np.testing.assert_allclose(turns @ np.swapaxes(turns, -1, -2), np.broadcast_to(np.eye(3), turns.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1, atol=1e-12)


def test_postures_keep_to_the_limits():
    angles = postures.sample_angles(Draws(1, range(500), "test"), 3)
    degrees = np.degrees(angles.flexion[..., 1:, :])
    for joint, (low, high) in enumerate([(-18, 90), (0, 108), (-3, 75)]):
        assert degrees[..., joint].min() >= low - 1e-9
        assert degrees[..., joint].max() <= high + 1e-9
    straight, curled = (degrees[..., :2].sum(-1) < 25), (degrees[..., :2].sum(-1) > 140)
    pointing = straight[..., 0] & curled[..., 1:].all(-1)
    assert min(straight.all(-1).mean(), curled.all(-1).mean(), pointing.mean()) > 0.03


def _things(count: int, **changes) -> objects.Things:
    """One round can a sample, 30 cm away."""
    values = {
        "present": np.ones((count, 1), bool),
        "profile": np.zeros((count, 1), int),
        "square": np.ones((count, 1)),
        "axes": np.broadcast_to(np.eye(3), (count, 1, 3, 3)),
        "centre": np.broadcast_to([0.0, 0.0, 0.3], (count, 1, 3)),
        "half": np.broadcast_to([0.02, 0.02, 0.05], (count, 1, 3)),
        "colour": np.full((count, 1, 3, 3), 0.4),
        "band": np.zeros((count, 1, 2)),
        "print_waves": np.zeros((count, 1, 2)),
        "shine": np.zeros((count, 1)),
    }
    return objects.Things(**(values | changes))


@pytest.mark.parametrize("profile", range(5))
def test_things_are_closed_and_point_outward(profile):
    faces = objects.mesh_faces(1)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    directed = {tuple(edge) for edge in edges.tolist()}
    assert len(directed) == len(edges)
    assert all((b, a) in directed for a, b in directed)
    points = objects.mesh_points(_things(1, profile=np.array([[profile]])))[0][0].astype(np.float64) - [0, 0, 0.3]
    a, b, c = (points[faces[:, corner]] for corner in range(3))
    volume = (a * np.cross(b, c)).sum() / 6
    assert 2e-5 < volume < 0.02 * 0.02 * 0.1 * np.pi


def test_things_that_are_absent_are_not_drawn():
    for present, some in ((True, 1000), (False, 0)):
        points, _ = objects.mesh_points(_things(1, present=np.array([[present]])))
        K = np.array([[[400, 0, 64], [0, 400, 64], [0, 0, 1]]], np.float32)
        hits = rasterise(hand.project(points, K), points[..., 2], objects.mesh_faces(1), np.ones(1), (128, 128))
        assert len(hits.pixel) >= some
        assert (len(hits.pixel) > 0) == present


def test_what_is_held_fits_between_the_fingers(drawn):
    """No joint lies inside a round thing that the hand holds."""
    joints, held = drawn.placement.to_camera(drawn.labels)[:, 1:], drawn.things
    axis, half = held.axes[:, 0, 2], held.half[:, 0]
    offset = joints - held.centre[:, :1]
    along = (offset * axis[:, None]).sum(-1)
    off = np.sqrt(np.maximum((offset**2).sum(-1) - along**2, 0))
    inside = ((np.abs(along) < half[:, 2:]) & (off < half[:, :1])).any(1)
    of_round = held.present[:, 0] & (half[:, 0] == half[:, 1])
    assert of_round.sum() > 100
    assert inside[of_round].mean() < 0.05


def test_the_nearest_is_seen():
    picture = canvas.on(np.zeros((2, 2, 2, 3), np.uint8))

    def hit(pixel: int, depth_m: float) -> Hits:
        zero = np.zeros(1, int)
        return Hits(np.array([pixel]), np.array([pixel // 4]), zero, np.full((3, 1), 1 / 3), np.array([depth_m]))

    for depth_m, colour in ((0.5, 50), (0.3, 30), (0.4, 40)):
        picture.put(hit(3, depth_m), np.full((1, 3), colour, np.uint8), np.array([colour == 50]))
    assert (picture.rgb[0, 1, 1] == 30).all()
    assert picture.depth[0, 1, 1] == 3000
    assert not picture.mask.any()  # the hand lies behind
    picture.put(hit(1, 0.7), np.full((1, 3), 70, np.uint8), np.array([True]), rows=np.array([1]))
    assert picture.depth[1, 0, 1] == 7000
    assert picture.depth.astype(bool).sum() == 2


def test_crevices_are_darker():
    picture = canvas.on(np.full((1, 64, 64, 3), 200, np.uint8))
    picture.depth[:] = 5000
    picture.depth[0, :, 31:33] = 5150  # a slit, 15 mm deep
    picture.darken_crevices(np.array([0.5]))
    assert (picture.rgb[0, :, 31:33] < 170).all()
    assert (picture.rgb[0, :, :20] == 200).all()


def test_beyond_the_picture_there_is_nothing(drawn):
    some = np.flatnonzero((drawn.effects.edge > 0.1).any(1))[:4]
    batch = generate.render(SEED, some, generate.Settings(view.CropFrame(128, 128), "everyday", "photo"))
    effects = photo.sample_scene(SEED, some, "everyday", view.CropFrame(128, 128)).effects
    outside = camera_effects.outside(effects, (128, 128))
    assert outside.any((1, 2)).all()
    for name in ("rgb", "depth", "mask"):
        assert not batch[name][outside].any(), name
    column, row = np.rint(batch["uv"]).astype(int).transpose(2, 0, 1)
    assert not (batch["visible"] & outside[np.arange(len(some))[:, None], row, column]).any()


def test_scenes_are_reproducible_and_structured():
    numbers = range(20)  # every painter once
    scenes = np.stack([photo_scenes.scene(number) for number in numbers])
    np.testing.assert_array_equal(scenes[7], photo_scenes.scene(7))
    assert scenes.shape == (20, photo_scenes.SIDE, photo_scenes.SIDE, 3)
    assert (scenes.std((1, 2, 3)) > 8).all()


def test_the_configuration():
    config = next(config for config in Builder.BUILDER_CONFIGS if config.name == "photo")
    assert (config.train, config.test, config.style, config.views) == (102_000, 2_000, "photo", "everyday")
    with pytest.raises(ValueError, match="style = 'film' is unknown; choose one of plain, photo"):
        RenderedHandsConfig(name="bad", style="film")


def test_large_splits_are_written_shard_by_shard(tmp_path, monkeypatch):
    """TFDS would shuffle more than 1 GB with TensorFlow, which is not there."""
    monkeypatch.setattr(rendered_hands_dataset_builder, "SHUFFLED_BYTES", 0)
    monkeypatch.setattr(rendered_hands_dataset_builder, "BATCHES_A_SHARD", 1)
    config = RenderedHandsConfig(
        name="tiny", train=70, test=8, seed=SEED, size=16, draw_size=32, views="everyday", style="photo"
    )
    builder = Builder(data_dir=tmp_path, config=config, file_format="array_record")
    builder.download_and_prepare()
    assert builder.info.splits["train"].shard_lengths == [32, 32, 6]
    for split, count in (("train", 70), ("test", 8)):
        source = tfds.builder_from_directory(builder.data_dir).as_data_source(split)
        examples = source.__getitems__(list(range(count)))
        assert [example["key"].decode() for example in examples] == [
            f"rendered_hands/{split}/{index:06d}" for index in range(count)
        ]
        seed = rendered_hands_dataset_builder.split_seed(SEED, split)
        drawn = generate.render(seed, [0, count - 1], config.settings)
        for name in ("rgb", "depth", "xyz", "uv", "visible", "K", "is_left"):
            np.testing.assert_array_equal([examples[0][name], examples[-1][name]], drawn[name], err_msg=name)


def test_boxes_around_the_mask_and_whole_pictures_are_drawn_too():
    for frame in (view.CropFrame(box="mask"), view.FullFrame(160, 120, 152.0, 151.0, 79.0, 59.0)):
        batch = generate.render(SEED, range(3), generate.Settings(frame, "everyday", "photo"))
        np.testing.assert_allclose(batch["uv"], hand.project(batch["xyz"], batch["K"]), atol=5e-3)
