"""Table 3: the test time of three structures. Trains nothing and takes a minute.

    python -m pmd_jax.study --config=launch/paper/table3.py:rendered --seeds=3

After the colon stands the data set, one of pmd_jax/config/presets.py: rhd, stb, rendered and its larger sizes.
The paper's figures: 5.90, 6.01 and 6.09 ms an image.
"""

from pmd_jax.study.paper_tables import table3 as get_config
