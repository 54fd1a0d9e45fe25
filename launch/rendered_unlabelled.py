"""The demo three times as long: where 3,000 labels run out, pairs without labels pay most.

    python -m pmd_jax.main --config=launch/rendered_unlabelled.py

Needs nothing but the installation; about twenty minutes on two CPU cores. It is seed 0 of RESULTS.md's "How few labels
will do". How many labels: --config.data.labelled=1000, or a share below 1.
"""

from pmd_jax.config import Config
from pmd_jax.config.presets import label_free_inputs, paper, scale_schedule
from pmd_jax.study.label_efficiency import ENOUGH

METHODS = ("depth_teacher", "rgb_baseline", "pmd_net", "pmd_net_unlabelled")


def get_config() -> Config:
    config = scale_schedule(
        label_free_inputs(paper("rendered", *METHODS, name="rendered_unlabelled")), ENOUGH["rendered"]
    )
    config.data.labelled = 3000.0
    return config
