"""Ten minutes on two CPU cores: rendered hands → depth teacher → RGB baseline and PMD-Net → table and report.

    make demo

Needs nothing but the installation. The network, the number of samples and the schedule were chosen on 1,000 validation
hands cut from training (README, "What the demo shows"); baseline and PMD-Net differ in the teacher only.
"""

from dataclasses import replace

from pmd_jax.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, TeacherConfig


def get_config() -> Config:
    optim = OptimConfig(steps=1000, batch=32, learning_rate=2e-3, schedule="cosine", warmup_steps=100)
    # Stage I's loss is α = 100 times smaller than stage II's, and Adam's L2 acts relative to it.
    teacher = replace(optim, weight_decay=optim.weight_decay / 100)
    return Config(
        name="demo",
        data=DataConfig(dataset_config="default", validation=1000),
        augment=AugmentConfig(flip_horizontal=True),
        model=ModelConfig(width=16, blocks=(1, 1, 1, 1), reading="32/16/8/8"),
        optim=optim,
        teacher=TeacherConfig(optim=teacher),
        eval_every=250,
        checkpoint_every=250,
        log_every=10,
    )
