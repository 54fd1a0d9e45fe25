"""PMD-Net plus where most samples have no label: whether the teacher's gain stays. Not in the paper.

    python -m pmd_jax.study --config=launch/paper/plus_labels.py:rendered --seeds=3

After the colon stands the data set, one of pmd_jax/config/presets.py: rhd, stb, rendered and its larger sizes.
"""

from pmd_jax.study.plus import plus_labels as get_config
