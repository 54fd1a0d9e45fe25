"""The weight γ of the teacher's pose, and the share of a batch without labels. Not in the paper; see labels.py.

    python -m pmd_jax.study --config=launch/paper/label_weights.py:rendered --seeds=3

After the colon stands the data set, one of pmd_jax/config/presets.py: rhd, stb, rendered and its larger sizes.
Read on validation samples.
"""

from pmd_jax.study.label_efficiency import label_weights as get_config
