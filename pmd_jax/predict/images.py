"""A picture of any kind as 8-bit RGB. Files come from anyone, so nothing in them is trusted."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError, features

from pmd_jax.predict.image_metadata import orientation, without_metadata
from pmd_jax.runtime.errors import InputError

_SUFFIXES_OF = {  # no other formats: some of Pillow's start other programs, or take any file for theirs
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
}
FORMATS = tuple(name for name in _SUFFIXES_OF if name != "AVIF" or features.check_module("avif"))
SUFFIXES = tuple(suffix for name in FORMATS for suffix in _SUFFIXES_OF[name])  # what is looked for in folders
# HEIC is coded as a film's frame (HEVC); Pillow has no decoder for it. What its files are called, and how they begin.
HEIC_SUFFIXES = (".heic", ".heif", ".hif")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
HEIC_REMEDY = (
    "HEIC (what iPhones take) cannot be read here: save it as JPEG, with `heif-convert a.heic a.jpg` of libheif or "
    'with any viewer; a phone takes JPEG if its camera is set to "Most Compatible"'
)
_MAGIC = (b"\x89PN", b"\xff\xd8\xff")  # of what `without_metadata` knows
# By EXIF's orientation: whether rows become columns, and which of the two then run the other way.
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
MAX_PIXELS = 80_000_000  # 240 MB decoded; Pillow itself warns at 89 million


class PictureError(InputError):
    """A file or array that cannot be used as a picture; the message names it and the remedy."""


def read_picture(path: str | Path | io.BytesIO, name: str | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """A file, or its bytes, as 8-bit RGB, upright (EXIF), its first frame if it has several; `name` is for errors.

    Grey becomes colour, 16 bits become 8, and what is transparent becomes black, as what lies outside a picture does.

    Raises:
        PictureError: it is missing, no picture, damaged, or larger than `MAX_PIXELS`.
    """
    name = str(path) if name is None else name
    try:
        return _read(path, name)
    except PictureError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(f"{name}: far more than the {MAX_PIXELS:,} pixels that we read; make it smaller.") from None
    except FileNotFoundError:
        raise PictureError(f"{name}: there is no such file.") from None
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        unknown = isinstance(error, UnidentifiedImageError)  # its own text names bytes by their address
        if unknown and _is_heic(_first_bytes(path, 64)):
            raise PictureError(f"{name}: {HEIC_REMEDY}.") from None
        reason = "cannot identify image file" if unknown else str(error) or type(error).__name__
        raise PictureError(f"{name}: not a whole picture ({reason}); give a JPEG or PNG.") from None


def _read(path: str | Path | io.BytesIO, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """As `_decoded`; if that fails for something in the file that is not needed, once more without it."""
    try:
        return _decoded(path, name)
    except PictureError:
        raise
    except Exception:  # see `read_picture`
        bare = without_metadata(_first_bytes(path, None)) if _first_bytes(path, 3) in _MAGIC else None
        if bare is None:
            raise
        return _decoded(io.BytesIO(bare.content), name, bare.orientation)


def _is_heic(begin: bytes) -> bool:
    """By the brands in the file's first box. An AVIF file names some of them as well."""
    brands = begin[8 : min(int.from_bytes(begin[:4], "big"), len(begin))]
    return begin[4:8] == b"ftyp" and b"avif" not in brands and any(brand in brands for brand in _HEIC_BRANDS)


def _first_bytes(path: str | Path | io.BytesIO, count: int | None) -> bytes:
    if isinstance(path, io.BytesIO):
        return path.getvalue()[:count]
    with open(path, "rb") as file:
        return file.read(-1 if count is None else count)


def _decoded(path: str | Path | io.BytesIO, name: str, turned: int | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Pillow's pixels, upright; `turned` says how they lie where the file itself does no longer."""
    with Image.open(path, formats=FORMATS) as image:
        _refuse_large(image.size, name)
        return _upright(image, name, turned)


def as_picture(image: object) -> UInt8[np.ndarray, "h w 3"]:
    """What a caller calls a picture: a path, Pillow's image, or a uint8 RGB array, which is handed back as it is.

    Raises:
        PictureError: see `read_picture`.
        TypeError: an array that is not uint8.
        ValueError: an array that is not (H, W, 3), or empty.
    """
    if isinstance(image, str | Path):
        return read_picture(image)
    if isinstance(image, Image.Image):
        _refuse_large(image.size, "The picture")
        return _upright(image, "The picture")
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise TypeError(f"The picture is {array.dtype}; give uint8 values 0…255.")
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ValueError(f"The picture has shape {array.shape}; give (H, W, 3), red first.")
    return array


def turn(
    rgb: UInt8[np.ndarray, "h w 3"], swap: bool, flip_rows: bool, flip_columns: bool
) -> UInt8[np.ndarray, "a b 3"]:
    """Turned by right angles or mirrored: rows become columns if `swap`, then either runs the other way."""
    rgb = rgb.swapaxes(0, 1) if swap else rgb
    return np.ascontiguousarray(rgb[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def _upright(image: Image.Image, name: str, turned: int | None = None) -> UInt8[np.ndarray, "h w 3"]:
    rgb = _to_rgb(image, name)  # a TIFF is turned when it is loaded, and then says so no more
    return turn(rgb, *_TURNS[_orientation(image) if turned is None else turned])


def _orientation(image: Image.Image) -> int:
    """1 to 8, as EXIF has it."""
    exif, xmp = (image.info.get(name) or b"" for name in ("exif", "xmp"))
    found = orientation(exif, xmp) if image.format != "TIFF" else None
    if found is None:
        try:
            found = image.getexif().get(ExifTags.Base.Orientation)  # knows other places where it may be written
        except Exception:  # as for decoders
            found = None
    return found if found in _TURNS else 1


def _refuse_large(size: tuple[int, int], name: object) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise PictureError(f"{name}: {size[0]} × {size[1]} pixels, more than {MAX_PIXELS:,}; make it smaller.")


def _to_rgb(image: Image.Image, name: object) -> UInt8[np.ndarray, "h w 3"]:
    if image.mode == "RGB":
        return np.asarray(image)
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip it at 255
        deep = np.asarray(image).astype(np.int64)
        if deep.min() < 0 or deep.max() > 65_535:
            raise PictureError(f"{name}: grey values {deep.min()} to {deep.max()}; give 8 or 16 bits.")
        return np.repeat(np.rint(deep / 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "F":
        raise PictureError(f"{name}: floating point values; give 8 or 16 bits.")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return np.asarray(image.convert("RGB"))
