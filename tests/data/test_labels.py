"""Samples without labels: which they are, that their labels are gone, batches of both kinds, and the depth's origin."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise

import jax
import numpy as np
import pytest
from conftest import small_config

from pmd_jax.config import DataConfig
from pmd_jax.config.methods import METHODS
from pmd_jax.data.dataset import Columns, hold_out
from pmd_jax.data.depth_origin import RULES, front_origin_m, map_origin_m
from pmd_jax.data.labels import place_depth_origin, subsample_labels, training_subset
from pmd_jax.data.loader import TwoOrders, training_batches
from pmd_jax.runtime.errors import ConfigError, DataError
from pmd_jax.train.splits import Splits, check_seen

UNLABELLED, BASELINE = METHODS["pmd_net_unlabelled"], METHODS["rgb_baseline"]


def with_labels(columns: Columns, wanted: float, seed: int = 0) -> set[str]:
    kept = subsample_labels(columns, wanted, seed)
    return set(kept.key[kept.has_label])


# ---- which labels are kept


@pytest.mark.parametrize(("wanted", "count"), [(1, 1), (10, 10), (48, 48), (0.25, 12), (0.5, 24)])
def test_as_many_labels_as_asked_for(columns, wanted, count):
    kept = subsample_labels(columns, wanted, seed=0)
    assert kept.has_label.sum() == count
    np.testing.assert_array_equal(kept.key, columns.key)


def test_fewer_labels_lie_within_more(columns):
    sets = [with_labels(columns, count) for count in (3, 10, 30, 0.9)]
    assert all(fewer < more for fewer, more in pairwise(sets))


def test_the_choice_follows_the_key_and_the_seed_alone(columns):
    backwards = columns.take(np.arange(len(columns))[::-1])
    assert with_labels(columns, 10) == with_labels(backwards, 10)
    assert with_labels(columns, 10) != with_labels(columns, 10, seed=1)


def test_nothing_of_a_label_is_left(columns):
    kept = subsample_labels(columns, 10, seed=0)
    gone, there = ~kept.has_label, kept.has_label
    for name in ("xyz", "uv", "depth_origin_m"):
        assert np.isnan(getattr(kept, name)[gone]).all()
    assert not kept.visible[gone].any()
    assert not kept.is_left[gone].any()
    for name in Columns.names():
        np.testing.assert_array_equal(getattr(kept, name)[there], getattr(columns, name)[there])
        if name in ("rgb", "depth", "K", "key"):
            assert getattr(kept, name) is getattr(columns, name)


def test_labels_that_are_other_numbers_give_the_same_samples(columns):
    """What the left-out labels say changes nothing at all of what a run gets to see."""
    kept = subsample_labels(columns, 10, seed=0)
    gone = ~kept.has_label
    spoilt = {
        "xyz": np.where(gone[:, None, None], np.float32(7), columns.xyz),
        "uv": np.where(gone[:, None, None], np.float32(7), columns.uv),
        "visible": columns.visible ^ gone[:, None],
        "is_left": columns.is_left ^ gone,
        "depth_origin_m": np.where(gone, np.float32(7), columns.depth_origin_m),
    }
    ours = subsample_labels(replace(columns, **spoilt), 10, seed=0)
    for name in Columns.names():
        np.testing.assert_array_equal(getattr(ours, name), getattr(kept, name))


def test_all_labels_is_the_split_itself(columns):
    assert subsample_labels(columns, 0, seed=0) is columns


@pytest.mark.parametrize("wanted", [49, 1000, 0.001])
def test_more_labels_than_there_are_or_none(columns, wanted):
    with pytest.raises(ConfigError, match=rf"labelled = {wanted:g} comes to .* of the 48 training samples"):
        subsample_labels(columns, wanted, seed=0)


def test_no_label_at_all(columns):
    with pytest.raises(DataError, match="None of the 48 training samples has joints"):
        subsample_labels(nameless(columns, np.arange(48)), 0, seed=0)


def nameless(columns: Columns, rows: np.ndarray) -> Columns:
    """The columns as a builder leaves pairs that nobody has labelled."""
    xyz, uv, visible = columns.xyz.copy(), columns.uv.copy(), columns.visible.copy()
    xyz[rows], uv[rows], visible[rows] = np.nan, np.nan, False
    return replace(columns, xyz=xyz, uv=uv, visible=visible)


def test_pairs_that_nobody_labelled_join_those_left_out(columns):
    kept = subsample_labels(nameless(columns, np.arange(8)), 0.5, seed=0)
    assert kept.has_label.sum() == 20
    assert not kept.has_label[:8].any()


def test_validation_samples_have_labels(columns):
    few = nameless(columns, np.arange(30))
    train, validation = hold_out(few, DataConfig(validation=10))
    assert validation is not None
    assert validation.has_label.all()
    assert len(train) == 38
    assert not set(train.key) & set(validation.key)
    with pytest.raises(ConfigError, match="has 18 samples with joints"):
        hold_out(few, DataConfig(validation=20))


# ---- what a row is trained on


def test_rows_without_use_for_them_get_the_labelled_alone(columns):
    part = training_subset(BASELINE, subsample_labels(columns, 10, seed=0))
    assert len(part) == 10
    assert part.has_label.all()
    assert training_subset(BASELINE, columns) is columns
    assert len(training_subset(UNLABELLED, subsample_labels(columns, 10, seed=0))) == 48


def test_nothing_without_labels(columns):
    with pytest.raises(ConfigError, match=r"all 48 have theirs: set config\.data\.labelled"):
        training_subset(UNLABELLED, columns)


def without_depth(columns: Columns, row: int) -> Columns:
    depth = columns.depth.copy()
    depth[row] = 0
    return replace(columns, depth=depth)


def test_an_unlabelled_pair_without_depth(columns):
    kept = subsample_labels(columns, 10, seed=0)
    blind = int(np.flatnonzero(~kept.has_label)[0])
    with pytest.raises(DataError, match=f"needs depth, and 1 of 48 training samples .* first {kept.key[blind]}"):
        training_subset(UNLABELLED, without_depth(kept, blind))
    training_subset(METHODS["pmd_net"], without_depth(kept, blind))  # it sees the labelled alone


@pytest.mark.parametrize("name", METHODS)
def test_a_row_that_sees_depth_refuses_samples_without(columns, name):
    """Zeros are not depth: a teacher, or whoever asks one, would learn from nothing."""
    blind, sees_depth = without_depth(columns, 3), name.startswith(("depth", "pmd"))
    kept = subsample_labels(blind, 40, seed=0) if METHODS[name].unlabelled else blind
    with pytest.raises(DataError, match=rf"needs depth, .* first {columns.key[3]}") if sees_depth else nullcontext():
        training_subset(METHODS[name], kept)


def test_a_depth_row_refuses_to_be_evaluated_without_depth(columns):
    blind, baseline, distilled = without_depth(columns, 5), ("rgb_baseline",), ("pmd_net",)
    check_seen(small_config(rows=baseline), Splits(blind, blind, blind))
    check_seen(small_config(rows=distilled), Splits(columns, columns, columns))
    for splits, what in ((Splits(columns, None, blind), "test"), (Splits(columns, blind, columns), "validation")):
        with pytest.raises(DataError, match=f"Depth teacher needs depth, and 1 of 48 {what} samples have none"):
            check_seen(small_config(rows=distilled), splits)


# ---- batches


@pytest.mark.parametrize(("share", "count"), [(0.5, 8), (0.75, 12), (0.01, 1), (0.99, 15)])
def test_each_batch_has_its_share_without_labels(columns, share, count):
    kept = subsample_labels(columns, 10, seed=0)
    batches = list(training_batches(kept, steps=9, batch=16, seed=0, unlabelled_share=share))
    assert [int(np.isnan(batch.xyz).all((1, 2)).sum()) for batch in batches] == [count] * 9


def test_two_orders_are_functions_of_seed_and_step(columns):
    has_label = subsample_labels(columns, 10, seed=0).has_label
    order = TwoOrders(has_label, 16, 0.5, seed=3)
    forwards = [order(step) for step in range(8)]
    for step in (7, 0, 3):
        np.testing.assert_array_equal(TwoOrders(has_label, 16, 0.5, seed=3)(step), forwards[step])
    assert not np.array_equal(TwoOrders(has_label, 16, 0.5, seed=4)(0), forwards[0])
    stream = np.concatenate([step[:8] for step in forwards])[:60].reshape(6, 10)
    for epoch in stream:  # every labelled sample once an epoch
        np.testing.assert_array_equal(np.sort(epoch), np.flatnonzero(has_label))


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_both_streams_go_on_where_they_stopped(columns, share):
    kept = subsample_labels(columns, 10, seed=0)
    iterator = training_batches(kept, steps=7, batch=16, seed=0, unlabelled_share=share)
    next(iterator), next(iterator)
    state = iterator.get_state()
    rest = [batch.index.tolist() for batch in iterator]
    halves = []
    for rows in (np.arange(8), np.arange(8, 16)):
        resumed = training_batches(kept, steps=7, batch=16, seed=0, unlabelled_share=share, rows=rows)
        resumed.set_state(state)
        halves.append([batch.index.tolist() for batch in resumed])
    assert [first + second for first, second in zip(*halves, strict=True)] == rest


# ---- the depth's origin


@pytest.mark.parametrize("rule", RULES.values())
def test_the_origin_is_the_median_of_what_is_near(rule):
    """A hand at 0.5 m, a wall at 2 m behind most of the crop, one pixel of noise in front, missing pixels."""
    depth = np.full((1, 64, 64), 20_000, np.uint16)
    depth[0, 16:40, 16:48] = 5_000
    depth[0, 20:24, 20:30] = 5_600
    depth[0, 30, 30], depth[0, 31, 20:40] = 1_000, 0
    assert rule(depth)[0] == pytest.approx(0.5, abs=1e-6)
    moved = np.where(depth > 0, depth + 1_500, 0).astype(np.uint16)
    assert rule(moved)[0] == pytest.approx(0.65, abs=1e-6)


@pytest.mark.parametrize("rule", RULES.values())
def test_the_origin_of_a_crop_with_an_empty_middle_or_nothing(rule):
    depth = np.zeros((2, 64, 64), np.uint16)
    depth[0, :10] = 4_000
    np.testing.assert_allclose(rule(depth), [0.4, 0], atol=1e-6)


@pytest.mark.parametrize("behind_m", [0.09, 0.3, 2.0])
def test_a_surface_behind_the_hand_does_not_move_the_front(behind_m):
    depth = np.zeros((1, 64, 64), np.uint16)
    depth[0, 20:44, 28:36] = 5_000
    depth[0, 30:34, 28:36] = 5_200
    walled = np.where(depth > 0, depth, 5_000 + round(behind_m * 1e4)).astype(np.uint16)
    np.testing.assert_array_equal(front_origin_m(walled), front_origin_m(depth))
    if behind_m < 0.1:
        assert map_origin_m(walled)[0] > map_origin_m(depth)[0] + 0.05


def test_the_front_is_the_same_on_the_device(columns):
    depth = columns.depth.copy()
    depth[2, 10:60, 10:60], depth[3] = 0, 0
    np.testing.assert_array_equal(jax.jit(front_origin_m)(depth), front_origin_m(depth))


def test_the_origin_comes_from_the_map_alone(columns):
    placed = place_depth_origin(subsample_labels(columns, 10, seed=0), "map")
    np.testing.assert_array_equal(placed.depth_origin_m, place_depth_origin(columns, "map").depth_origin_m)
    assert np.isfinite(placed.depth_origin_m).all()
    assert place_depth_origin(columns, "root") is columns
