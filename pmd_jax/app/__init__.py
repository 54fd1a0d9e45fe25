"""A page on this machine, an image or the camera in, a hand out: `python -m pmd_jax.app`.

* `server`: the page, its requests, and the command.
"""
