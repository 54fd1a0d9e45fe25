"""RHD: the RGB network without a teacher (Table 2, "RGB Baseline Network").

    python -m pmd_jax.main --config=launch/rhd_baseline.py

Needs the RHD archive, see launch/rhd_distill.py.
The paper's figure, EPE mean: 20.83 mm.
"""

from pmd_jax.config import Config
from pmd_jax.config.presets import paper


def get_config() -> Config:
    return paper("rhd", "rgb_baseline", name="rhd_baseline")
