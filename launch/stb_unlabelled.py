"""STB with 3,000 labels: depth teacher, RGB baseline, PMD-Net, and PMD-Net with the pairs that have no label.

    python -m pmd_jax.main --config=launch/stb_unlabelled.py

Needs the STB files as launch/stb_distill.py does, and an accelerator. Crops go around what lies nearest to the camera,
and depths count from the depth map itself, for all rows: an unlabelled pair has no joints to take these from. How many
labels: --config.data.labelled=1000, or a share below 1. STB's pictures are of videos: a labelled one has neighbours
that are almost the same (docs/labels.md). The paper has no figures for this.
"""

from pmd_jax.config import Config
from pmd_jax.config.presets import label_free_inputs, paper

METHODS = ("depth_teacher", "rgb_baseline", "pmd_net", "pmd_net_unlabelled")


def get_config() -> Config:
    config = label_free_inputs(paper("stb", *METHODS, name="stb_unlabelled"))
    config.data.labelled = 3000.0
    return config
