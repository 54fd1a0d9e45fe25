"""Table 2, "RGB Baseline Network": no teacher. Its other rows: table2.py with --rows=pmd_net, say.

    python -m pmd_jax.main --config=launch/paper/table2_rgb_baseline.py:rendered

After the colon stands the data set, one of pmd_jax/config/presets.py: rhd, stb, rendered and its larger sizes.
The paper's figures, EPE mean: RHD 20.83 mm, STB 9.62 mm.
"""

from pmd_jax.config import Config
from pmd_jax.config.presets import paper


def get_config(dataset: str = "rendered") -> Config:
    return paper(dataset, "rgb_baseline")
