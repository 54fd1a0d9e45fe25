"""Table 2, "PMD-Net without 3 sub-networks": one head for all axes, in teacher and student.

    python -m pmd_jax.main --config=launch/paper/table2_pmd_joint.py:rendered

After the colon stands the data set, one of pmd_jax/config/presets.py: rhd, stb, rendered and its larger sizes.
The paper's figures, EPE mean: RHD 16.52 mm, STB 7.60 mm.
"""

from pmd_jax.config import Config
from pmd_jax.config.presets import paper


def get_config(dataset: str = "rendered") -> Config:
    return paper(dataset, "depth_teacher_joint", "pmd_net_joint")
