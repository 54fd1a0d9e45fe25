"""PMD-Net in JAX: 3D hand pose from one RGB picture, taught by a network that sees depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pmd_jax.predict.predictor import Predictor

__version__ = "0.1.0"


def load(path: str | Path | None = None, engine: str | None = None, threads: int | None = None) -> Predictor:
    """An exported network (None: the demo network) as a function of crops or pictures; see `Predictor`."""
    from pmd_jax.predict import predictor  # JAX is imported only where it is used: preparation does without

    return predictor.load(path, engine, threads)
