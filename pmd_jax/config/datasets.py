"""What must be known of a data set before it is read."""

from __future__ import annotations

WITH_MASK_BOX = ("rendered_hands", "rhd", "stb")  # data sets with configurations whose crops need no joints

PALM_DATASETS = ("stb",)  # their joint 0 is the palm centre, not the wrist
# How others make a wrist of the palm centre: (MCP to start from, how many times as far from it as the palm).
WRIST_RULES = {"wrist_from_ring": (13, 2.0), "wrist_from_middle": (9, 2.2)}
