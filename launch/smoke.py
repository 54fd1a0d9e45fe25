"""All stages on a few hundred rendered hands, in under three minutes on two cores: does everything work?

    python -m pmd_jax.main --config=launch/smoke.py

Needs nothing but the installation. The figures it prints mean nothing.
"""

from dataclasses import replace

from pmd_jax.config import Config, DataConfig, ModelConfig, OptimConfig, TeacherConfig


def get_config() -> Config:
    optim = OptimConfig(steps=30, batch=32, learning_rate=1e-3, decay_steps=(20,))
    return Config(
        name="smoke",
        data=DataConfig(dataset_config="smoke", validation=64),
        model=ModelConfig(width=8, blocks=(1, 1, 1, 1), reading="32/16/8/8"),
        optim=optim,
        teacher=TeacherConfig(optim=replace(optim)),
        eval_batch=64,
        eval_every=15,
        checkpoint_every=10,
        log_every=5,
    )
