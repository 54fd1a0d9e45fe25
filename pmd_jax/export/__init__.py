"""A trained network for other programs: `python -m pmd_jax.export`.

* `formats`: what is written, and how each is read again. `verify`: reads it in a new process and compares.
* `cli`: the command. `model_card`: what one must know of the network.
"""
