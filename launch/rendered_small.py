"""The demo's small network with every label: depth teacher, RGB baseline and PMD-Net on rendered hands.

    python -m pmd_jax.main --config=launch/rendered_small.py

Needs nothing but the installation; about five minutes on two CPU cores. It is seed 0 of Table 2 in RESULTS.md, and what
to begin from with data of your own (docs/your_data.md).
"""

from pmd_jax.config import Config
from pmd_jax.config.presets import paper


def get_config() -> Config:
    config = paper("rendered", "depth_teacher", "rgb_baseline", "pmd_net", name="rendered_small")
    config.eval_every = config.checkpoint_every = 250
    config.log_every = 10
    return config
