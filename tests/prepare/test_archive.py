"""Archives in the shapes that people have them, and PNGs that are not what they seem."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pmd_jax.prepare import registry
from pmd_jax.prepare.archive import decode_png
from pmd_jax.prepare.finding import find_archive
from pmd_jax.runtime.errors import ArchiveError
from reference import mini_archives

registry.register_datasets()

from pmd_datasets.stb import layout  # noqa: E402

MARKER = "training/anno_training.pickle"
RHD = {MARKER: b"labels", **{f"training/color/{i:05d}.png": bytes([i]) * 20 for i in range(4)}}
LAST = "training/color/00003.png"


def rhd_zip(path: Path, top: str = "RHD_published_v2/") -> Path:
    return mini_archives.write_zip(path, RHD, top)


def with_backslashes(path: Path, files: dict[str, bytes], top: str) -> Path:
    """As some Windows tools write them."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = (top + name).replace("/", "\\")
            archive.writestr(info, data)
    return path


def deeper(folder: Path) -> None:
    mini_archives.write_tree(folder / "RHD_v1-1" / "RHD_published_v2", RHD)


def upper_case(folder: Path) -> None:
    rhd_zip(folder / "RHD_V1-1.ZIP")


def backslashes(folder: Path) -> None:
    with_backslashes(folder / "RHD_v1-1.zip", RHD, "RHD_published_v2/")


def zip_in_a_folder(folder: Path) -> None:
    rhd_zip(folder / "downloads" / "RHD_v1-1.zip")


