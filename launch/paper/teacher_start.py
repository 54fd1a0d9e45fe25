"""Teacher and student that start from the same numbers, and from others. Not in the paper, which is silent on it.

    python -m pmd_jax.study --config=launch/paper/teacher_start.py:rendered --seeds=3

After the colon stands the data set, one of pmd_jax/config/presets.py: rhd, stb, rendered and its larger sizes.
"""

from pmd_jax.study.teacher_start import teacher_start as get_config
