"""The network that comes with the repository."""

from __future__ import annotations

import json

import numpy as np
import pytest

import pmd_jax
from pmd_jax.config import EvaluationConfig
from pmd_jax.data import hand
from pmd_jax.evaluate import metrics
from pmd_jax.predict.predictor import DEMO
from pmd_jax.prepare import registry

registry.register_datasets()

from pmd_datasets.rendered_hands import generate  # noqa: E402

LIMIT_BYTES = 8e6
TEST_SEED = 1  # of the test split (`split_seed`)


def test_it_is_small():
    assert sum(path.stat().st_size for path in DEMO.rglob("*")) < LIMIT_BYTES


def test_it_is_as_good_as_its_card_says():
    """On the first 200 of the 2,000 test hands; the mean of 200 hands scatters by about 1.5 mm."""
    hands = generate.render(TEST_SEED, range(200), generate.Settings())
    truth = hand.normalise(hands["xyz"])
    predicted_m = np.asarray(hand.denormalise(truth._replace(pose=pmd_jax.load()(hands["rgb"]))))
    epe_mm = metrics.evaluate(predicted_m, hands["xyz"], EvaluationConfig())["epe_mm"]
    [row] = [
        row for row in json.loads((DEMO / "results.json").read_text())["rows"].values() if row["title"] == "PMD-Net"
    ]
    assert epe_mm == pytest.approx(row["epe_mm"], abs=4)
    assert f"| {row['epe_mm']:.2f} |" in (DEMO / "MODEL_CARD.md").read_text()
