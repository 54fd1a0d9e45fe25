"""STB, stage I alone: the depth teacher (the paper's "Depth baseline", Figure 6).

    python -m pmd_jax.main --config=launch/stb_teacher.py

Needs the STB files, see launch/stb_distill.py. Students take it by --config.teacher.checkpoint=runs/stb_teacher.
The paper gives its PCK curve only.
"""

from pmd_jax.config import Config
from pmd_jax.config.presets import paper


def get_config() -> Config:
    return paper("stb", "depth_teacher", name="stb_teacher")
