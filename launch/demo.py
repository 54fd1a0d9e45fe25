"""Five minutes on two CPU cores: rendered hands → depth teacher → RGB baseline and PMD-Net → table and report.

    make demo

Needs nothing but the installation. It is seed 0 of Table 2's study on rendered hands (RESULTS.md): network, samples,
schedule and distillation were chosen on validation hands cut from training (docs/findings.md); baseline and PMD-Net
differ in the teacher only.
"""

from pmd_jax.config import Config
from pmd_jax.presets import paper


def get_config() -> Config:
    config = paper("rendered", "depth_teacher", "rgb_baseline", "pmd_net", name="demo")
    config.eval_every = config.checkpoint_every = 250
    config.log_every = 10
    return config
