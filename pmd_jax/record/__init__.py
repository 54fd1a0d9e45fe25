"""A depth camera's colour and depth to disk, in the folder form: `python -m pmd_jax.record`.

* `camera`: what a camera is here. `realsense`: Intel's, or a file recorded from one.
* `writer`: frames as files, each whole or not there. `session`: from camera to writer until somebody stops it.
* `page`: colour and depth side by side on a local page. `cli`: the command.
"""
