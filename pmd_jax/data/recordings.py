"""Which samples were taken together: what is held out must have no near-duplicate in training.

Two frames of a film a blink apart show the same pose, and two hands of one picture the same light and room. A sample's
key (data set, split, frame, hand) tells them; nothing else has to be stored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64

from pmd_jax.config.datasets import info

BLOCK_FRAMES = 100  # of a film, held out together
GUARD_FRAMES = 30  # of a film, on each side of what is held out: neither trained on nor held out


def drawing_order(samples: int, seed: int = 0) -> Int64[np.ndarray, " n"]:
    """The order in which samples of a training split are held out and chosen; the same for every run."""
    return np.random.Generator(np.random.Philox(seed)).permutation(samples)


def moment(key: str) -> tuple[str, int]:
    """The recording that a sample belongs to, and its frame's number where the recording is a film.

    * STB: its sequence is a film.
    * Keys of three parts (`rendered_hands/train/000012`): each sample is a recording of its own.
    * Keys of more (`rhd/train/00012/left`, `my_hands/train/kitchen_3/0001`): all but the last part name the recording.
    """
    pattern = info(key.partition("/")[0]).film_key
    film = re.fullmatch(pattern, key) if pattern else None
    if film:
        return film[1], int(film[2])
    return (key.rpartition("/")[0] if key.count("/") > 2 else key), 0


class Recordings:
    """The recordings of a split's samples."""

    def __init__(self, keys: Sequence[str]):
        moments = [moment(key) for key in keys]
        names = {name: number for number, name in enumerate(dict.fromkeys(name for name, _ in moments))}
        self._recording = np.array([names[name] for name, _ in moments], np.int64)
        self._frame = np.array([frame for _, frame in moments], np.int64)

    def together(self, order: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """An order of all samples in which a recording's, or a film's block's, follow each other.

        Each comes where its first sample came, and within it the frames run on. Where every sample is a recording of
        its own, nothing changes.
        """
        _, block = np.unique(np.stack([self._recording, self._frame // BLOCK_FRAMES]), axis=1, return_inverse=True)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        first = np.full(block.max() + 1, len(order), np.int64)
        np.minimum.at(first, block.reshape(-1), place)
        return np.lexsort((place, self._frame, first[block.reshape(-1)]))

    def near(self, chosen: Int64[np.ndarray, " m"]) -> Bool[np.ndarray, " n"]:
        """Which samples are `chosen`, of the same recording, or, in a film, at most `GUARD_FRAMES` away."""
        if not len(chosen):
            return np.zeros(len(self._frame), bool)
        # One line of time for all: recordings lie further apart than frames that count as near.
        time = self._recording * (int(self._frame.max()) + 2 * GUARD_FRAMES + 1) + self._frame
        taken = np.sort(time[chosen])
        after = np.searchsorted(taken, time).clip(0, len(taken) - 1)
        before = (after - 1).clip(0)
        return np.minimum(abs(taken[after] - time), abs(taken[before] - time)) <= GUARD_FRAMES
