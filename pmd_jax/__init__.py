"""PMD-Net in JAX: 3D hand pose from one RGB picture, taught by a network that sees depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pmd_jax.export import Predictor

__version__ = "0.1.0"


def load(folder) -> Predictor:
    """An exported network as a function of uint8 crops (B,64,64,3) to joints (B,21,3); see `pmd_jax.export.load`."""
    from pmd_jax import export  # JAX is imported only where it is used: preparation does without

    return export.load(folder)
