"""Each measurement runs, at the smallest size, and its figures fit together. What they are is not asked."""

from __future__ import annotations

import jax
import pytest
from conftest import small_config

from reference.made_up_columns import make_batch, make_columns

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from benchmarks import inference, input_speed, jax_step, roofline, sweeps, train_step
from benchmarks.torch_step import network
from pmd_jax.config.methods import METHODS
from pmd_jax.models.resnet import parameter_count

TINY = jax_step.Size(small_config(compute_dtype="float32"), 4)


def test_train_step():
    found = train_step.measure(TINY, 0, compiled=False)
    assert found["ratio"]["pytorch_eager"] == found["step_s"]["pytorch_eager"] / found["step_s"]["ours"]
    assert found["images_per_s"]["ours"] == TINY.batch / found["step_s"]["ours"]


def test_the_teachers_cost():
    found = train_step.teachers_cost(TINY, 0)
    assert found["cached_over_baseline"] == found["step_s"]["cached"] / found["step_s"]["baseline"]
    assert found["step_s"].keys() == {"baseline", "cached", "uncached"}


def test_the_same_network_in_three_programs():
    found = inference.measure(TINY, 0, batches=(2,))
    assert found["batch_2"]["ratio"].keys() == {"pytorch", "onnxruntime", "jax"}


def test_both_sides_learn_the_same_number_of_parameters():
    job = jax_step.training(TINY.config, "pmd_net", TINY.batch)
    theirs = network(TINY.config, METHODS["pmd_net"])
    assert parameter_count(job.loop.state(job.carry).params) == sum(
        parameter.numel() for parameter in theirs.parameters()
    )


def test_our_step_learns():
    job = jax_step.training(TINY.config, "pmd_net", TINY.batch)
    losses = [float(job.dispatch(job.batch)[0]) for _ in range(5)]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_growth_with_batch_and_width():
    small, large = sweeps.with_batch(TINY.config, (2, 8), 0)
    assert large["temporary_mb"] > small["temporary_mb"] > 0
    narrow, wide = sweeps.with_width(TINY.config, (4, 8), 2, 0)
    assert wide["parameters"] > narrow["parameters"]
    assert wide["state_mb"] > narrow["state_mb"]


def test_growth_with_data():
    once, thrice = sweeps.with_data(make_columns(8), (1, 3), 4, 0)
    assert (once["samples"], thrice["samples"]) == (8, 24)
    assert thrice["memory_mb"] == pytest.approx(3 * once["memory_mb"])


def test_limit_names_the_costs_of_a_step():
    found = roofline.measure(TINY, 0)
    assert 0 < found["share_of_roofline"] < 1
    assert found["share_of_roofline"] == found["roofline_s"] / found["step_s"]
    assert found["profile"]
    assert sum(cost["share"] for cost in found["profile"]) <= 1 + 1e-6


def test_input_speed(tmp_path):
    columns = make_columns(16)
    pictures = input_speed.PngHands(tmp_path, columns)
    rgb, depth, xyz = pictures[3]
    assert (rgb.permute(1, 2, 0).numpy() == columns.rgb[3]).all()
    assert (depth[0].numpy() == columns.depth[3]).all()
    assert (xyz.numpy() == columns.xyz[3]).all()
    found = input_speed.waiting(columns, TINY, 3)
    assert 0 < found["share"] < 1


def test_parts_of_the_network():
    found = inference.parts(TINY, rounds=1)
    assert found["paper_added_ms"] == {"three_heads": pytest.approx(0.11), "refine": pytest.approx(0.08)}
    assert found["ms"].keys() == found["paper_ms"].keys()


def test_devices_are_those_asked_for():
    job = jax_step.Training(TINY.config, "pmd_net", make_batch(8), devices=2)
    job()
    assert job.batch.sharding.num_devices == 2
    assert jax.device_count() >= 2
