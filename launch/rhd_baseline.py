"""RHD: the RGB network without a teacher (Table 2, "RGB Baseline Network").

    python -m pmd_jax.main --config=launch/rhd_baseline.py

Needs the RHD archive, see launch/rhd_distill.py.
The paper's figure, EPE mean: 20.83 mm.
"""

from pmd_jax.config import AugmentConfig, Config, DataConfig


def get_config() -> Config:
    return Config(
        name="rhd_baseline",
        rows=("rgb_baseline",),
        data=DataConfig(dataset="rhd"),
        augment=AugmentConfig(flip_horizontal=True, flip_vertical=True),
    )
