"""Figures: ink where it belongs, names in the legends, the same bytes for the same figure."""

import io

import numpy as np
import pytest
from matplotlib import colors
from PIL import Image

from pmd_jax.data.hand import FINGERS, NUM_JOINTS, project
from pmd_jax.viz import charts, panels, skeleton

STEPS = np.arange(0, 1000, 10.0)


def spread_joints(size=64):
    """Joints on a grid, far enough apart to be told from each other."""
    return np.array([(6 + 12 * (j % 5), 6 + 12 * (j // 5)) for j in range(NUM_JOINTS)], float) * size / 64


def fake_crops(n, size=64):
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (n, size, size, 3), np.uint8)
    depth = np.where(rng.random((n, size, size)) < 0.5, rng.integers(3000, 9000, (n, size, size)), 0).astype(np.uint16)
    return rgb, depth, np.tile(spread_joints(size), (n, 1, 1))


def legend_texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


# ---- pictures


def test_fingers_have_colours_of_their_own():
    assert tuple(skeleton.FINGER_COLOURS) == FINGERS
    assert len(set(skeleton.FINGER_COLOURS.values())) == 5
    assert len(skeleton.JOINT_COLOURS) == NUM_JOINTS


@pytest.mark.parametrize(("size", "zoom"), [(64, 4), (64, 2), (128, 3)])
def test_skeleton_has_each_joint_in_its_colour_at_its_place(size, zoom):
    uv = spread_joints(size)
    image = skeleton.draw_skeleton(np.zeros((size, size, 3), np.uint8), uv, zoom)
    assert image.size == (size * zoom, size * zoom)
    for (u, v), colour in zip(uv, skeleton.JOINT_COLOURS, strict=True):
        pixel = np.array(image.getpixel((int((u + 0.5) * zoom), int((v + 0.5) * zoom)))) / 255
        np.testing.assert_allclose(pixel, colors.to_rgb(colour), atol=0.2)


def test_skeleton_leaves_the_rest_of_the_picture_alone():
    rgb = fake_crops(1)[0][0]
    image = np.asarray(skeleton.draw_skeleton(rgb, np.full((NUM_JOINTS, 2), 10.0), zoom=2))
    np.testing.assert_array_equal(image[40:], rgb.repeat(2, 0).repeat(2, 1)[40:])


def test_hidden_joints_are_hollow():
    uv = spread_joints()
    visible = np.arange(NUM_JOINTS) != 8
    image = skeleton.draw_skeleton(np.zeros((64, 64, 3), np.uint8), uv, 4, visible)
    assert max(image.getpixel(tuple(((uv[8] + 0.5) * 4).astype(int)))) < 60
    assert max(image.getpixel(tuple(((uv[9] + 0.5) * 4).astype(int)))) > 100


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_joints_far_away_or_unknown_do_no_harm(value):
    uv = spread_joints()
    uv[8] = value
    image = skeleton.draw_skeleton(np.zeros((64, 64, 3), np.uint8), uv)
    assert np.asarray(image).any()


def test_false_colour_marks_what_is_missing_and_orders_what_is_not():
    depth = np.zeros((64, 64), np.uint16)
    depth[:, 32:] = np.linspace(3000, 5000, 64)[:, None]
    colour = skeleton.false_colour(depth)
    assert (colour[:, :32] == skeleton.MISSING_COLOUR).all()
    assert not (colour[:, 32:] == skeleton.MISSING_COLOUR).all(-1).any()
    brightness = colour[:, 40].astype(int).sum(-1)
    assert brightness[0] > brightness[32] > brightness[-1]


@pytest.mark.parametrize("value", [0, 4000])
def test_false_colour_of_a_flat_map_is_one_colour(value):
    assert len(np.unique(skeleton.false_colour(np.full((8, 8), value, np.uint16)).reshape(-1, 3), axis=0)) == 1


@pytest.mark.parametrize(("n", "columns", "cells"), [(32, 8, (8, 4)), (9, 8, (8, 2)), (3, 8, (3, 1))])
def test_contact_sheet_is_as_large_as_its_cells(n, columns, cells):
    assert skeleton.contact_sheet(*fake_crops(n), columns).size == (4 + cells[0] * (256 + 4), 4 + cells[1] * (128 + 4))


def test_contact_sheet_puts_depth_beside_its_picture():
    rgb, depth, uv = fake_crops(9)
    sheet = np.asarray(skeleton.contact_sheet(rgb, depth, uv, columns=8))
    last = sheet[136 : 136 + 128, 4 : 4 + 256]
    np.testing.assert_array_equal(last[:, :128], np.asarray(skeleton.draw_skeleton(rgb[8], uv[8], 2)))
    np.testing.assert_array_equal(last[::2, 128::2], skeleton.false_colour(depth[8]))


def test_contact_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one crop"):
        skeleton.contact_sheet(*fake_crops(0))


# ---- curves and bars


def test_pck_curves_are_figure_6():
    thresholds = np.arange(51.0)
    curves = {"PMD-Net": (thresholds, thresholds / 50), "RGB": (thresholds, thresholds / 100)}
    figure = charts.pck_curves(curves, {"PMD-Net": 0.71234})
    axes = figure.axes[0]
    assert legend_texts(figure) == ["PMD-Net (AUC 0.712)", "RGB"]
    assert axes.get_xlim() == (20, 50)
    np.testing.assert_allclose(axes.get_ylim(), (0.2, 1))
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), thresholds / 100)
    assert axes.lines[0].get_linestyle() != axes.lines[1].get_linestyle()


def test_a_method_without_points_keeps_its_colour():
    curves = {"Depth teacher": (np.zeros(0), np.zeros(0)), "PMD-Net": (STEPS, 1 + STEPS)}
    for figure in (charts.loss_curves(curves), charts.epe_curves(curves)):
        assert legend_texts(figure) == ["PMD-Net"]
        assert figure.axes[0].lines[0].get_color() == charts.METHOD_COLOURS[1]


def test_loss_curves_show_the_running_mean():
    noisy = 100 + 10.0 * (-1) ** np.arange(len(STEPS))
    smooth = charts.loss_curves({"a": (STEPS, noisy)}).axes[0].lines[0].get_ydata()
    assert np.abs(smooth - 100).max() < 1


@pytest.mark.parametrize("n", [0, 1, 4, 5, 30])
@pytest.mark.parametrize("window", [1, 4, 5])
def test_running_mean_keeps_length_and_constants(n, window):
    np.testing.assert_allclose(charts.running_mean(np.full(n, 3.0), window), np.full(n, 3.0))


def test_running_mean_by_hand():
    np.testing.assert_allclose(charts.running_mean(np.array([0.0, 3, 6, 3]), 3), [1.5, 3, 4, 4.5])


def test_bars_are_as_long_as_the_errors():
    errors = {"a": np.arange(21.0), "b": np.full(21, 5.0)}
    figure = charts.per_joint_bars(errors)
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [*np.arange(21.0), *np.full(21, 5.0)]
    assert [text.get_text() for text in axes.get_yticklabels()][:2] == ["wrist", "thumb cmc"]
    assert legend_texts(figure) == ["a", "b"]


def test_axes_are_named():
    figure = charts.per_axis_bars({"a": np.array([1.0, 2, 3])})
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == list(charts.AXES)


def test_names_are_never_read_as_markup():
    name = r"_hidden $\frac{"
    figure = charts.epe_curves({name: (STEPS, STEPS)})
    assert legend_texts(figure) == [name]
    assert charts.svg_bytes(figure)  # drawing parses the text


# ---- poses and augmentation


def test_pose_grid_has_a_row_for_each_method_and_writes_its_error():
    rgb, depth, _ = fake_crops(2)
    rng = np.random.default_rng(1)
    true_m = rng.normal((0, 0, 0.6), 0.05, (2, NUM_JOINTS, 3))
    K = np.tile(np.array([[100.0, 0, 32], [0, 100, 32], [0, 0, 1]]), (2, 1, 1))
    moved = true_m + np.array([0.003, 0, 0.004])
    figure = panels.pose_grid(rgb, depth, K, true_m, {"RGB": true_m + np.array([0.1, 0, 0]), "PMD-Net": moved})
    grid = np.array(figure.axes).reshape(4, 6)
    assert [axes.get_ylabel() for axes in grid[:, 0]] == ["RGB and depth", "RGB", "PMD-Net", "Ground truth"]
    assert [axes.get_xlabel() for axes in grid[:, 0]] == ["", "100.0 mm", "5.0 mm", ""]
    overlay = skeleton.draw_skeleton(rgb[1], project(moved[1], K[1]))
    np.testing.assert_array_equal(grid[2, 3].images[0].get_array(), np.asarray(overlay))
    true_bones, predicted_bones = grid[3, 1].collections[:2]
    assert sorted(map(repr, true_bones.get_segments())) == sorted(map(repr, predicted_bones.get_segments()))


def test_viewpoints_are_rotations():
    for rotation in panels.VIEWPOINTS.values():
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)


def test_from_above_puts_what_is_far_further_up():
    assert (panels.VIEWPOINTS["from above"] @ (0, 0, 1))[1] < -0.9  # the picture's y points down


def test_occlusion_examples_frame_the_block_and_its_source():
    rgb, _, _ = fake_crops(2)
    figure = panels.occlusion_examples(rgb, rgb, np.array([[10, 20, 5], [0, 0, 0]]))
    grid = np.array(figure.axes).reshape(2, 2)
    corners = {patch.get_xy() for patch in grid[0, 0].patches}
    assert corners == {(19.5, 9.5), (24.5, 9.5)}
    assert {patch.get_width() for patch in grid[0, 0].patches} == {5}
    assert not grid[0, 1].patches  # size 0: left alone


# ---- bytes


def test_same_figure_gives_the_same_bytes():
    first, second = (charts.epe_curves({"a": (STEPS, STEPS)}) for _ in range(2))
    assert charts.svg_bytes(first) == charts.svg_bytes(second)
    assert charts.png_bytes(first) == charts.png_bytes(second)


def test_png_bytes_of_an_image_are_the_image():
    rgb = fake_crops(1)[0][0]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(charts.png_bytes(Image.fromarray(rgb))))), rgb)
