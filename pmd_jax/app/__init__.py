"""A page on this machine, a picture or the camera in, a hand out: `python -m pmd_jax.app`."""
