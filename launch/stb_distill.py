"""STB: depth teacher, then PMD-Net with and without refine module and random block replacement (Table 2).

    python -m pmd_jax.main --config=launch/stb_distill.py

Needs the STB files (the sequence zips and labels.zip, or their unpacked tree) in data/raw/stb, see docs/datasets.md,
and an accelerator.
The paper's figures, EPE mean: PMD-Net 7.46 mm; + refine + random replacement 6.80 mm.
Joint 0 is the palm centre, as labelled; --config.evaluation.joint_0=wrist_from_ring or wrist_from_middle puts a wrist
in its place, in training and evaluation.
"""

from pmd_jax.config import Config
from pmd_jax.config.presets import paper


def get_config() -> Config:
    return paper("stb", "depth_teacher", "pmd_net", "pmd_net_refine_replace", name="stb_distill")
