"""Writes miniature RHD and STB archives in their exact raw forms, from rendered hands whose truth is known.

Nothing here uses the readers: orders, packings and calibration are written down a second time, from the data sets' own
documentation, so that a mistake in a reader shows. As a command:

    python -m reference.mini_archives rhd FOLDER --train=64 --test=16
"""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
from jaxtyping import Bool, Float, UInt8, UInt16
from PIL import Image

from pmd_jax.prepare import registry

registry.register_datasets()

from pmd_datasets.rendered_hands import generate, view  # noqa: E402 (needs the line above)

from reference.numpy_pickle import NumpyPickler  # noqa: E402

# ---- what an archive is made of


@dataclass(frozen=True)
class RhdFrame:
    """One RHD picture with its truth, hands by side, joints in our order."""

    rgb: UInt8[np.ndarray, "320 320 3"]
    depth_code: UInt16[np.ndarray, "320 320"]  # 65535 is 5 m
    mask: UInt8[np.ndarray, "320 320"]
    xyz_m: dict[str, Float[np.ndarray, "21 3"]]
    visible: dict[str, Bool[np.ndarray, " 21"]]
    K: Float[np.ndarray, "3 3"]

    def uv_px(self, side: str) -> Float[np.ndarray, "21 2"]:
        """True pixels of a hand's joints."""
        image = self.xyz_m[side] @ self.K.T
        return image[:, :2] / image[:, 2:]

    def entry(self) -> dict[str, np.ndarray]:
        """The frame's value in the annotation pickle."""
        uv = np.concatenate([rhd_rows(self.uv_px(side)) for side in ("left", "right")])
        seen = np.concatenate([rhd_rows(self.visible[side]) for side in ("left", "right")])
        xyz = np.concatenate([rhd_rows(self.xyz_m[side]) for side in ("left", "right")])
        return {"uv_vis": np.column_stack([uv, seen]).astype(float), "xyz": xyz, "K": self.K}

    def files(self, split: str, number: int) -> dict[str, bytes]:
        """The frame's three pictures."""
        high, low = np.divmod(self.depth_code, 256)
        depth = np.stack([high, low, np.zeros_like(high)], axis=-1)
        pictures = {"color": self.rgb, "depth": depth.astype(np.uint8), "mask": self.mask}
        return {f"{split}/{kind}/{number:05d}.png": png(picture) for kind, picture in pictures.items()}


def rhd_rows(ours: np.ndarray) -> np.ndarray:
    """RHD's order of a hand: wrist, then thumb to little finger, each from the tip to the base."""
    return ours[[0] + [1 + 4 * finger + part for finger in range(5) for part in (3, 2, 1, 0)]]


def stb_rows(ours: np.ndarray) -> np.ndarray:
    """STB's order: palm centre, then little finger to thumb, each from the base to the tip."""
    return ours[[0] + [1 + 4 * finger + part for finger in (4, 3, 2, 1, 0) for part in (0, 1, 2, 3)]]


def png(picture: np.ndarray) -> bytes:
    """Encoded quickly rather than small."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


# ---- RHD


def rhd_frames(count: int, seed: int = 0, second_hand: bool = True) -> list[RhdFrame]:
    """`count` pictures, each of its own focal length.

    The first of a pair of rendered hands is behind; a hand of the other side, where there is one, is put in front of or
    behind it by depth. Every hand that is not drawn is annotated all the same, out of the picture, as in RHD.
    """
    return [_rhd_frame(seed, number, second_hand and number % 2 == 0) for number in range(count)]


def _rhd_frame(seed: int, number: int, second_hand: bool) -> RhdFrame:
    focal = 250.0 + 10 * ((seed + number) % 9)
    settings = generate.Settings(frame=view.FullFrame(320, 320, focal, focal, 160.0, 160.0))
    batch = generate.render(seed, range(12 * number, 12 * number + 12 if second_hand else 12 * number + 1), settings)
    first = 0
    others = np.flatnonzero(batch["is_left"] != batch["is_left"][0])
    chosen = [first, int(others[0])] if second_hand else [first]
    K = batch["K"][0].astype(float)

    rgb, nearest = batch["rgb"][first].copy(), np.full((320, 320), 3.0)
    mask = np.zeros((320, 320), np.uint8)
    xyz, visible = {}, {}
    for i in chosen:
        side = "left" if batch["is_left"][i] else "right"
        depth_m = batch["depth"][i] * 1e-4
        drawn = (depth_m > 0) & (depth_m < nearest)
        rgb[drawn], nearest[drawn] = batch["rgb"][i][drawn], depth_m[drawn]
        rows, columns = np.nonzero(drawn & batch["mask"][i])
        mask[drawn] = 1  # the forearm is the person
        mask[rows, columns] = (2 if side == "left" else 18) + (rows // 8 + columns // 8) % 16
        xyz[side] = batch["xyz"][i].astype(float)
        visible[side] = batch["visible"][i].copy()
    for side in {"left", "right"} - set(xyz):
        (drawn_hand,) = xyz.values()
        xyz[side], visible[side] = drawn_hand * [-1, 1, 1] + [5.0, 0, 0], np.zeros(21, bool)
    for side in xyz:  # whatever the hand in front covers is not seen
        image = xyz[side] @ K.T
        column, row = np.rint(image[:, :2] / image[:, 2:]).astype(int).clip(0, 319).T
        visible[side] &= xyz[side][:, 2] - nearest[row, column] < 0.02
    code = np.rint(nearest / 5 * 65535).astype(np.uint16)
    return RhdFrame(rgb, code, mask, xyz, visible, K)


def rhd_files(
    frames: dict[str, Sequence[RhdFrame]], protocol: int = 2, numpy_package: str = "numpy.core"
) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file below RHD's top folder.

    Args:
        frames: by folder, "training" and "evaluation".
        protocol, numpy_package: which Python and NumPy seem to have written the pickle.
    """
    for split, members in frames.items():
        yield f"{split}/anno_{split}.pickle", rhd_pickle(members, protocol, numpy_package)
        for number, frame in enumerate(members):
            yield from frame.files(split, number).items()


