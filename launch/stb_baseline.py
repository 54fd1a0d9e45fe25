"""STB: the RGB network without a teacher (Table 2, "RGB Baseline Network").

    python -m pmd_jax.main --config=launch/stb_baseline.py

Needs the STB files, see launch/stb_distill.py.
The paper's figure, EPE mean: 9.62 mm.
"""

from pmd_jax.config import Config
from pmd_jax.config.presets import paper


def get_config() -> Config:
    return paper("stb", "rgb_baseline", name="stb_baseline")
