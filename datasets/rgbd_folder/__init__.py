"""RGB-D recordings of one's own, a folder each (`pmd_jax.data.rgbd_form`), with joints or without."""
