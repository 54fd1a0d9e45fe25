"""Table 1: vanilla PMD-Net, and the refine module with β = 0.1, 0.3, 0.5, 1 and 2.

    python -m pmd_jax.study --config=launch/paper/table1.py:rendered --seeds=3

After the colon stands the data set, one of pmd_jax/config/presets.py: rhd, stb, rendered and its larger sizes.
A single line of it: --rows=beta_0_1.
"""

from pmd_jax.study.paper_tables import table1 as get_config
