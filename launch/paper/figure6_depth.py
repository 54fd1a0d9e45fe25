"""Figure 6, "Depth baseline": stage I alone.

    python -m pmd_jax.main --config=launch/paper/figure6_depth.py:rendered

After the colon stands the data set, one of pmd_jax/config/presets.py: rhd, stb, rendered and its larger sizes.
The paper shows its PCK curve only.
"""

from pmd_jax.config import Config
from pmd_jax.config.presets import paper


def get_config(dataset: str = "rendered") -> Config:
    return paper(dataset, "depth_teacher")
