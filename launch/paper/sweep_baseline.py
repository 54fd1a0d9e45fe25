"""Loss scale and weight decay of the RGB baseline, which the paper leaves open.

    python -m pmd_jax.study --config=launch/paper/sweep_baseline.py:rendered --seeds=3

After the colon stands the data set, one of pmd_jax/presets.py: rhd, stb, rendered and its larger sizes.
Read on validation samples.
"""

from pmd_jax.studies import Study, sweep_baseline


def get_config(dataset: str = "rendered") -> Study:
    return sweep_baseline(dataset)
