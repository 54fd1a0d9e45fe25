"""RHD, stage I alone: the depth teacher (the paper's "Depth baseline", Figure 6).

    python -m pmd_jax.main --config=launch/rhd_teacher.py

Needs the RHD archive, see launch/rhd_distill.py. Students take it by --config.teacher.checkpoint=runs/rhd_teacher.
The paper gives its PCK curve only.
"""

from pmd_jax.config import AugmentConfig, Config, DataConfig


def get_config() -> Config:
    return Config(
        name="rhd_teacher",
        rows=("depth_teacher",),
        data=DataConfig(dataset="rhd"),
        augment=AugmentConfig(flip_horizontal=True, flip_vertical=True),
    )
