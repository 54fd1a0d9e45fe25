"""The finished network whose weights the students of a run begin with (`config.start_from`)."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from pmd_jax.config import Config
from pmd_jax.config.methods import METHODS, Method
from pmd_jax.models import saved_model
from pmd_jax.models.description import DESCRIPTION
from pmd_jax.models.network import Network, Weights
from pmd_jax.runtime import sharding
from pmd_jax.runtime.errors import CheckpointError
from pmd_jax.runtime.files import given_path
from pmd_jax.runtime.packaged import find


class Start(NamedTuple):
    """A finished RGB network.

    Attributes:
        source: the folder that was named.
        title: of its method.
        weights: on each device.
        digest: of the weights; names them wherever they lie.
    """

    source: str
    title: str
    network: Network
    weights: Weights
    digest: str


def read_start(config: Config, mesh: Mesh) -> Start | None:
    """The network to start from; None where the students begin with drawn weights.

    Raises:
        CheckpointError: it is missing or broken, or a student of the run is another network: says what differs.
    """
    if not config.start_from:
        return None
    given = find(given_path(config.start_from))
    folder = next((place for place in (given, given / "export") if (place / DESCRIPTION).is_file()), None)
    if folder is None:
        raise CheckpointError(
            f"config.start_from = {config.start_from!r}: there is no exported network; give an export folder, or the "
            "folder of a finished run."
        )
    saved = saved_model.read(folder)
    for name in config.rows:
        if METHODS[name].modality == "rgb" and (differs := _differences(saved, METHODS[name], config)):
            raise CheckpointError(
                f"config.start_from = {config.start_from!r}: {name} cannot begin with this network: "
                f"{'; '.join(differs)}. Name a network that agrees, or set these as it has them."
            )
    weights = sharding.replicate(mesh, saved.weights)
    return Start(config.start_from, METHODS[saved.method].title, saved.network, weights, _digest(saved.weights))


def _differences(saved: saved_model.SavedModel, method: Method, config: Config) -> list[str]:
    """What a student has otherwise than the network: whatever its weights or their meaning depend on."""
    theirs, pairs = METHODS[saved.method], {}
    for name in ("modality", "heads", "pool", "refine"):
        pairs[name] = getattr(theirs, name), getattr(method, name)
    for name in ("width", "blocks", "reading", "target_frame"):
        pairs[f"config.model.{name}"] = getattr(saved.config.model, name), getattr(config.model, name)
    pairs["config.evaluation.joint_0"] = saved.config.evaluation.joint_0, config.evaluation.joint_0
    return [f"{name} is {there!r} there and {here!r} here" for name, (there, here) in pairs.items() if there != here]


def _digest(weights: Weights) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()
