"""How long a network takes for one picture (paper, Table 3)."""

from __future__ import annotations

import time

import jax
import numpy as np

from pmd_jax.config import Config
from pmd_jax.config.backbones import CROP_SHAPE
from pmd_jax.config.methods import METHODS
from pmd_jax.models.network import build
from pmd_jax.models.saved_model import SavedModel
from pmd_jax.predict.predictor import Predictor, of_saved_model


def ms_per_image(configs: dict[str, Config], repeats: int = 200, warm_up: int = 20) -> dict[str, float]:
    """The median time, in ms, from one crop in memory to its joints in memory; compilation is left out.

    The networks take turns, so that what else the machine does meets all of them alike. They are not trained: the time
    depends on the structure alone.

    Args:
        configs: by name; the first method of each is measured.
    """
    predictors = {name: _predictor(config) for name, config in configs.items()}
    picture = np.random.default_rng(0).integers(0, 256, (1, *CROP_SHAPE), np.uint8)
    times = {name: np.zeros(repeats) for name in predictors}
    for turn in range(-warm_up, repeats):
        for name, predictor in predictors.items():
            began = time.perf_counter()
            predictor(picture)
            if turn >= 0:
                times[name][turn] = time.perf_counter() - began
    return {name: float(1000 * np.median(seconds)) for name, seconds in times.items()}


def _predictor(config: Config) -> Predictor:
    method = config.rows[0]
    network, weights = build(config, METHODS[method], config.seed)
    return of_saved_model(SavedModel(method, config, network, jax.device_get(weights)))
