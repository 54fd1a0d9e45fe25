"""Two splits as one: the labelled samples are where they were, and no label of the second is left."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pmd_jax.config.methods import METHODS
from pmd_jax.data.column_files import Column
from pmd_jax.data.dataset import Columns
from pmd_jax.data.depth_origin import map_origin_m
from pmd_jax.data.inputs import Batch
from pmd_jax.data.joined import JoinedColumn, join
from pmd_jax.data.labels import place_depth_origin, training_subset, without_labels
from pmd_jax.data.loader import training_batches
from reference.made_up_columns import make_columns


@pytest.fixture(scope="module")
def second() -> Columns:
    return make_columns(20, seed=7)


def bare(columns: Columns) -> Columns:
    return place_depth_origin(without_labels(columns, np.ones(len(columns), bool)), "map")


def assert_same(ours: Batch, theirs: Batch, but: tuple[str, ...] = ()) -> None:
    for name in set(Batch._fields) - set(but):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


@pytest.mark.parametrize(
    "index", [3, -1, slice(None), slice(40, 60, 3), np.array([67, 0, 48, 47, 48]), np.zeros(0, int)]
)
def test_rows_are_counted_through(columns, second, index):
    joined = JoinedColumn([columns.rgb, Column(second.rgb)])
    whole = np.concatenate([columns.rgb, second.rgb])
    assert (len(joined), joined.shape, joined.dtype, joined.nbytes) == (68, whole.shape, np.uint8, whole.nbytes)
    np.testing.assert_array_equal(joined[index], whole[index])
    backwards = joined.take(np.arange(68)[::-2])
    np.testing.assert_array_equal(np.asarray(backwards), whole[::-2])
    np.testing.assert_array_equal(backwards.take(np.array([5, 30]))[1], whole[::-2][30])


def test_the_labelled_samples_are_where_they_were(columns, second):
    both = join(columns, bare(second))
    index = np.array([0, 30, 47])
    assert_same(both.gather(index), columns.gather(index))
    assert_same(
        both.gather(index % 20 + 48), bare(second).gather(index % 20), but=("index", "xyz", "uv", "depth_origin_m")
    )
    np.testing.assert_array_equal(both.has_label, np.arange(68) < 48)
    assert np.shares_memory(both.rgb._parts[0], columns.rgb)


def test_who_learns_from_labels_alone_sees_what_it_saw_without_the_second(columns, second):
    """The same samples with the same indices, so the same order and draws: the same bits."""
    part = training_subset(METHODS["depth_teacher"], join(columns, bare(second)))
    ours, theirs = (training_batches(each, steps=3, batch=16, seed=0) for each in (part, columns))
    for batch, expected in zip(ours, theirs, strict=True):
        assert_same(batch, expected)


def test_a_share_of_each_batch_is_of_the_second(columns, second):
    part = training_subset(METHODS["pmd_net_unlabelled"], join(columns, bare(second)))
    for batch in training_batches(part, steps=5, batch=16, seed=0, unlabelled_share=0.25):
        assert (batch.index >= 48).sum() == 4
        assert np.isnan(batch.xyz[batch.index >= 48]).all()
        assert np.isfinite(batch.depth_origin_m).all()


def test_labels_of_the_second_change_nothing(columns, second):
    """Whatever they say, what a run gets is the same."""
    n = len(second)
    spoilt = replace(
        second,
        **{"xyz": np.full_like(second.xyz, 7), "uv": np.full_like(second.uv, 7), "visible": ~second.visible},
        **{"is_left": ~second.is_left, "depth_origin_m": np.full(n, 7, np.float32)},
    )
    ours, theirs = (join(columns, bare(each)) for each in (second, spoilt))
    assert_same(ours.gather(np.arange(48 + n)), theirs.gather(np.arange(48 + n)))


def test_facts_stay_where_both_have_them(columns, second):
    def with_facts(each: Columns) -> Columns:
        return replace(each, facts={"map_origin_m": map_origin_m(each.depth)})

    both = join(with_facts(columns), with_facts(second))
    np.testing.assert_array_equal(both.facts["map_origin_m"], join(columns, second).fact("map_origin_m", map_origin_m))
    assert not join(with_facts(columns), second).facts
