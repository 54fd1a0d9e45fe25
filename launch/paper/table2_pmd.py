"""Table 2, "PMD-Net".

    python -m pmd_jax.main --config=launch/paper/table2_pmd.py:rendered

After the colon stands the data set, one of pmd_jax/config/presets.py: rhd, stb, rendered and its larger sizes.
The paper's figures, EPE mean: RHD 16.26 mm, STB 7.46 mm.
"""

from pmd_jax.config import Config
from pmd_jax.config.presets import paper


def get_config(dataset: str = "rendered") -> Config:
    return paper(dataset, "depth_teacher", "pmd_net")
