"""Loss scale and weight decay of the RGB baseline, which the paper leaves open.

    python -m pmd_jax.study --config=launch/paper/sweep_baseline.py:rendered --seeds=3

After the colon stands the data set, one of pmd_jax/config/presets.py: rhd, stb, rendered and its larger sizes.
Read on validation samples.
"""

from pmd_jax.study.paper_tables import sweep_baseline as get_config
