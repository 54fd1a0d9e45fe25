"""STB, stage I alone: the depth teacher (the paper's "Depth baseline", Figure 6).

    python -m pmd_jax.main --config=launch/stb_teacher.py

Needs the STB files, see launch/stb_distill.py. Students take it by --config.teacher.checkpoint=runs/stb_teacher.
The paper gives its PCK curve only.
"""

from dataclasses import replace

from pmd_jax.config import Config, DataConfig, OptimConfig, TeacherConfig


def get_config() -> Config:
    optim = OptimConfig(steps=15_000, learning_rate=7e-5, decay_steps=(10_000,))
    return Config(
        name="stb_teacher",
        rows=("depth_teacher",),
        data=DataConfig(dataset="stb"),
        optim=optim,
        teacher=TeacherConfig(optim=replace(optim)),
    )
