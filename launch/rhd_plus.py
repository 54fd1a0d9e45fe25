"""RHD: PMD-Net plus, its depth teacher, and the RGB baseline with all its parts but the teacher.

    python -m pmd_jax.main --config=launch/rhd_plus.py

Needs the RHD archive as launch/rhd_distill.py does, and an accelerator. Heads that read by maps, averaged weights and
what else pmd_jax/config/presets.py names in plus_parts. The paper has no figures for this; its PMD-Net has 16.26 mm.
"""

from pmd_jax.config import Config
from pmd_jax.config.presets import plus


def get_config() -> Config:
    return plus("rhd", "depth_teacher_plus", "rgb_baseline_plus", "pmd_net_plus", name="rhd_plus")
