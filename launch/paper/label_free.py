"""What crops and depth inputs cost that need no joints. Not in the paper; the label study (labels.py) rests on it.

    python -m pmd_jax.study --config=launch/paper/label_free.py:rendered --seeds=5

After the colon stands the data set, one of pmd_jax/config/presets.py: rhd, stb, rendered and its larger sizes.
"""

from pmd_jax.study.label_efficiency import label_free as get_config
