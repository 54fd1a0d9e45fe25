"""Pictures of all kinds come out as 8-bit RGB, upright; what is none ends with a sentence."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pmd_jax import pictures
from pmd_jax.pictures import PictureError, as_picture, read_picture

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


@pytest.fixture
def write(tmp_path):
    def _write(image: Image.Image, name: str = "picture.png", **options):
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return _write


def test_rgb_as_it_is(write):
    np.testing.assert_array_equal(read_picture(write(Image.fromarray(RGB))), RGB)
    np.testing.assert_array_equal(as_picture(Image.fromarray(RGB)), RGB)
    assert as_picture(RGB) is RGB


def test_grey_becomes_colour(write):
    picture = read_picture(write(Image.fromarray(RGB[..., 0])))
    np.testing.assert_array_equal(picture, np.stack([RGB[..., 0]] * 3, -1))


def test_sixteen_bits_become_eight(write):
    deep = np.arange(54, dtype=np.uint16).reshape(6, 9) * 1200
    picture = read_picture(write(Image.fromarray(deep)))
    np.testing.assert_array_equal(picture[..., 1], np.rint(deep / 257))


def test_what_is_transparent_is_black(write):
    alpha = np.full((6, 9), 255, np.uint8)
    alpha[:, :4] = 0
    picture = read_picture(write(Image.fromarray(np.dstack([RGB, alpha]))))
    assert not picture[:, :4].any()
    np.testing.assert_array_equal(picture[:, 4:], RGB[:, 4:])


def test_palette_with_transparency(write):
    image = Image.fromarray(RGB).convert("P")
    image.info["transparency"] = int(np.asarray(image)[0, 0])
    assert not read_picture(write(image))[0, 0].any()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_it_upright(write, orientation):
    """The stored picture is the upright one turned; each orientation's turn undone gives it back."""
    undone = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[:, ::-1],
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a.swapaxes(0, 1)[::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read_picture(write(Image.fromarray(RGB), exif=exif)), undone(RGB))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"hello", r"bad\.jpg: not a whole picture \(cannot identify image file\); give a JPEG or PNG"),
        (b"", r"bad\.jpg: not a whole picture"),
        (None, r"bad\.jpg: there is no such file"),
    ],
    ids=["text", "empty", "missing"],
)
def test_a_file_that_is_no_picture(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(PictureError, match=sentence):
        read_picture(tmp_path / "bad.jpg")


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png", "cut.webp", "cut.tif", "cut.gif"])
def test_a_file_cut_short(write, name):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    path = write(Image.fromarray(noise), name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PictureError, match="not a whole picture"):
        read_picture(path)


def test_a_very_large_picture_is_refused_before_it_is_decoded(write, monkeypatch):
    path = write(Image.new("L", (30_000, 3_000)))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(PictureError, match=r"far more than the 80,000,000 pixels|30000 × 3000 pixels, more than"):
        read_picture(path)
    monkeypatch.setattr(pictures, "MAX_PIXELS", 50)
    with pytest.raises(PictureError, match="9 × 6 pixels, more than 50; make it smaller"):
        as_picture(Image.fromarray(RGB))


def test_floating_point_pictures_are_refused(write):
    with pytest.raises(PictureError, match="floating point"):
        read_picture(write(Image.fromarray(np.zeros((3, 3), np.float32)), "picture.tif"))


@pytest.mark.parametrize(
    ("array", "error", "sentence"),
    [
        (RGB / 255, TypeError, "float64; give uint8"),
        (RGB[..., 0], ValueError, r"shape \(6, 9\); give \(H, W, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, r"shape \(0, 4, 3\)"),
        (None, TypeError, "object"),
    ],
    ids=["floats", "grey", "empty", "nothing"],
)
def test_arrays_that_are_no_pictures(array, error, sentence):
    with pytest.raises(error, match=sentence):
        as_picture(array)
