"""What "64×64 in, 8×8×512 before the pool" can mean for a ResNet (paper, section 3.1; docs/paper.md, "backbone").

Kept apart from the network so that a configuration can be checked without importing JAX.
"""

CROP_SIZE_PX = 64  # of a side: what every network takes
CROP_SHAPE = (CROP_SIZE_PX, CROP_SIZE_PX, 3)
# name: feature-map sizes after the stem and the stages → (stem kernel, stem stride, stage strides); no max-pool.
BACKBONES = {
    "64/32/16/8": (3, 1, (1, 2, 2, 2)),  # the paper's network, by our reading
    "32/16/8/8": (7, 2, (1, 2, 2, 1)),  # 2.6 times cheaper
}
