"""A trained network as a folder that can be carried elsewhere, and back.

The folder holds `weights/` (Orbax: parameters and batch norm statistics, no optimiser, no teacher), `network.json`
(what is needed to rebuild the network), for a student `network.onnx` (the same network for ONNX Runtime), for a teacher
`labels.txt` (the samples whose labels it has seen), and the checksums of all these (`digest`), which are compared
before anything of it is read.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import jax

from pmd_jax.config import Config, to_dict
from pmd_jax.config.methods import METHODS
from pmd_jax.data import cropping
from pmd_jax.models.description import DESCRIPTION, FORMAT, GRAPH, LABELS_FILE, WEIGHTS, describe, require_readable
from pmd_jax.models.network import Network, Weights, build
from pmd_jax.runtime import digest
from pmd_jax.runtime.errors import CheckpointError
from pmd_jax.runtime.files import replacing_folder, unfinished_name, write_bytes, write_json, write_text
from pmd_jax.runtime.orbax_io import load_tree, save_tree


class SavedModel(NamedTuple):
    """What an export folder holds."""

    method: str  # its name
    config: Config
    network: Network
    weights: Weights
    crop_margin: float = cropping.MARGIN  # of its training crops (`cropping.crop_margin`)


def copy(source: Path, folder: Path) -> None:
    """Copies an export folder, replacing what is there; whole or not at all."""
    with _written(folder), replacing_folder(folder) as unfinished:
        shutil.copytree(source, unfinished, dirs_exist_ok=True)


def save(
    folder: Path,
    method: str,
    config: Config,
    weights: Weights,
    labels: Iterable[str] = (),
    crop_margin: float = cropping.MARGIN,
) -> None:
    """Writes a network to `folder`, replacing what is there; whole or not at all.

    Every process must call this, for each may hold a part of the arrays.

    Args:
        method: its name.
        labels: keys of the samples whose labels it was trained on; they go along where there are some (teachers).
        crop_margin: of its training crops (`cropping.crop_margin`).

    Raises:
        CheckpointError: it cannot be written.
    """
    place = replacing_folder(folder) if jax.process_index() == 0 else nullcontext(unfinished_name(folder))
    with _written(folder), place as unfinished:
        write(unfinished, method, config, weights, labels, crop_margin)


def write(
    folder: Path, method: str, config: Config, weights: Weights, labels: Iterable[str], crop_margin: float
) -> None:
    """The files of a network, into a folder that may hold others. Called and raises as `save`."""
    save_tree(folder / WEIGHTS, weights._asdict())  # whole when this returns, whichever process wrote it
    if jax.process_index() == 0:
        described = {"format": FORMAT, "row": method, "title": METHODS[method].title, "crop_margin": crop_margin}
        if (graph := graph_of(method, config, weights)) is not None:
            write_bytes(folder / GRAPH, graph)
            described["graph_sha256"] = hashlib.sha256(graph).hexdigest()
        write_json(folder / DESCRIPTION, {**described, "config": to_dict(config)})
        if keys := sorted(labels):
            write_text(folder / LABELS_FILE, "\n".join(keys) + "\n")
        # The graph has a hash in the description: without it, or with another one, the weights are still the network.
        digest.write(folder, (DESCRIPTION, WEIGHTS, LABELS_FILE))


def graph_of(method: str, config: Config, weights: Weights) -> bytes | None:
    """The network as an ONNX graph, with which CPUs predict; None for a teacher, or without the package onnx."""
    if METHODS[method].modality != "rgb" or importlib.util.find_spec("onnx") is None:
        return None
    from pmd_jax.models.onnx_graph import to_onnx  # onnx takes a moment to import

    params, batch_stats = jax.device_get((weights.params, weights.batch_stats))
    return to_onnx(params, batch_stats, config.model, METHODS[method].pool).SerializeToString()


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """What a disk refuses, as a sentence that names the folder."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{folder} could not be written ({error}); make room and run again.") from error


def read(folder: str | Path) -> SavedModel:
    """Rebuilds the network of an export folder.

    Raises:
        CheckpointError: the folder is missing or broken, of another version, or its arrays do not fit its description.
    """
    folder = Path(folder)
    described = describe(folder)
    require_readable(folder)
    network, initial = build(described.config, METHODS[described.method], seed=0)
    weights = Weights(**load_tree(folder / WEIGHTS, initial._asdict()))
    return SavedModel(described.method, described.config, network, weights, described.crop_margin)
