"""On CPUs a JAX device for each core, unless somebody has said how many; told without importing JAX."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pmd_jax.runtime import cores, devices

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("platforms", "plugin", "device", "expected"),
    [("", True, True, True), ("", False, True, False), ("", True, False, False), ("cpu", True, True, False)],
)
def test_an_accelerator_is_a_device_and_its_plugin(platforms, plugin, device, expected, monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setattr(cores, "_PLUGINS", ("json",) if plugin else ("no_such_plugin",))
    monkeypatch.setattr(cores, "_NVIDIA", (str(tmp_path if device else tmp_path / "none"),))
    monkeypatch.setattr(cores, "_OTHERS", ())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert cores.has_accelerator() == expected
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert not cores.has_accelerator()


@pytest.mark.parametrize(
    ("available", "batches", "expected"),
    [(1, [32], 1), (2, [32, 64, 256], 2), (4, [32, 64, 256], 4), (6, [32, 64], 4), (3, [32], 2), (8, [30, 256], 2)],
)
def test_as_many_as_divide_every_batch(available, batches, expected):
    assert devices.devices_for(available, batches) == expected


def test_no_device_gets_fewer_samples_than_are_worth_it():
    assert devices.devices_for(16, [32]) == 32 // devices.FEWEST_SAMPLES


def count(batches: str = "(32, 256)", **environment: str) -> str:
    code = f"""
import jax
from pmd_jax.runtime.devices import use_all_cores
use_all_cores({batches})
print(jax.device_count())
"""
    given = {"PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu", **environment}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=given, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_device_for_each_core():
    assert count() == str(devices.devices_for(cores.usable_cores(), [32, 256]))


@pytest.mark.parametrize(
    "environment", [{"JAX_NUM_CPU_DEVICES": "3"}, {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}]
)
def test_what_somebody_has_asked_for_is_left_alone(environment):
    assert count(**environment) == "3"
