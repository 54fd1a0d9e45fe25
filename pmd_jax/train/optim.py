"""The optimiser: PyTorch's Adam with weight decay as the paper used it, and its learning-rate schedules."""

from __future__ import annotations

import optax

from pmd_jax.config import OptimConfig


def schedule(config: OptimConfig) -> optax.Schedule:
    """Learning rate by step (section 4.2: a drop by 10 after 60K iterations on RHD, after 10K on STB)."""
    if config.schedule == "cosine":
        main = optax.cosine_decay_schedule(config.learning_rate, config.steps - config.warmup_steps)
    else:
        drops = {step - config.warmup_steps: config.decay_factor for step in config.decay_steps}
        main = optax.piecewise_constant_schedule(config.learning_rate, drops)
    if config.warmup_steps == 0:
        return main
    warmup = optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)
    return optax.join_schedules([warmup, main], [config.warmup_steps])


def optimizer(config: OptimConfig) -> optax.GradientTransformation:
    """Adam with L2 added to the gradient (what PyTorch's `weight_decay` does), or AdamW if `decoupled`.

    Both decay all parameters, biases and norms too, as PyTorch does when it is given them all.
    """
    if config.decoupled:
        return optax.adamw(schedule(config), weight_decay=config.weight_decay)
    return optax.chain(optax.add_decayed_weights(config.weight_decay), optax.adam(schedule(config)))
