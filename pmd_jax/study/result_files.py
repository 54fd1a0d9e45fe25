"""`results/<data set>/<study>.json`: what was measured, one figure a seed; all that RESULTS.md is made of.

{"study": …, "dataset": …, "command": …, "rows": {"pmd_net": {
    "title": …, "row": …, "config_hash": …, "epe_mm": {"<seed>": 12.3}, "hardware": {"<seed>": {…}}, …}, …}}

A variant called "pmd_net/3000" stands as {"pmd_net": {"3000": {…}}}.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pmd_jax.runtime import files
from pmd_jax.runtime.errors import InputError
from pmd_jax.study.definitions import Study, identity, resolve

POSES, LAYERS = "figure7.json", "imitation.json"  # what lies beside a data set's tables
HAND_ARRAYS = ("rgb", "depth", "K", "xyz_m")
ROW_FIELDS = ("title", "row", "config_hash")  # the same for all seeds; every other field of a row is {seed: value}


class StudyError(InputError):
    """A study that cannot go on; the message names the file and the remedy."""


def read(path: Path) -> dict[str, Any]:
    """The content of a study's file; without rows where there is none.

    Raises:
        StudyError: it is there and is no such file.
    """
    if not path.exists():
        return {"rows": {}}
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        tree = {**tree, "rows": _flat(tree["rows"])}
        _check(tree)
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise StudyError(f"{path} holds no results of a study ({error}); restore it or move it away.") from error
    return tree


def _flat(rows: Mapping[str, Any]) -> dict[str, Any]:
    flat = {}
    for name, row in rows.items():
        is_group = isinstance(row, dict) and row and not any(key in row for key in ROW_FIELDS)
        flat |= {f"{name}/{part}": inner for part, inner in row.items()} if is_group else {name: row}
    return flat


def _nested(rows: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, row in rows.items():
        group, _, part = name.partition("/")
        if part:
            nested.setdefault(group, {})[part] = row
        else:
            nested[name] = row
    return nested


def _check(tree: Any) -> None:
    if not isinstance(tree, dict) or not isinstance(tree.get("rows"), dict):
        raise ValueError('"rows" is missing')
    for name, row in tree["rows"].items():
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ROW_FIELDS):
            raise ValueError(f"row {name!r} is not complete")
        for key, values in row.items():
            if key not in ROW_FIELDS and not (isinstance(values, dict) and all(seed.isdigit() for seed in values)):
                raise ValueError(f"{name}.{key} is not a figure for each seed")


def check_rows(study: Study, path: Path) -> None:
    """Refuses to mix figures of different configurations in one table.

    Raises:
        StudyError: the file holds rows of another configuration.
    """
    for name, row in read(path)["rows"].items():
        if name in study.variants and row["config_hash"] != identity(resolve(study, name, 0)):
            raise StudyError(
                f"{path} holds {name!r} of another configuration (hash {row['config_hash']}, now "
                f"{identity(resolve(study, name, 0))}): move the file away, or name another --results folder."
            )


def find(folder: Path, config_hash: str, seed: int, figure: str) -> dict[str, Any] | None:
    """A run's figures in any of the folder's tables: the rows of one table are also those of others."""
    for path in sorted(folder.glob("*.json")):
        for row in read(path)["rows"].values() if path.name not in (POSES, LAYERS) else ():
            if row["config_hash"] == config_hash and str(seed) in row.get(figure, {}):
                return {key: v[str(seed)] for key, v in row.items() if key not in ROW_FIELDS and str(seed) in v}
    return None


def command(file: Mapping[str, Any]) -> str:
    """What gives a file's figures of trained networks, with as many seeds as it holds."""
    seeds = 1 + max(int(seed) for row in file["rows"].values() for seed in row["epe_mm"])
    return f"{file['command']} --seeds={seeds}"


def record(study: Study, path: Path, command: str, name: str, seed: int, figures: Mapping[str, Any]) -> None:
    """Adds one run to the study's file. Several tasks may do so at once, under `files.locked`."""
    tree = read(path)
    variant = study.variants[name]
    row = tree["rows"].get(name, {})
    values = {key: value for key, value in row.items() if key not in ROW_FIELDS}
    for key, value in figures.items():
        by_seed = {**values.get(key, {}), str(seed): value}
        values[key] = dict(sorted(by_seed.items(), key=lambda item: int(item[0])))
    described = {"title": variant.title, "row": variant.row, "config_hash": identity(resolve(study, name, seed))}
    tree["rows"][name] = {**described, **values}
    order = [key for key in study.variants if key in tree["rows"]]
    rows = {key: tree["rows"][key] for key in [*order, *(key for key in tree["rows"] if key not in order)]}
    write_json(path, {"study": study.name, "dataset": study.dataset, "command": command, "rows": _nested(rows)})


def read_imitation(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """layer → way (see `layer_probe.measure`) → seed → share; empty where there is no file.

    Raises:
        StudyError: it is there and is no such file.
    """
    if not path.exists():
        return {}
    try:
        layers = json.loads(path.read_text(encoding="utf-8"))["layers"]
        _ = [float(share) for ways in layers.values() for seeds in ways.values() for share in seeds.values()]
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise StudyError(f"{path} holds no shares of layers ({error}); restore it or delete it.") from error
    return layers


def has_imitation(path: Path, seed: int) -> bool:
    return any(str(seed) in seeds for ways in read_imitation(path).values() for seeds in ways.values())


def record_imitation(path: Path, seed: int, shares: Mapping[str, Mapping[str, float]]) -> None:
    """Adds one seed. Several tasks may do so at once, under `files.locked`."""
    layers = read_imitation(path)
    for layer, ways in shares.items():
        for way, share in ways.items():
            layers.setdefault(layer, {}).setdefault(way, {})[str(seed)] = share
    write_json(path, {"layers": layers})


def read_poses(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]] | None:
    """What `record_poses` was given; None where there is no file.

    Raises:
        StudyError: it is there and is no such file.
    """
    if not path.exists():
        return None
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        hands = {key: _decode(tree[key]) for key in HAND_ARRAYS}
        return hands, {title: _decode(pose) for title, pose in tree["poses"].items()}
    except (ValueError, TypeError, KeyError) as error:
        raise StudyError(f"{path} is broken ({type(error).__name__}: {error}); restore it or delete it.") from error


def record_poses(path: Path, hands: Mapping[str, np.ndarray], poses: Mapping[str, np.ndarray]) -> None:
    """Writes test hands, `HAND_ARRAYS` by name, and each network's poses of them, by its title."""
    tree = {key: _encode(array) for key, array in hands.items()}
    write_json(path, {**tree, "poses": {title: _encode(pose) for title, pose in poses.items()}})


def _encode(array: np.ndarray) -> dict[str, Any]:
    """An array as JSON types."""
    array = array.astype(array.dtype.newbyteorder("<"))
    data = base64.b64encode(array.tobytes()).decode()
    return {"dtype": array.dtype.str, "shape": list(array.shape), "base64": data}


def _decode(tree: Mapping[str, Any]) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(tree["base64"]), np.dtype(tree["dtype"]))
    return data.reshape(tree["shape"])


def write_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Whole or not at all; lists of numbers on one line, so that a change of a figure is a change of a line."""
    text = json.dumps(tree, indent=1, ensure_ascii=False)
    text = re.sub(r"\[[\s\d.,eE+-]*\]", lambda numbers: " ".join(numbers[0].split()), text)
    files.write_text(path, text + "\n")
