"""Table 2, all rows, and Figures 6 and 7, which are made of them.

    python -m pmd_jax.study --config=launch/paper/table2.py:rendered --seeds=3

After the colon stands the data set, one of pmd_jax/config/presets.py: rhd, stb, rendered and its larger sizes.
The paper's figures stand in pmd_jax/config/methods.py. A part of it: --rows=rgb_baseline,pmd_net.
"""

from pmd_jax.study.paper_tables import table2 as get_config
