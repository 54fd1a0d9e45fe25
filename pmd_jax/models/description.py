"""What a saved model's folder holds, by its network.json; read without JAX."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from pmd_jax.config import Config, from_dict
from pmd_jax.config.methods import METHODS
from pmd_jax.data import cropping
from pmd_jax.runtime.digest import require_whole
from pmd_jax.runtime.errors import CheckpointError
from pmd_jax.runtime.files import read_text

FORMAT = 1
DESCRIPTION, WEIGHTS, LABELS_FILE, GRAPH = "network.json", "weights", "labels.txt", "network.onnx"


class Description(NamedTuple):
    """What is needed to rebuild the network."""

    method: str  # its name
    config: Config
    crop_margin: float = cropping.MARGIN  # of its training crops (`cropping.crop_margin`)
    graph_sha256: str | None = None  # of `GRAPH`, where there is one


def describe(folder: Path) -> Description:
    """The description of a whole folder: its files are what was saved.

    Raises:
        CheckpointError: the folder is missing or broken, or of another version.
    """
    description = folder / DESCRIPTION
    require_whole(folder)
    try:
        described = json.loads(read_text(description))
        if described["format"] != FORMAT:
            raise CheckpointError(
                f"{folder} has export format {described['format']}, this version reads {FORMAT}; export it again."
            )
        method, config = described["row"], from_dict(described["config"])
        margin = float(described.get("crop_margin", cropping.MARGIN))  # older ones were all cropped around joints
        if method not in METHODS:
            raise KeyError(method)
        if not 0 < margin < 100:  # also false for NaN
            raise ValueError(f"crop_margin = {margin}")
        graph = described.get("graph_sha256")
        if graph is not None and not isinstance(graph, str):
            raise TypeError(f"graph_sha256 = {graph}")
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
    return Description(method, config, margin, graph)


def require_readable(folder: Path) -> None:
    """Orbax says of weights that it may not read what it says of broken ones.

    Raises:
        CheckpointError: a file or folder may not be read.
    """
    for path in (folder, *sorted(folder.rglob("*"))):
        if not os.access(path, os.R_OK):
            raise CheckpointError(f"{path} may not be read by you; ask its owner for the right to read it.")
