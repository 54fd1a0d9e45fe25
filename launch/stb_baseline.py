"""STB: the RGB network without a teacher (Table 2, "RGB Baseline Network").

    python -m pmd_jax.main --config=launch/stb_baseline.py

Needs the STB files, see launch/stb_distill.py.
The paper's figure, EPE mean: 9.62 mm.
"""

from dataclasses import replace

from pmd_jax.config import Config, DataConfig, OptimConfig, TeacherConfig


def get_config() -> Config:
    optim = OptimConfig(steps=15_000, learning_rate=7e-5, decay_steps=(10_000,))
    return Config(
        name="stb_baseline",
        rows=("rgb_baseline",),
        data=DataConfig(dataset="stb"),
        optim=optim,
        teacher=TeacherConfig(optim=replace(optim)),
    )
