"""Six minutes on two CPU cores: 16,000 pairs of RGB and depth, of which 3,000 have labels → table and report.

    make demo

Needs nothing but the installation. The depth teacher, the RGB baseline and PMD-Net learn from the labelled pairs; the
last row also learns what the teacher says of the others. It is seed 0 of the study "Few labels and longer training"
(RESULTS.md): network, schedule and distillation were chosen on validation hands cut from training (docs/findings.md).
Crops go around the hand's mask, and depths count from the depth map itself, for all rows: a pair without labels has no
joints to take these from.
"""

from pmd_jax.config import Config
from pmd_jax.config.presets import label_free_inputs, paper

METHODS = ("depth_teacher", "rgb_baseline", "pmd_net", "pmd_net_unlabelled")


def get_config() -> Config:
    config = label_free_inputs(paper("rendered", *METHODS, name="demo"))
    config.data.dataset_config = "demo_mask_box"  # the samples of the study, without those that it does not use
    config.data.labelled = 3000.0
    config.eval_every = config.checkpoint_every = 250
    config.log_every = 10
    return config
