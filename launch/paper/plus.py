"""PMD-Net plus: each of its parts alone on top of PMD-Net, and the whole without it. Not in the paper.

    python -m pmd_jax.study --config=launch/paper/plus.py:rendered --seeds=3

After the colon stands the data set, one of pmd_jax/config/presets.py: rhd, stb, rendered and its larger sizes.
More seeds for some rows: --seeds=5 --rows=pmd_net,pmd_net_plus,rgb_baseline_plus. To choose values, read on validation
samples with --config.base.data.eval_split=validation and another --results folder.
"""

from pmd_jax.study.plus import plus as get_config
