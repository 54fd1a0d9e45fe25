"""A picture of any kind as 8-bit RGB. Files come from anyone, so nothing in them is trusted."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from pmd_jax.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")  # what is looked for in folders
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")  # no others: some of Pillow's start other programs
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
        with Image.open(path, formats=FORMATS) as image:
            _refuse_large(image.size, name)
            return _to_rgb(ImageOps.exif_transpose(image), name)
    except PictureError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(f"{name}: far more than the {MAX_PIXELS:,} pixels that we read; make it smaller.") from None
    except FileNotFoundError:
        raise PictureError(f"{name}: there is no such file.") from None
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        unknown = isinstance(error, UnidentifiedImageError)  # its own text names bytes by their address
        reason = "cannot identify image file" if unknown else str(error) or type(error).__name__
        raise PictureError(f"{name}: not a whole picture ({reason}); give a JPEG or PNG.") from None


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
        return _to_rgb(ImageOps.exif_transpose(image), "The picture")
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise TypeError(f"The picture is {array.dtype}; give uint8 values 0…255.")
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ValueError(f"The picture has shape {array.shape}; give (H, W, 3), red first.")
    return array


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
