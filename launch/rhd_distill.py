"""RHD: depth teacher, then PMD-Net with and without refine module and random block replacement (Table 2).

    python -m pmd_jax.main --config=launch/rhd_distill.py

Needs the RHD archive (RHD_v1-1.zip, or its unpacked tree) in data/raw/rhd, see docs/datasets.md, and an accelerator.
The paper's figures, EPE mean: PMD-Net 16.26 mm; + refine + random replacement 16.14 mm.
"""

from pmd_jax.config import Config
from pmd_jax.config.presets import paper


def get_config() -> Config:
    return paper("rhd", "depth_teacher", "pmd_net", "pmd_net_refine_replace", name="rhd_distill")
