"""The prepared example: what every data set builder writes, so that nothing downstream knows which data set it reads.

A crop of S × S pixels around one hand. Frames and joint order are those of `pmd_jax.data.hand`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from pmd_jax.data.hand import NUM_JOINTS
from pmd_jax.data.records import PREPARED_KEYS


def prepared_features(size: int) -> tfds.features.FeaturesDict:
    """The features of a prepared example with crops of `size` pixels.

    Raw bytes in place of the default encodings: five times as fast to write, and no picture codec (TensorFlow) needed.
    """

    def tensor(shape: tuple[int, ...], dtype: type, doc: str) -> tfds.features.Tensor:
        return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes", doc=doc)

    return tfds.features.FeaturesDict(
        {
            "rgb": tensor((size, size, 3), np.uint8, "crop around the hand, sRGB"),
            "depth": tensor((size, size), np.uint16, "0.1 mm, in the colour camera, 0 = not measured"),
            "xyz": tensor((NUM_JOINTS, 3), np.float32, "metres, camera frame: x right, y down, z forward"),
            "uv": tensor((NUM_JOINTS, 2), np.float32, "pixels of the crop, centres at integers"),
            "visible": tensor((NUM_JOINTS,), np.bool_, "labelled and seen"),
            "K": tensor((3, 3), np.float32, "intrinsics of the crop: K·xyz/z = uv"),
            "is_left": tfds.features.Scalar(np.bool_, doc="anatomical side"),
            "key": tfds.features.Text(doc="data set, split, frame, hand"),
        }
    )


def split_batch(batch: Mapping[str, np.ndarray], keys: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Batched arrays to the `(key, example)` pairs that a builder yields; other entries of `batch` are left out.

    Raises:
        ValueError: the number of keys is not the batch size.
    """
    columns = {name: batch[name] for name in PREPARED_KEYS if name != "key"}
    for name, column in columns.items():
        if len(column) != len(keys):
            raise ValueError(f"{len(keys)} keys for {len(column)} rows of {name!r}; give each row its own key.")
    for row, key in enumerate(keys):
        yield key, {name: column[row] for name, column in columns.items()} | {"key": key}
