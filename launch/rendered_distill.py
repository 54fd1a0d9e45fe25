"""The paper's job at full size on rendered hands: ResNet-34 teacher, RGB baseline and PMD-Net.

    python -m pmd_jax.main --config=launch/rendered_distill.py

Needs an accelerator; the data (40,000 training and 2,000 test hands, about 550 MB) are drawn on the first run, in two
minutes on two cores. The paper has no figures for this data set.
"""

from pmd_jax.config import AugmentConfig, Config, DataConfig, TeacherConfig


def get_config() -> Config:
    """RHD's hyper-parameters (section 4.2): rendered hands resemble it most."""
    return Config(
        name="rendered_distill",
        data=DataConfig(dataset="rendered_hands", dataset_config="large"),
        augment=AugmentConfig(flip_horizontal=True, flip_vertical=True, block_size=5),
        teacher=TeacherConfig(start="apart"),
    )
