"""The network that comes with the repository as checkpoints/demo: the demo's, trained longer and for pictures.

    python -m pmd_jax.main --config=launch/demo_network.py

Needs nothing but the installation; about half an hour on two CPU cores. All 39,000 hands that are left for training,
boxes that do not fit and other light (pmd_jax/data/jitter.py). Its card is checkpoints/demo/MODEL_CARD.md.
"""

from pmd_jax.config import Config
from pmd_jax.config.presets import paper


def get_config() -> Config:
    config = paper("rendered", "depth_teacher", "pmd_net", name="demo_network")
    config.data.train_samples = 0
    config.teacher.optim.steps = 3000
    config.optim.steps = 6000
    config.augment.box_shift, config.augment.box_scale, config.augment.light = 0.1, 1.25, 0.2
    config.eval_every = 1000
    return config