def rhd_pickle(frames: Iterable[RhdFrame], protocol: int = 2, numpy_package: str = "numpy.core") -> bytes:
    """The annotation as another NumPy writes it: 1.x says numpy.core, 2.x numpy._core."""
    file = io.BytesIO()
    NumpyPickler(file, protocol, numpy_package).dump({i: frame.entry() for i, frame in enumerate(frames)})
    return file.getvalue()


# ---- STB

STB_SEQUENCES = [f"B{number}{kind}" for number in range(1, 7) for kind in ("Counting", "Random")]
STB_TOP_FOLDER = {"B4", "B5", "B6"}  # their zips have one, those of B1 to B3 have none
# The README's calibration: colour and depth of the SK sensor, the stereo pair BB.
STB_COLOUR = {"fx": 607.92271, "fy": 607.88192, "cx": 314.78337, "cy": 236.42484}
STB_DEPTH = {"fx": 475.62768, "fy": 474.77709, "cx": 336.41179, "cy": 238.77962}
STB_STEREO = {"fx": 822.79041, "fy": 822.79041, "cx": 318.47345, "cy": 250.31296}
STB_ROTATION_VECTOR = np.array([0.00531, -0.01196, 0.00301])
STB_TRANSLATION_MM = np.array([-24.0381, -0.4563, -1.2326])
STB_BASELINE_MM = 120.054
WALL_MM = 1200.0


@dataclass(frozen=True)
class StbFrame:
    """One STB frame with its truth: a left hand, joint 0 the palm centre, joints in our order."""

    rgb: UInt8[np.ndarray, "480 640 3"]
    colour_depth: UInt16[np.ndarray, "480 640"]  # truth in the colour camera, 0.1 mm, 0 off the hand
    depth_mm: UInt16[np.ndarray, "480 640"]  # what the depth camera measures
    xyz_m: Float[np.ndarray, "21 3"]  # colour camera

    def files(self, number: int) -> dict[str, bytes]:
        """The frame's pictures. The stereo pair repeats the colour picture: only its labels are to be true."""
        high, low = np.divmod(self.depth_mm, 256)
        depth = np.stack([low, high, np.zeros_like(high)], axis=-1).astype(np.uint8)
        colour = png(self.rgb)
        return {
            f"SK_color_{number}.png": colour,
            f"SK_depth_{number}.png": png(depth),
            f"BB_left_{number}.png": colour,
            f"BB_right_{number}.png": png(self.rgb[:, ::-1].copy()),
        }


def stb_frames(count: int, seed: int = 0) -> list[StbFrame]:
    """`count` pictures of left hands in the colour camera, and the depth camera's view of the same surface."""
    settings = generate.Settings(frame=view.FullFrame(640, 480, **STB_COLOUR))
    frames, index = [], 0
    while len(frames) < count:
        batch = generate.render(seed, range(index, index + 4), settings)
        index += 4
        frames += [_stb_frame(batch, i) for i in np.flatnonzero(batch["is_left"])]
    return frames[:count]


def _stb_frame(batch: dict[str, np.ndarray], i: int) -> StbFrame:
    xyz_m = batch["xyz"][i].astype(float)
    xyz_m[0] = (xyz_m[0] + xyz_m[9]) / 2
    return StbFrame(batch["rgb"][i], batch["depth"][i], _seen_by_depth_camera(batch["depth"][i]), xyz_m)


