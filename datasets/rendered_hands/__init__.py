"""Rendered hands: RGB, depth, 21 joints and intrinsics of CC0 hands, drawn on the CPU from a seed.

Reading order: `draws` (random numbers), `mesh` (the baked hand), `pose` and `kinematics` (angles to joints), `view`
(camera), `raster` (z-buffer), `light`, `skin` and `background` (what a pixel shows), `plain` (a picture of it),
`generate` (all of it), and the TFDS builder. `bake_hand` made the mesh.

The photo style: `postures` and `viewpoints` (what people do, and from where one sees it), `clothing`, `objects`,
`photo_background` with `photo_scenes` and `paint`, `camera_effects`, and `photo`, which puts them together.
"""
