"""Pictures of all kinds come out as 8-bit RGB, upright; what is none ends with a sentence."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pmd_jax.predict import images
from pmd_jax.predict.images import PictureError, as_picture, read_picture

TURNED = (0x0112, 3, 1, b"\6\0\0\0")  # the tag that says that the stored picture lies on its side
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


def test_a_tiff_is_turned_once(write):
    path = write(Image.fromarray(RGB), "turned.tif", tiffinfo={0x0112: 6})
    np.testing.assert_array_equal(read_picture(path), RGB.swapaxes(0, 1)[:, ::-1])


# ---- metadata never costs a picture


def chunk(name: bytes, data: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) ^ wrong)


def saved(form: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, form, **options)
    return file.getvalue()


def png_with(*chunks: bytes) -> bytes:
    whole = saved("PNG")
    return whole[:33] + b"".join(chunks) + whole[33:]


def exif_of(*others: tuple[int, int, int, bytes], orientation: tuple[int, int, int, bytes] = TURNED) -> bytes:
    """A directory of entries: tag, type, count and the four bytes of the value or where it lies."""
    entries = [struct.pack("<HHI", *entry[:3]) + entry[3] for entry in (*others, orientation)]
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4)


NOTE = zlib.compress(b"a" * 3_000_000)


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"note\0\0" + NOTE),
        chunk(b"iTXt", b"note\0\1\0\0\0" + NOTE),
        chunk(b"iCCP", b"profile\0\0" + NOTE),
        chunk(b"iCCP", b"profile\0\5abc"),
        chunk(b"tEXt", b"note\0abc", wrong=1),
        chunk(b"cHRM", b"ab"),
        chunk(b"pHYs", b"ab"),
        chunk(b"gAMA", b""),
        chunk(b"acTL", b""),
    ],
    ids=lambda extra: f"{extra[4:8].decode()}-{len(extra)}",
)
def test_a_png_with_odd_chunks(extra):
    whole = saved("PNG")
    at_end = whole.index(b"IEND") - 4
    for content in (png_with(extra), whole[:at_end] + extra + whole[at_end:]):
        np.testing.assert_array_equal(read_picture(io.BytesIO(content)), RGB)


def test_a_png_with_odd_chunks_keeps_its_transparency_and_its_orientation():
    image = Image.fromarray(RGB).convert("P")
    file, transparent = io.BytesIO(), int(np.asarray(image)[0, 0])
    image.save(file, "PNG", transparency=transparent)
    whole = file.getvalue()
    bad = chunk(b"tEXt", b"note\0abc", wrong=1)
    picture = read_picture(io.BytesIO(whole[:33] + bad + chunk(b"eXIf", exif_of()) + whole[33:]))
    np.testing.assert_array_equal(picture, read_picture(io.BytesIO(whole)).swapaxes(0, 1)[:, ::-1])
    assert not picture[0, -1].any()


@pytest.mark.parametrize("segment", [b"\xff\xe0\0\x07JFIF\0", b"\xff\xe2\0\x0eICC_PROFILE\0", b"\xff\xee\0\x08Adobe\0"])
def test_a_jpeg_with_odd_segments(segment):
    whole = saved("JPEG", exif=b"Exif\0\0" + exif_of())
    picture = read_picture(io.BytesIO(whole[:2] + segment + whole[2:]))
    np.testing.assert_array_equal(picture, read_picture(io.BytesIO(whole)))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [
        exif_of((0x011A, 2, 4, b"abc\0")),
        exif_of((0x011A, 5, 1, struct.pack("<I", 99_999))),
        exif_of((0x0100, 9, 1, struct.pack("<i", -5))),
        exif_of((0x010F, 99, 5, bytes(4))),
        exif_of(orientation=(0x0112, 4, 1, struct.pack("<I", 6))),
        exif_of(orientation=(0x0112, 2, 2, b"6\0\0\0")),
        exif_of()[:22],
    ],
    ids=["text", "outside", "negative", "unknown", "long", "digit", "cut"],
)
def test_odd_tags_beside_the_orientation(form, exif):
    content = saved(form, exif=(b"Exif\0\0" if form == "JPEG" else b"") + exif)
    assert read_picture(io.BytesIO(content)).shape == (9, 6, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"\0\1garbage", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
def test_exif_that_is_none(form, exif):
    content = saved(form, exif=(b"Exif\0\0" if form == "JPEG" else b"") + exif)
    assert read_picture(io.BytesIO(content)).shape == RGB.shape


def test_orientation_by_xmp():
    xmp = b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation='6'/>"
    for extra in ((), (chunk(b"tEXt", b"note\0abc", wrong=1),)):
        assert read_picture(io.BytesIO(png_with(*extra, chunk(b"iTXt", xmp)))).shape == (9, 6, 3)


# ---- formats


def test_folders_are_searched_for_all_that_is_read():
    Image.init()
    for form in images.FORMATS:
        known = {suffix for suffix, name in Image.registered_extensions().items() if name == form}
        assert known - {".avifs", ".pfm"} <= set(images.SUFFIXES)  # sequences, and floating point


@pytest.mark.parametrize("name", ["a.avif", "a.jp2", "a.ppm", "a.jfif", "a.dib"])
def test_more_formats(write, name):
    if name == "a.avif" and "AVIF" not in images.FORMATS:
        pytest.skip("this Pillow has no AVIF")
    flat = np.full((48, 64, 3), (200, 120, 40), np.uint8)
    assert abs(read_picture(write(Image.fromarray(flat), name)).astype(int) - flat).max() < 8


# ---- what is no picture


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


@pytest.mark.parametrize("brands", [b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1heix", b"msf1\0\0\0\0hevc"])
def test_a_heic_picture_says_what_to_do(tmp_path, brands):
    """Whatever its name: phones and mail programs rename them."""
    box = struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands
    (tmp_path / "hand.jpg").write_bytes(box + b"\0\0\0\x64meta" + bytes(96))
    with pytest.raises(PictureError, match=r"hand\.jpg: HEIC .* cannot be read here: save it as JPEG"):
        read_picture(tmp_path / "hand.jpg")


def test_a_broken_avif_is_not_called_heic(tmp_path):
    (tmp_path / "a.avif").write_bytes(b"\0\0\0 ftypavif\0\0\0\0avifmif1miafMA1B" + bytes(64))
    with pytest.raises(PictureError, match="not a whole picture"):
        read_picture(tmp_path / "a.avif")


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
    monkeypatch.setattr(images, "MAX_PIXELS", 50)
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
