"""A trained network as a folder that can be carried elsewhere, and back.

The folder holds `weights/` (Orbax: parameters and batch norm statistics, no optimiser, no teacher), `network.json`
(what is needed to rebuild the network), for a teacher `labels.txt` (the samples whose labels it has seen), and the
checksums of all these (`digest`), which are compared before anything of it is read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import jax

from pmd_jax.config import Config, from_dict, to_dict
from pmd_jax.config.methods import METHODS
from pmd_jax.data import cropping
from pmd_jax.models.network import Network, Weights, build
from pmd_jax.runtime import digest
from pmd_jax.runtime.errors import CheckpointError
from pmd_jax.runtime.files import read_text, write_json, write_text
from pmd_jax.runtime.orbax_io import load_tree, require_whole, save_tree

FORMAT = 1
DESCRIPTION, WEIGHTS, LABELS_FILE = "network.json", "weights", "labels.txt"


class SavedModel(NamedTuple):
    """What an export folder holds."""

    row: str
    config: Config
    network: Network
    weights: Weights
    crop_margin: float = cropping.MARGIN  # of its training crops (`cropping.crop_margin`)


def copy(source: Path, folder: Path) -> None:
    """Copies an export folder, replacing what is there; whole or not at all."""
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    with _replacing(folder, unfinished):
        shutil.copytree(source, unfinished)


def save(
    folder: Path,
    row: str,
    config: Config,
    weights: Weights,
    labels: Iterable[str] = (),
    crop_margin: float = cropping.MARGIN,
) -> None:
    """Writes a network to `folder`, replacing what is there; whole or not at all.

    Every process must call this, for each may hold a part of the arrays.

    Args:
        labels: keys of the samples whose labels it was trained on; they go along where there are some (teachers).
        crop_margin: of its training crops (`cropping.crop_margin`).

    Raises:
        CheckpointError: it cannot be written.
    """
    # Beside its place until it is complete; every process must write to the same name.
    unfinished = folder.with_name(folder.name + ".unfinished")
    if jax.process_index() == 0:
        shutil.rmtree(unfinished, ignore_errors=True)
    with _replacing(folder, unfinished) if jax.process_index() == 0 else nullcontext():
        write(unfinished, row, config, weights, labels, crop_margin)


def write(folder: Path, row: str, config: Config, weights: Weights, labels: Iterable[str], crop_margin: float) -> None:
    """The files of a network, into a folder that may hold others. Called and raises as `save`."""
    save_tree(folder / WEIGHTS, weights._asdict())  # whole when this returns, whichever process wrote it
    if jax.process_index() == 0:
        described = {"format": FORMAT, "row": row, "title": METHODS[row].title, "crop_margin": crop_margin}
        write_json(folder / DESCRIPTION, {**described, "config": to_dict(config)})
        if keys := sorted(labels):
            write_text(folder / LABELS_FILE, "\n".join(keys) + "\n")
        digest.write(folder, (DESCRIPTION, WEIGHTS, LABELS_FILE))


@contextmanager
def _replacing(folder: Path, unfinished: Path):
    """What the block completes in `unfinished` takes the place of `folder`; if it cannot, nothing stays behind."""
    try:
        yield
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)
    except OSError as error:
        raise CheckpointError(f"{folder} could not be written ({error}); make room and run again.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def read(folder: str | Path) -> SavedModel:
    """Rebuilds the network of an export folder.

    Raises:
        CheckpointError: the folder is missing or broken, of another version, or its arrays do not fit its description.
    """
    folder = Path(folder)
    row, config, margin = describe(folder)
    require_readable(folder)
    network, initial = build(config, METHODS[row], seed=0)
    weights = Weights(**load_tree(folder / WEIGHTS, initial._asdict()))
    return SavedModel(row, config, network, weights, margin)


def require_readable(folder: Path) -> None:
    """Orbax says of weights that it may not read what it says of broken ones."""
    for path in (folder, *sorted(folder.rglob("*"))):
        if not os.access(path, os.R_OK):
            raise CheckpointError(f"{path} may not be read by you; ask its owner for the right to read it.")


def describe(folder: Path) -> tuple[str, Config, float]:
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
        margin = float(described.get("crop_margin", cropping.MARGIN))  # older ones were all cropped around joints
        if row not in METHODS:
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
