"""RHD: depth teacher, then PMD-Net with and without refine module and random block replacement (Table 2).

    python -m pmd_jax.main --config=launch/rhd_distill.py

Needs the RHD archive (RHD_v1-1.zip, or its unpacked tree) in data/raw/rhd, see docs/datasets.md, and an accelerator.
The paper's figures, EPE mean: PMD-Net 16.26 mm; + refine + random replacement 16.14 mm.
"""

from pmd_jax.config import AugmentConfig, Config, DataConfig


def get_config() -> Config:
    """Section 4.2: Adam 1e-4, ten times lower after 60K iterations; both flips; blocks of 5 pixels."""
    return Config(
        name="rhd_distill",
        rows=("depth_teacher", "pmd_net", "pmd_net_refine_replace"),
        data=DataConfig(dataset="rhd"),
        augment=AugmentConfig(flip_horizontal=True, flip_vertical=True, block_size=5),
    )
