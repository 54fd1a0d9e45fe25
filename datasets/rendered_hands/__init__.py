"""Rendered hands: RGB, depth, 21 joints and intrinsics of CC0 hands, drawn on the CPU from a seed.

Reading order: `draws` (random numbers), `mesh` (the baked hand), `pose` and `kinematics` (angles to joints), `view`
(camera), `raster` (z-buffer), `light`, `skin` and `background` (what a pixel shows), `generate` (all of it), and the
TFDS builder. `bake_hand` made the mesh.
"""
