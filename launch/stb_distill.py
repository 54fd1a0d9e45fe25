"""STB: depth teacher, then PMD-Net with and without refine module and random block replacement (Table 2).

    python -m pmd_jax.main --config=launch/stb_distill.py

Needs the STB files (the sequence zips and labels.zip, or their unpacked tree) in data/raw/stb, see docs/datasets.md,
and an accelerator.
The paper's figures, EPE mean: PMD-Net 7.46 mm; + refine + random replacement 6.80 mm.
Joint 0 is the palm centre, as labelled; --config.evaluation.joint_0=wrist_from_ring or wrist_from_middle puts a wrist
in its place, in training and evaluation.
"""

from dataclasses import replace

from pmd_jax.config import AugmentConfig, Config, DataConfig, OptimConfig, TeacherConfig


def get_config() -> Config:
    """Section 4.2: Adam 7e-5, ten times lower after 10K iterations; no flips; blocks of 14 pixels."""
    optim = OptimConfig(steps=15_000, learning_rate=7e-5, decay_steps=(10_000,))
    return Config(
        name="stb_distill",
        rows=("depth_teacher", "pmd_net", "pmd_net_refine_replace"),
        data=DataConfig(dataset="stb"),
        augment=AugmentConfig(block_size=14),
        optim=optim,
        teacher=TeacherConfig(optim=replace(optim)),
    )
