"""How long a network takes for one crop (paper, Table 3)."""

from __future__ import annotations

import functools

import jax
import numpy as np

from pmd_jax.config import Config
from pmd_jax.config.backbones import CROP_SHAPE
from pmd_jax.config.methods import METHODS
from pmd_jax.models.network import build
from pmd_jax.models.saved_model import SavedModel
from pmd_jax.predict.predictor import Predictor, of_saved_model
from pmd_jax.runtime.timing import by_turns

CALLS = 11  # a turn, the first of which does not count


def ms_per_image(configs: dict[str, Config], rounds: int = 20) -> dict[str, float]:
    """The median time, in ms, from one crop in memory to its joints in memory; compilation is left out.

    The networks take turns (`timing.by_turns`). They are not trained: the time depends on the structure alone.

    Args:
        configs: by name; the first method of each is measured.
        rounds: turns of `CALLS` calls for each network.
    """
    crop = np.random.default_rng(0).integers(0, 256, (1, *CROP_SHAPE), np.uint8)
    programs = {name: functools.partial(_predictor(config), crop) for name, config in configs.items()}
    return {name: 1000 * call_s for name, call_s in by_turns(programs, seconds=0, rounds=rounds, calls=CALLS).items()}


def _predictor(config: Config) -> Predictor:
    method = config.rows[0]
    network, weights = build(config, METHODS[method], config.seed)
    return of_saved_model(SavedModel(method, config, network, jax.device_get(weights)))
