"""3,000 labels and a training that is three times as long. Not in the paper; see labels.py.

    python -m pmd_jax.study --config=launch/paper/label_steps.py:rendered --seeds=3

After the colon stands the data set, one of pmd_jax/config/presets.py: rhd, stb, rendered and its larger sizes.
"""

from pmd_jax.study.label_efficiency import label_steps as get_config