def _seen_by_depth_camera(colour_depth: UInt16[np.ndarray, "480 640"]) -> UInt16[np.ndarray, "480 640"]:
    """Painter's algorithm: a wall, then the hand's points, nine a pixel, from far to near."""
    third = np.arange(-1, 2) / 3
    rows, columns = np.nonzero(colour_depth)
    u = (columns[:, None, None] + third[None, :, None] + np.zeros((1, 1, 3))).ravel()
    v = (rows[:, None, None] + third[None, None, :] + np.zeros((1, 3, 1))).ravel()
    z_mm = np.repeat(colour_depth[rows, columns] / 10.0, 9)
    colour = STB_COLOUR
    points = np.column_stack([(u - colour["cx"]) / colour["fx"] * z_mm, (v - colour["cy"]) / colour["fy"] * z_mm, z_mm])
    seen = stb_depth_camera(points)
    seen = seen[np.argsort(-seen[:, 2], kind="stable")]
    u = np.rint(seen[:, 0] / seen[:, 2] * STB_DEPTH["fx"] + STB_DEPTH["cx"]).astype(int)
    v = np.rint(seen[:, 1] / seen[:, 2] * STB_DEPTH["fy"] + STB_DEPTH["cy"]).astype(int)
    inside = (u >= 0) & (u < 640) & (v >= 0) & (v < 480)
    depth_mm = np.full((480, 640), WALL_MM)
    depth_mm[v[inside], u[inside]] = seen[inside, 2]
    return np.rint(depth_mm).astype(np.uint16)


def stb_depth_camera(points_mm: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Colour camera to depth camera: R·X + t, R by Rodrigues' formula, point by point."""
    angle = np.linalg.norm(STB_ROTATION_VECTOR)
    axis = STB_ROTATION_VECTOR / angle
    along = (points_mm @ axis)[:, None] * axis
    turned = along + np.cos(angle) * (points_mm - along) + np.sin(angle) * np.cross(axis, points_mm)
    return turned + STB_TRANSLATION_MM


def stb_labels(frames: Sequence[StbFrame]) -> dict[str, bytes]:
    """The two label files of a sequence, by camera: millimetres, 3 × 21 × frames."""
    sk = np.stack([stb_rows(stb_depth_camera(1000 * frame.xyz_m)) for frame in frames], axis=-1)
    # The stereo pair stands elsewhere in the room; here its left eye looks from where the colour camera does.
    bb = np.stack([stb_rows(1000 * frame.xyz_m) for frame in frames], axis=-1)
    return {camera: mat(labels.transpose(1, 0, 2)) for camera, labels in (("SK", sk), ("BB", bb))}


def mat(hand_para: np.ndarray, name: str = "handPara") -> bytes:
    """A MATLAB 5 file with one variable."""
    file = io.BytesIO()
    scipy.io.savemat(file, {name: hand_para})
    return file.getvalue()


def stb_files(sequences: dict[str, Sequence[StbFrame]]) -> dict[str, bytes]:
    """Every file, named as in an unpacked tree without `images/`: `B1Counting/SK_color_0.png`, `labels/….mat`."""
    files = {}
    for sequence, frames in sequences.items():
        for number, frame in enumerate(frames):
            files |= {f"{sequence}/{name}": data for name, data in frame.files(number).items()}
        files |= {f"labels/{sequence}_{camera}.mat": data for camera, data in stb_labels(frames).items()}
    return files


# ---- to disk


def write_tree(folder: Path, files: dict[str, bytes]) -> Path:
    """Unpacked."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_zip(path: Path, files: dict[str, bytes], top: str = "") -> Path:
    """Packed, below the folder `top` ("name/" or nothing)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in files.items():
            archive.writestr(top + name, data)
    return path


def write_rhd_zip(folder: Path, files: dict[str, bytes]) -> Path:
    """RHD's archive as its site gives it."""
    return write_zip(folder / "RHD_v1-1.zip", files, "RHD_published_v2/")


def write_stb_zips(folder: Path, files: dict[str, bytes]) -> Path:
    """STB's zips as its links give them: a top folder in some sequences' zips only."""
    for sequence in STB_SEQUENCES:
        inside = {name.partition("/")[2]: data for name, data in files.items() if name.startswith(f"{sequence}/")}
        if inside:
            top = f"{sequence}/" if sequence[:2] in STB_TOP_FOLDER else ""
            write_zip(folder / f"{sequence}.zip", inside, top)
    write_zip(folder / "labels.zip", {name: data for name, data in files.items() if name.startswith("labels/")})
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes a miniature RHD or STB archive made of rendered hands.")
    parser.add_argument("name", choices=("rhd", "stb"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=64, help="frames (RHD), or frames of each sequence (STB)")
    parser.add_argument("--test", type=int, default=16)
    parser.add_argument("--sequences", default="B1Random,B2Random,B4Counting", help="STB's sequences to write")
    arguments = parser.parse_args()
    if arguments.name == "rhd":
        frames = {"training": rhd_frames(arguments.train, 1), "evaluation": rhd_frames(arguments.test, 2)}
        write_rhd_zip(arguments.folder, dict(rhd_files(frames)))
    else:
        sequences = {
            name: stb_frames(arguments.test if name.startswith("B1") else arguments.train, seed)
            for seed, name in enumerate(arguments.sequences.split(","), 1)
        }
        write_stb_zips(arguments.folder, stb_files(sequences))


if __name__ == "__main__":
    main()
