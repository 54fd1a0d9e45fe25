"""The palm detector: anchors and suppression by hand, the shipped model on drawn hands, and what is refused."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from PIL import Image

import pmd_jax
from benchmarks.full_images import draw
from pmd_jax.data.cropping import CropBox, overlap
from pmd_jax.predict import cli, detector
from pmd_jax.predict.detector import MODEL, PalmDetector, Palms, anchors, decode, hand_of, letterbox, suppress
from pmd_jax.runtime.errors import InputError


@pytest.fixture(scope="module")
def hands():
    """Whole pictures of 480 × 640."""
    return draw(8)


@pytest.fixture(scope="module")
def find() -> PalmDetector:
    return PalmDetector()


# ---- what the model says, decoded by us


def test_anchors_lie_in_the_middle_of_their_cells():
    assert anchors().shape == (2016, 2)
    np.testing.assert_allclose(anchors()[[0, 1, 2]], [[0.5 / 24] * 2, [0.5 / 24] * 2, [1.5 / 24, 0.5 / 24]])
    np.testing.assert_allclose(anchors()[[1152, 1158]], [[0.5 / 12] * 2, [1.5 / 12, 0.5 / 12]])


def test_an_anchors_values_are_pixels_from_its_middle():
    values, logits = np.zeros((2016, 18)), np.full(2016, -9.0)
    values[1, :4] = [2, -1, 30, 40]
    values[1, 4:] = np.arange(14)
    logits[1] = 2.0
    palms = decode(values, logits, 0.5)
    assert palms.score == pytest.approx([1 / (1 + np.exp(-2))])
    np.testing.assert_allclose(palms.centre, [[6, 3]])  # the anchor's middle lies at 4, 4
    assert palms.side == [40]
    np.testing.assert_allclose(palms.points[0, 2], [4 + 4, 5 + 4])


def test_of_two_that_overlap_the_surer_stays():
    centre = np.array([[50.0, 50], [52, 50], [120, 50], [74, 50]])
    palms = Palms(centre, np.full(4, 30.0), np.zeros((4, 7, 2)), np.array([0.6, 0.9, 0.7, 0.8]))
    assert suppress(palms, 0.3) == [1, 3, 2]


def test_a_box_reaches_towards_the_fingers_whichever_way_they_point():
    points = np.zeros((1, 7, 2))
    points[0, 2] = [0, -20]  # the middle finger's first joint above the wrist
    up = Palms(np.array([[96.0, 96]]), np.array([40.0]), points, np.array([0.9]))
    box, score = hand_of(up, 0, 0.5, np.array([0.0, 24.0]))
    assert (box.side, score) == (2.4 * 40 / 0.5, 0.9)
    middle = np.array(box[:2]) + box.side / 2
    np.testing.assert_allclose(middle, [96 / 0.5, (96 - 0.4 * 40 - 24) / 0.5])


@pytest.mark.parametrize("shape", [(480, 640), (640, 480), (3, 200)])
def test_letterbox(shape):
    picture = np.full((*shape, 3), 200, np.uint8)
    canvas, scale, (left, top) = letterbox(picture, 1.25)
    rows, columns = np.flatnonzero(canvas.any((1, 2))), np.flatnonzero(canvas.any((0, 2)))
    assert (rows[0], columns[0]) == (top, left)
    assert abs(len(rows) - shape[0] * scale) <= 1
    assert abs(len(columns) - shape[1] * scale) <= 1
    assert max(len(rows), len(columns)) == round(192 / 1.25)


# ---- the model


def test_drawn_hands_are_found_where_they_are(find, hands):
    overlaps = [max((overlap(found.box, box) for found in find(rgb)), default=0.0) for rgb, box in _pairs(hands)]
    assert np.mean(np.array(overlaps) >= 0.5) >= 0.75
    assert all(0.5 <= found.score <= 1 for rgb, _ in _pairs(hands) for found in find(rgb))


def _pairs(hands):
    return list(zip(hands.rgb, hands.boxes, strict=True))


def window(rgb: np.ndarray, box: CropBox) -> np.ndarray:
    """The hand and as much around it, 240 pixels a side."""
    x0, y0, side = box.x0 - box.side / 4, box.y0 - box.side / 4, 1.5 * box.side
    extent = (x0, y0, x0 + side, y0 + side)
    return np.asarray(Image.fromarray(rgb).transform((240, 240), Image.Transform.EXTENT, extent))


def test_several_hands(find, hands):
    """As each is found alone; the surest comes first."""
    windows = [window(rgb, box) for rgb, box in _pairs(hands)]
    alone = [each for each in windows if len(find(each)) == 1]
    both = find(np.concatenate(alone[:2], axis=1))
    assert len(both) == 2
    assert both[0].score >= both[1].score
    left, right = sorted(found.box.x0 + found.box.side / 2 for found in both)
    assert left < 240 < right
    four = find(np.concatenate([np.concatenate(alone[:2], axis=1)] * 2))
    assert 2 <= len(four) <= 4
    ten = find(np.concatenate([np.concatenate(alone[:2] * 2 + alone[:1], axis=1)] * 2))  # 30 pixels each, for it
    assert len(ten) <= 10


@pytest.mark.parametrize("picture", ["black", "grey", "noise"])
def test_a_picture_without_a_hand(find, picture):
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    assert find({"black": noise * 0, "grey": noise * 0 + 128, "noise": noise}[picture]) == []


def test_a_hand_that_the_edge_cuts_a_dark_and_a_grey_one(find, hands):
    found = [(rgb, box) for rgb, box in _pairs(hands) if any(overlap(f.box, box) > 0.5 for f in find(rgb))]
    rgb, box = found[0]
    left = int(box.x0 + 0.3 * box.side)
    for changed in (rgb[:, left:], rgb // 8, np.repeat(rgb.mean(-1, keepdims=True).astype(np.uint8), 3, -1)):
        for one in find(changed):  # it may be missed, but what is found is a hand's box
            assert np.isfinite(one.box).all()
            assert one.box.side > 0


def test_twelve_megapixels_take_as_long_as_fewer(find, hands):
    large = np.asarray(Image.fromarray(hands.rgb[0]).resize((4000, 3000)))
    began = time.perf_counter()
    find(large)
    assert time.perf_counter() - began < 3


# ---- as a user meets it


def test_detect_gives_boxes_of_the_networks_own_margin(tiny_export, hands):
    network = pmd_jax.load(tiny_export)
    found = [network.detect(rgb) for rgb in hands.rgb]
    rgb, [first, *_] = next((rgb, boxes) for rgb, boxes in zip(hands.rgb, found, strict=True) if boxes)
    assert network.from_image(rgb, first.box).joints.shape == (21, 3)
    network.crop_margin *= 2
    assert network.detect(rgb)[0].box.side == pytest.approx(2 * first.box.side)


def test_the_command_finds_hands_and_says_where_there_are_none(tiny_export, hands, tmp_path, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(np.concatenate([hands.rgb[0], hands.rgb[7]], axis=1)).save(folder / "two.png")
    Image.new("RGB", (320, 240)).save(folder / "none.png")
    out = tmp_path / "out"
    assert cli.main([str(folder), f"--out={out}", f"--checkpoint={tiny_export}", "--overlay"]) == 0
    lines = [json.loads(line) for line in (out / "joints.jsonl").read_text().splitlines()]
    assert lines
    assert {line["box_from"] for line in lines} == {"detected"}
    assert all(line["file"].endswith("two.png") and 0.5 <= line["score"] <= 1 for line in lines)
    assert [path.name for path in (out / "overlays").iterdir()] == ["two.png"]  # all hands in one
    assert "No hand was found in 1 pictures" in capsys.readouterr().err


@pytest.mark.parametrize(("content", "words"), [(None, "cannot be read"), (b"TFL3" * 9, "damaged or another model")])
def test_a_model_that_is_missing_or_damaged(tmp_path, content, words):
    if content is not None:
        (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(InputError, match=words):
        PalmDetector(tmp_path / "model.tflite")


def test_without_the_extra_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(detector, "is_installed", lambda: False)
    with pytest.raises(InputError, match=r"extra 'detect' is not installed; .*\[detect\]"):
        PalmDetector(MODEL)
