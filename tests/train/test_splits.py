"""What is refused of a run's samples before anything is trained on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import small_config

from pmd_jax.config import AugmentConfig
from pmd_jax.config.presets import with_fields
from pmd_jax.runtime.errors import DataError
from pmd_jax.train import job
from pmd_jax.train.splits import Splits, check_augmentation


def test_rotation_needs_every_samples_camera(columns):
    turned, upright = (small_config(augment=AugmentConfig(rotation_deg=angle, scale=1.2)) for angle in (30.0, 0.0))
    check_augmentation(turned, columns)
    for unknown in (0.0, np.nan):
        K = columns.K.copy()
        K[[3, 7]] = unknown
        without = replace(columns, K=K)
        check_augmentation(upright, without)
        with pytest.raises(DataError, match=rf"rotation_deg = 30, but 2 of 48 .* K .*first {columns.key[3]}: prepare"):
            check_augmentation(turned, without)
        by_ray = with_fields(small_config(), {"model.target_frame": "ray"})
        check_augmentation(by_ray, columns)
        with pytest.raises(DataError, match=r"config\.model\.target_frame = 'ray', but 2 of 48 .*=camera"):
            check_augmentation(by_ray, without)


@pytest.mark.parametrize("name", ["background", "depth_background", "depth_sensor"])
def test_backgrounds_are_told_by_depth(columns, name):
    config = small_config(augment=AugmentConfig(**{name: 0.5}))
    depth = columns.depth.copy()
    depth[3] = 0
    check_augmentation(config, replace(columns, depth=depth))
    blind = replace(columns, depth=np.zeros_like(depth))
    check_augmentation(small_config(), blind)
    with pytest.raises(DataError, match=rf"augment\.{name} = 0\.5, but none of the 48 training samples has depth"):
        check_augmentation(config, blind)


def test_a_job_looks_before_it_writes_anything(columns, tmp_path, monkeypatch):
    without = replace(columns, K=np.zeros_like(columns.K))
    monkeypatch.setattr(job, "prepare_once", lambda config: tmp_path)
    monkeypatch.setattr(job, "read_splits", lambda config, folder, second: Splits(without, None, without))
    config = small_config(rows=("rgb_baseline",), augment=AugmentConfig(rotation_deg=30.0))
    with pytest.raises(DataError, match="48 of 48 training samples have no camera matrix K"):
        job.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
