"""The study of PMD-Net plus: what each of its variants trains, with which teacher, and what names a run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pmd_jax.config import presets, validate
from pmd_jax.config.presets import DATASETS, paper, plus_parts, with_fields
from pmd_jax.runtime.errors import ConfigError
from pmd_jax.study import result_files, results_page
from pmd_jax.study.definitions import identity, resolve, teacher_of
from pmd_jax.study.plus import LABELLED, plus, plus_labels


def test_parts_of_pmd_net_plus():
    """Alone and left out; a teacher has the parts of its student, and the baseline all but the teacher."""
    study = plus("rendered")
    parts = plus_parts(study.base)
    assert study.variants.keys() == {"pmd_net", "pmd_net_plus", "rgb_baseline_plus", "alone/heatmap"} | {
        f"{way}/{part}" for way in ("alone", "without") for part in ("heads", *parts)
    } - {f"without/{name}" for name, part in parts.items() if not part.chosen}
    assert {resolve(study, name, 0).optim.steps for name in study.variants} == {4500}
    whole = resolve(study, "pmd_net_plus", 0)
    for name, part in parts.items():
        alone = resolve(study, f"alone/{name}", 0)
        assert identity(with_fields(alone, part.changes)) == identity(alone)
        if not part.chosen:
            assert identity(with_fields(whole, part.changes)) != identity(whole)
            continue
        without = resolve(study, f"without/{name}", 0)
        restored = with_fields(without, part.changes)
        assert (identity(restored), restored.rows) == (identity(whole), ("pmd_net_plus",))
    teacher = teacher_of(whole)
    assert teacher is not None
    assert teacher.rows == ("depth_teacher_plus",)
    assert (teacher.loss.distance, teacher.loss.lambda_maps) == ("l1", 0.0)
    assert teacher.teacher.optim.ema == whole.optim.ema > 0
    assert resolve(study, "rgb_baseline_plus", 0).loss.distance == "l1"
    launched = presets.plus("rendered", "pmd_net_plus")
    assert launched.loss == whole.loss


def test_with_few_labels_all_methods_have_the_same_and_need_no_joints_for_their_inputs():
    study = plus_labels("rendered")
    configs = {name: resolve(study, name, 0) for name in study.variants}
    for config in configs.values():
        validate(config)
        assert (config.data.labelled, config.data.dataset_config) == (LABELLED, "large_mask_box")
    assert configs["pmd_net_plus_unlabelled"].loss == configs["pmd_net_plus"].loss
    assert configs["pmd_net_unlabelled"].loss.distance == "l2"


def test_what_a_network_does_not_read_names_no_run_of_it():
    """PMD-Net has no maps, a baseline no teacher; both read how poses are compared."""
    base = paper("rendered", "pmd_net")
    for row, field, value, renames in (
        ("pmd_net", "loss.lambda_maps", 1.0, False),
        ("pmd_net_plus", "loss.lambda_maps", 1.0, True),
        ("rgb_baseline_plus", "loss.lambda_pose", 1.0, False),
        ("rgb_baseline", "loss.distance", "l1", True),
        ("depth_teacher", "loss.distance", "l1", True),
        ("rgb_baseline", "teacher.optim.ema", 0.9, False),
        ("rgb_baseline", "optim.ema", 0.9, True),
    ):
        config = replace(base, rows=(row,))
        assert (identity(with_fields(config, {field: value})) != identity(config)) == renames, (row, field)


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_data_set_has_an_average_that_fits_its_schedule(dataset):
    config = presets.plus(dataset, "depth_teacher_plus", "pmd_net_plus")
    validate(config)
    assert 50 / config.optim.steps == pytest.approx(1 - config.optim.ema, abs=1e-6)
    short = replace(config, optim=replace(config.optim, steps=10))
    assert plus_parts(short)["average"].changes["optim.ema"] == 0
    assert paper(dataset).optim.ema == 0  # the copy was changed


def test_the_page_shows_it_once_it_is_measured(tmp_path):
    study, page = plus("rendered"), tmp_path / "RESULTS.md"
    results_page.write(tmp_path, page)
    assert study.title not in page.read_text()
    figures = {"auc_20_50": 0.5, "hardware": {"devices": "none"}, "versions": {"jax": "0"}}
    for name, epe_mm in (("pmd_net", 20.0), ("pmd_net_plus", 16.0), ("without/loss", 17.0)):
        for seed in (0, 1):
            measured = {"epe_mm": epe_mm + seed, "error_per_axis_mm": [1.0, 2.0, 3.0], **figures}
            result_files.record(study, tmp_path / "rendered" / "plus.json", "a command", name, seed, measured)
    results_page.write(tmp_path, page)
    assert f"## {study.title}" in page.read_text()
    for line in (
        "| PMD-Net plus | 0, 1 | 16.50 ± 6.35 | -4.00 ± 0.00 |",
        "| PMD-Net plus without the sum of the joints",
    ):
        assert line in page.read_text()
    drawn = (tmp_path / "rendered" / "plus.svg").read_text()
    assert all(f"<!-- {title} -->" in drawn for title in ("PMD-Net plus", study.variants["without/loss"].title))
    assert "rendered/plus.svg)" in page.read_text()


def test_a_field_that_there_is_not():
    with pytest.raises(ConfigError, match=r"'loss\.delta\.x' is no field"):
        with_fields(paper("rhd"), {"loss.delta.x": 1})
