"""The scaling page says what the code computes, and the arithmetic is that of the page."""

from __future__ import annotations

import jax
import pytest

from benchmarks import scaling
from reference.made_up_columns import make_batch

CLUSTER = scaling.Cluster()


def test_the_page_is_rendered_from_the_code_byte_for_byte():
    begin, end = scaling.MARKS
    assert scaling.PAGE.read_text().split(begin)[1].split(end)[0] == f"\n{scaling.render()}\n"


def test_the_pages_words_have_the_codes_numbers():
    text = " ".join(scaling.PAGE.read_text().split())
    assert f"{scaling.gradient_bytes() / 1e6:.1f} MB / 450 GB/s" in text
    assert f"**batch norm** = {scaling.norm_collectives()} · ⌈log₂ n⌉ · {CLUSTER.hop_s * 1e6:.0f} µs" in text
    peaks = f"operations / {CLUSTER.flops_per_s / 1e12:.0f} TFLOP/s and bytes / {CLUSTER.bytes_per_s / 1e12:.2f} TB/s"
    assert peaks in text
    assert CLUSTER.link_bytes_per_s == 450e9
    assert f"/ {CLUSTER.in_node} / {CLUSTER.network_bytes_per_s / 1e9:.0f} GB/s between nodes" in text
    assert f"summed layer by layer) / {CLUSTER.share}." in text


def test_a_sample_is_as_large_as_it_is():
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(make_batch(2))) == 2 * scaling.SAMPLE_BYTES


def test_one_device_communicates_nothing():
    assert scaling.predict(1, 256, CLUSTER)[1:] == (0, 0)


def test_two_nodes_by_hand():
    step = scaling.predict(16, 64, CLUSTER)
    gradients = 4 * 21_724_415
    assert step.gradients == pytest.approx(2 * 7 / 8 * gradients / 450e9 + 2 * 1 / 2 * gradients / 8 / 50e9)
    assert step.norms == pytest.approx(72 * 4 * 10e-6)


def test_the_cache_saves_computing_alone():
    with_teacher, cached = scaling.predict(8, 256, CLUSTER), scaling.predict(8, 256, CLUSTER, cached=True)
    assert cached.compute < with_teacher.compute
    assert cached[1:] == with_teacher[1:]