def broken_zip_beside(folder: Path) -> None:
    good = rhd_zip(folder / "RHD_v1-1.zip").read_bytes()
    (folder / "RHD_v1-1 (1).zip").write_bytes(good[: len(good) // 2])


def apple_double_beside(folder: Path) -> None:
    rhd_zip(folder / "RHD_v1-1.zip")
    (folder / "._RHD_v1-1.zip").write_bytes(b"\0\5\x16\7" * 100)
    mini_archives.write_tree(folder / "__MACOSX", {MARKER: b"not this", **RHD, "more": b"x", "and more": b"x"})


def broken_off_unzip(folder: Path) -> None:
    rhd_zip(folder / "RHD_v1-1.zip")
    mini_archives.write_tree(folder / "RHD_published_v2", {name: RHD[name] for name in list(RHD)[:3]})


def broken_off_in_the_last_file(folder: Path) -> None:
    rhd_zip(folder / "RHD_v1-1.zip")
    mini_archives.write_tree(folder / "RHD_published_v2", RHD | {LAST: b"\3"})


@pytest.mark.parametrize(
    "shape",
    [
        *(deeper, upper_case, backslashes, zip_in_a_folder, broken_zip_beside),
        *(apple_double_beside, broken_off_unzip, broken_off_in_the_last_file),
    ],
)
def test_rhd_is_found_whole(tmp_path, shape):
    shape(tmp_path)
    archive = find_archive(tmp_path, MARKER)
    assert archive is not None
    assert archive.names() == set(RHD)
    assert {name: archive.read(name) for name in RHD} == RHD


def test_a_broken_zip_alone_is_said(tmp_path):
    (tmp_path / "RHD_v1-1.ZIP").write_bytes(b"PK")
    with pytest.raises(ArchiveError, match=r"RHD_v1-1\.ZIP: not a whole zip .* fetch it again"):
        find_archive(tmp_path, MARKER)
    assert find_archive(tmp_path / "nowhere", MARKER) is None


# ---- STB

FRAMES = 5
STB = {f"SK_{kind}_{i}.png": f"{kind}{i}".encode() for kind in ("color", "depth") for i in range(FRAMES)}
LABELS = {f"labels/{name}_SK.mat": f"{name}".encode() for name in ("B2Counting", "B2Random")}


def below(top: str, files: dict[str, bytes] = STB) -> dict[str, bytes]:
    return {f"{top}{name}": data for name, data in files.items()}


def some(start: int, stop: int | None = None) -> dict[str, bytes]:
    return dict(list(STB.items())[start:stop])


def cut_by_a_web_drive(folder: Path) -> None:
    """One part has colour and a bit of depth, the other the rest; no top folder, as in B1 to B3."""
    mini_archives.write_zip(folder / "B2Counting-20240101T000000Z-001.zip", some(0, 6))
    mini_archives.write_zip(folder / "B2Counting-20240101T000000Z-002.zip", some(6))
    mini_archives.write_zip(folder / "labels-20240101T000000Z-001.ZIP", LABELS)


def cut_with_top_folders(folder: Path) -> None:
    """Whole and in parts of any name: folders tell the sequences apart."""
    mini_archives.write_zip(folder / "STB_part1.zip", below("images/B2Counting/", some(0, 7)))
    mini_archives.write_zip(folder / "STB_part2.zip", below("images/B2Counting/", some(7)) | below("images/B2Random/"))
    mini_archives.write_zip(folder / "everything_else.zip", LABELS)


def upper_case_zip(folder: Path) -> None:
    mini_archives.write_zip(folder / "B2COUNTING.ZIP", STB)
    mini_archives.write_zip(folder / "Labels.Zip", LABELS)


def windows_zip(folder: Path) -> None:
    with_backslashes(folder / "B2Counting.zip", STB, "B2Counting/")
    with_backslashes(folder / "labels.zip", LABELS, "")


def two_folders_deeper(folder: Path) -> None:
    mini_archives.write_tree(folder / "STB" / "data", below("images/B2Counting/") | LABELS)


def stb_unzip_broken_off(folder: Path) -> None:
    mini_archives.write_zip(folder / "B2Counting.zip", STB)
    mini_archives.write_tree(folder, below("B2Counting/", some(0, 8)))
    mini_archives.write_zip(folder / "labels.zip", LABELS)
    mini_archives.write_tree(folder, {"labels/B2Counting_SK.mat": b"B2Cou"})


def other_zips_broken(folder: Path) -> None:
    cut_by_a_web_drive(folder)
    for name in ("B2Counting (1).zip", "._B2Counting.zip", "B4Random.zip", "labels.zip"):
        (folder / name).write_bytes(b"PK broken")


@pytest.mark.parametrize(
    "shape",
    [
        *(cut_by_a_web_drive, cut_with_top_folders, upper_case_zip, windows_zip, two_folders_deeper),
        *(stb_unzip_broken_off, other_zips_broken),
    ],
)
def test_stb_is_found_whole(tmp_path, shape):
    shape(tmp_path)
    pictures = layout.find_sequence(tmp_path, "B2Counting", "SK")
    assert pictures is not None
    assert {name: pictures.read(name) for name in STB} == STB
    with pytest.raises(ArchiveError, match=r"SK_color_5\.png: missing"):
        pictures.read(f"SK_color_{FRAMES}.png")
    labels = layout.find_labels(tmp_path, "B2Counting", "SK")
    assert labels is not None
    assert labels.read("B2Counting_SK.mat") == b"B2Counting"
    assert layout.find_sequence(tmp_path, "B3Counting", "SK") is None
    assert layout.find_labels(tmp_path, "B3Counting", "SK") is None if shape is not other_zips_broken else True


def test_a_broken_zip_of_a_sequence_is_said(tmp_path):
    (tmp_path / "B2Counting.zip").write_bytes(b"PK broken")
    with pytest.raises(ArchiveError, match=r"B2Counting\.zip: not a whole zip"):
        layout.find_sequence(tmp_path, "B2Counting", "SK")
    assert layout.find_sequence(tmp_path, "B2Random", "SK") is None


# ---- PNG


def grey_png(bits: int) -> bytes:
    """Shades 0, 1, 2, 3 of `bits` each, as PNG packs them; Pillow writes no such file."""
    shades = np.array([0, 1, 2, 3])
    packed = sum(int(shade) << (bits * (3 - i)) for i, shade in enumerate(shades)).to_bytes(
        max(bits * 4 // 8, 1), "big"
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" + packed))
        + chunk(b"IEND", b"")
    )


def palette_png() -> bytes:
    picture = Image.fromarray(np.array([[0, 1, 2, 3]], np.uint8), "P")
    picture.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 9, 9])
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_a_mask_of_8_bits_is_read_as_it_is():
    assert decode_png(grey_png(8), "mask", width=4, height=1, channels=1).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        *((grey_png(bits), f"grey of {bits} bits") for bits in (2, 4, 16)),
        (palette_png(), "palette of 2 bits"),
    ],
    ids=["2 bits", "4 bits", "16 bits", "palette"],
)
def test_a_mask_that_would_be_read_as_something_else_is_refused(data, kind):
    with pytest.raises(ArchiveError, match=f"^mask: a picture of 4 × 1, {kind}; 4 × 1, grey of 8 bits, belongs here"):
        decode_png(data, "mask", width=4, height=1, channels=1)
