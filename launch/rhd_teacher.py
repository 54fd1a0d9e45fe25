"""RHD, stage I alone: the depth teacher (the paper's "Depth baseline", Figure 6).

    python -m pmd_jax.main --config=launch/rhd_teacher.py

Needs the RHD archive, see launch/rhd_distill.py. Students take it by --config.teacher.checkpoint=runs/rhd_teacher.
The paper gives its PCK curve only.
"""

from pmd_jax.config import Config
from pmd_jax.config.presets import paper


def get_config() -> Config:
    return paper("rhd", "depth_teacher", name="rhd_teacher")
