"""EPE against the number of labels, with and without the unlabelled rest. Not in the paper; its loss allows it.

    python -m pmd_jax.study --config=launch/paper/labels.py:rendered --seeds=3

After the colon stands the data set, one of pmd_jax/config/presets.py: rhd, stb, rendered and its larger sizes.
A part of it: `--rows=rgb_baseline/3000,pmd_net_unlabelled/3000`.
"""

from pmd_jax.study.label_efficiency import labels as get_config
