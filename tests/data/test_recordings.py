"""What is held out has no near-duplicate in training, and rendered hands are drawn as they always were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pmd_jax.config import DataConfig
from pmd_jax.data.dataset import Columns, hold_out
from pmd_jax.data.recordings import GUARD_FRAMES, moment
from pmd_jax.runtime.errors import ConfigError
from reference.made_up_columns import make_columns


def with_keys(keys: list[str]) -> Columns:
    """Samples whose pictures nobody looks at."""
    columns = make_columns(len(keys))
    return replace(columns, key=np.array(keys, object))


def film(sequence: str, frames: int, camera: str = "SK") -> list[str]:
    return [f"stb/train/{sequence}_{camera}_{frame}/left" for frame in range(frames)]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("rendered_hands/train/000012", ("rendered_hands/train/000012", 0)),
        ("rhd/train/00012/left", ("rhd/train/00012", 0)),
        ("stb/train/B2Counting_SK_12/left", ("stb/train/B2Counting", 12)),
        ("stb/train/B2Counting_BB_left_12/left", ("stb/train/B2Counting", 12)),
        ("stb/train/B2Counting_BB_right_12/left", ("stb/train/B2Counting", 12)),
        ("my_hands/train/0001", ("my_hands/train/0001", 0)),
        ("my_hands/train/kitchen_3/0001", ("my_hands/train/kitchen_3", 0)),
        ("my_hands/train/anna/kitchen_3/0001", ("my_hands/train/anna/kitchen_3", 0)),
    ],
)
def test_a_key_names_its_recording(key, expected):
    assert moment(key) == expected


def drawn_singly(columns: Columns, config: DataConfig) -> tuple[list[str], list[str]]:
    """The draw that all committed figures of rendered hands were made with, written down again."""
    order = np.random.Generator(np.random.Philox(0)).permutation(len(columns))
    validation = order[columns.has_label[order]][: config.validation]
    train = order[~np.isin(order, validation)][: config.train_samples or None]
    return columns.key[np.sort(train)].tolist(), columns.key[np.sort(validation)].tolist()


@pytest.mark.parametrize("config", [DataConfig(validation=50), DataConfig(validation=70, train_samples=100)])
def test_single_pictures_are_drawn_as_before(config):
    columns = with_keys([f"rendered_hands/train/{i:06d}" for i in range(300)])
    columns.xyz[:40] = np.nan
    train, validation = hold_out(columns, config)
    assert validation is not None
    assert (train.key.tolist(), validation.key.tolist()) == drawn_singly(columns, config)


def test_both_hands_of_a_picture_stay_together():
    columns = with_keys([f"rhd/train/{i:05d}/{side}" for i in range(60) for side in ("left", "right")])
    train, validation = hold_out(columns, DataConfig(validation=41))
    assert validation is not None
    assert len(validation) == 41
    held_out = {moment(key)[0] for key in validation.key}
    assert len(held_out) == 21
    assert {moment(key)[0] for key in train.key}.isdisjoint(held_out)
    assert len(train) == 120 - 42  # the other hand of the last picture is in neither


@pytest.mark.parametrize("cameras", [("SK",), ("BB_left", "BB_right")])
def test_a_films_neighbours_of_what_is_held_out_are_not_trained_on(cameras):
    columns = with_keys(
        [key for name in ("B2Counting", "B3Random") for camera in cameras for key in film(name, 500, camera)]
    )
    train, validation = hold_out(columns, DataConfig(validation=150))
    assert validation is not None
    assert len(validation) == 150
    taken = [moment(key) for key in validation.key]
    for recording, frame in map(moment, train.key):
        assert min((abs(frame - other) for name, other in taken if name == recording), default=999) > GUARD_FRAMES
    edges = 2 * (150 // (100 * len(cameras)) + 1)
    assert len(columns) - len(train) - 150 <= edges * GUARD_FRAMES * len(cameras) + len(cameras)


def test_a_film_is_held_out_in_runs_of_frames():
    _, validation = hold_out(with_keys(film("B2Counting", 1500)), DataConfig(validation=200))
    assert validation is not None
    frames = np.sort([moment(key)[1] for key in validation.key])
    assert (np.diff(frames) > 1).sum() <= 1
    assert frames[0] % 100 == 0


def test_held_out_recordings_that_leave_too_little():
    columns = with_keys([f"my_hands/train/{scene}/{i:04d}" for scene in ("kitchen", "garden") for i in range(30)])
    train, _ = hold_out(columns, DataConfig(validation=10, train_samples=30))
    assert len({moment(key) for key in train.key}) == 1
    with pytest.raises(ConfigError, match=r"has 60 samples, and 30 of them are of other recordings .* ask for fewer"):
        hold_out(columns, DataConfig(validation=10, train_samples=31))
    with pytest.raises(ConfigError, match="0 of them are of other recordings"):
        hold_out(columns, DataConfig(validation=31))
