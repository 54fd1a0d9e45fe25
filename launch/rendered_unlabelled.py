"""Rendered hands with 3,000 labels: depth teacher, RGB baseline, PMD-Net, and PMD-Net with unlabelled pairs.

    python -m pmd_jax.main --config=launch/rendered_unlabelled.py

Needs nothing but the installation; about twenty minutes on two CPU cores. Crops go around the hand's mask, and depths
count from the depth map itself, for all rows: an unlabelled pair has no joints to take these from. How many labels:
--config.data.labelled=1000, or a share below 1. RESULTS.md has the figures over seeds.
"""

from pmd_jax.config import Config
from pmd_jax.presets import paper, without_joints

ROWS = ("depth_teacher", "rgb_baseline", "pmd_net", "pmd_net_unlabelled")


def get_config() -> Config:
    config = without_joints(paper("rendered", *ROWS, name="rendered_unlabelled"))
    config.data.labelled = 3000
    return config
