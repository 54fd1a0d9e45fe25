"""A trained network as a folder that can be carried elsewhere, and back.

The folder holds `weights/` (Orbax: parameters and batch norm statistics, no optimiser, no teacher), `network.json`
(what is needed to rebuild the network), for a teacher `labels.txt` (the samples whose labels it has seen), and the
checksums of all these (`digest`), which are compared before anything of it is read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import jax

from pmd_jax import digest
from pmd_jax.checkpoint import CheckpointError, load_tree, require_whole, save_tree
from pmd_jax.config import Config, from_dict, to_dict
from pmd_jax.data import hand
from pmd_jax.files import given_path, read_text, replacing_folder, unfinished_name, write_json, write_text
from pmd_jax.rows import ROWS
from pmd_jax.state import Network, Weights, build

FORMAT = 1
DESCRIPTION, WEIGHTS, LABELS_FILE = "network.json", "weights", "labels.txt"


class Exported(NamedTuple):
    """What an export folder holds."""

    row: str
    config: Config
    network: Network
    weights: Weights
    crop_margin: float = hand.MARGIN  # of its training crops (`hand.crop_margin`)


def copy(source: Path, folder: Path) -> None:
    """Copies an export folder, replacing what is there; whole or not at all."""
    with _written(folder), replacing_folder(folder) as unfinished:
        shutil.copytree(source, unfinished, dirs_exist_ok=True)


def save(
    folder: Path,
    row: str,
    config: Config,
    weights: Weights,
    labels: Iterable[str] = (),
    crop_margin: float = hand.MARGIN,
) -> None:
    """Writes a network to `folder`, replacing what is there; whole or not at all.

    Every process must call this, for each may hold a part of the arrays.

    Args:
        labels: keys of the samples whose labels it was trained on; they go along where there are some (teachers).
        crop_margin: of its training crops (`hand.crop_margin`).

    Raises:
        CheckpointError: it cannot be written.
    """
    place = replacing_folder(folder) if jax.process_index() == 0 else nullcontext(unfinished_name(folder))
    with _written(folder), place as unfinished:
        write(unfinished, row, config, weights, labels, crop_margin)


def write(folder: Path, row: str, config: Config, weights: Weights, labels: Iterable[str], crop_margin: float) -> None:
    """The files of a network, into a folder that may hold others. Called and raises as `save`."""
    save_tree(folder / WEIGHTS, weights._asdict())  # whole when this returns, whichever process wrote it
    if jax.process_index() == 0:
        described = {"format": FORMAT, "row": row, "title": ROWS[row].title, "crop_margin": crop_margin}
        write_json(folder / DESCRIPTION, {**described, "config": to_dict(config)})
        if keys := sorted(labels):
            write_text(folder / LABELS_FILE, "\n".join(keys) + "\n")
        digest.write(folder, (DESCRIPTION, WEIGHTS, LABELS_FILE))


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """What a disk refuses, as a sentence that names the folder."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{folder} could not be written ({error}); make room and run again.") from error


def read(folder: str | Path) -> Exported:
    """Rebuilds the network of an export folder.

    Raises:
        CheckpointError: the folder is missing or broken, of another version, or its arrays do not fit its description.
    """
    folder = Path(folder)
    row, config, margin = _describe(folder)
    _require_readable(folder)
    network, initial = build(config, ROWS[row], seed=0)
    weights = Weights(**load_tree(folder / WEIGHTS, initial._asdict()))
    return Exported(row, config, network, weights, margin)


def _require_readable(folder: Path) -> None:
    """Orbax says of weights that it may not read what it says of broken ones."""
    for path in (folder, *sorted(folder.rglob("*"))):
        if not os.access(path, os.R_OK):
            raise CheckpointError(f"{path} may not be read by you; ask its owner for the right to read it.")


def _describe(folder: Path) -> tuple[str, Config, float]:
    """The row, the configuration and the crops' margin that a whole export folder was made of. Raises as `read`."""
    description = folder / DESCRIPTION
    require_whole(folder)
    try:
        described = json.loads(read_text(description))
        if described["format"] != FORMAT:
            raise CheckpointError(
                f"{folder} has export format {described['format']}, this version reads {FORMAT}; export it again."
            )
        row, config = described["row"], from_dict(described["config"])
        margin = float(described.get("crop_margin", hand.MARGIN))  # older ones were all cropped around joints
        if row not in ROWS:
            raise KeyError(row)
        if not 0 < margin < 100:  # also false for NaN
            raise ValueError(f"crop_margin = {margin}")
    except CheckpointError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{folder} holds no network.json; name the export folder of a finished run.") from None
    except OSError as error:
        raise CheckpointError(
            f"{description} cannot be read ({error.strerror}); ask its owner for the right to."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{description} is broken ({type(error).__name__}: {error}); export again.") from error
    return row, config, margin


def teacher_folder(path: str | Path, row: str, config: Config) -> Path:
    """The export folder of a finished teacher; arguments and errors as `teacher_weights`."""
    given = given_path(path)
    candidates = [given, given / "export", given / row / "export"]
    found = [(folder, *_describe(folder)) for folder in candidates if (folder / DESCRIPTION).is_file()]
    # A run's own export is its student; its teacher's lies one folder deeper.
    depth = [(folder, trained) for folder, its_row, trained, _ in found if its_row == row]
    if not depth:
        raise CheckpointError(
            f"config.teacher.checkpoint = {str(path)!r}: no finished {row} there; give the folder of a run that "
            f"trained one (it holds {row}/export), or leave it empty to train one."
        )
    folder, trained = depth[0]
    if trained.evaluation.joint_0 != config.evaluation.joint_0:
        raise CheckpointError(
            f"config.evaluation.joint_0 = {config.evaluation.joint_0!r}, but the teacher of {path} was trained with "
            f"{trained.evaluation.joint_0!r}, so in other hand scales: use the same, or train a teacher."
        )
    if trained.data.depth_origin != config.data.depth_origin:
        raise CheckpointError(
            f"config.data.depth_origin = {config.data.depth_origin!r}, but the teacher of {path} was trained with "
            f"{trained.data.depth_origin!r}, so on other depths: use the same, or train a teacher."
        )
    return folder


def teacher_labels(path: str | Path, row: str, config: Config) -> frozenset[str] | None:
    """Keys of the samples whose labels a finished teacher was trained on; None where it does not say.

    Arguments and errors as `teacher_weights`.
    """
    listed = teacher_folder(path, row, config) / LABELS_FILE
    return frozenset(listed.read_text(encoding="utf-8", errors="replace").splitlines()) if listed.is_file() else None


def teacher_weights(path: str | Path, row: str, config: Config, sharding: jax.sharding.Sharding) -> Weights:
    """A finished teacher's weights, from its export folder or from the folder of the run that trained it.

    Args:
        path: `config.teacher.checkpoint`.
        row: the teacher's row.
        config: of this run: the teacher's architecture must be the same.
        sharding: where the weights are to live.

    Raises:
        CheckpointError: missing, truncated, not a depth teacher, or of another shape (names every differing path).
    """
    folder = teacher_folder(path, row, config)
    _require_readable(folder)
    _, expected = build(config, ROWS[row], seed=0)
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), expected._asdict())
    return Weights(**load_tree(folder / WEIGHTS, abstract))
