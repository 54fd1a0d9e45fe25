"""What a run is told: the configuration's fields, their limits, and the methods and data sets they can name.

Public: the dataclasses (`Config` and its groups), `validate`, `to_dict`, `from_dict`, `config_hash`, `differences`.

* `schema`, `validation`, `serialization`: the fields, their limits, and how they are saved and named.
* `methods`: the networks that are compared. `presets`: the paper's hyper-parameters. `backbones`, `datasets`: facts.

Nothing here imports JAX.
"""

from pmd_jax.config.datasets import cropped_without_joints
from pmd_jax.config.schema import (
    AugmentConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    TeacherConfig,
    UnlabelledConfig,
)
from pmd_jax.config.serialization import config_hash, differences, from_dict, to_dict
from pmd_jax.config.validation import validate
from pmd_jax.runtime.errors import ConfigError

__all__ = [
    "AugmentConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "EvaluationConfig",
    "LossConfig",
    "ModelConfig",
    "OptimConfig",
    "TeacherConfig",
    "UnlabelledConfig",
    "config_hash",
    "cropped_without_joints",
    "differences",
    "from_dict",
    "to_dict",
    "validate",
]
