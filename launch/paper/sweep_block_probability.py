"""The probability of block replacement, which the paper chose and shows no figures of.

    python -m pmd_jax.study --config=launch/paper/sweep_block_probability.py:rendered --seeds=3

After the colon stands the data set, one of pmd_jax/config/presets.py: rhd, stb, rendered and its larger sizes.
Read on validation samples.
"""

from pmd_jax.study.paper_tables import sweep_block_probability as get_config
