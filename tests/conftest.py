"""Shared by all tests: eight fake CPU devices, a compile cache, and small made-up data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

# Before JAX starts. A cache in the checkout makes the second run of the tests several times faster than the first.
CACHE = Path(__file__).resolve().parent.parent / ".jax_cache"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
BROWSER_FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-component-update
    --disable-background-networking --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"""
CHILD = Path(__file__).resolve().parent / "child"  # what the processes that tests start do first
os.environ["PYTHONPATH"] = os.pathsep.join([str(CHILD), *filter(None, [os.environ.get("PYTHONPATH")])])

import jax
import pytest

from pmd_jax.config import AugmentConfig, Config, ModelConfig, OptimConfig, TeacherConfig
from pmd_jax.config.methods import METHODS
from pmd_jax.data.dataset import Columns
from pmd_jax.models import saved_model
from pmd_jax.models.network import build
from pmd_jax.runtime import digest
from pmd_jax.runtime.files import locked, write_text
from reference.made_up_columns import make_columns


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: each worker takes a file at a time, and none should end with one of these."""
    long_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long_files)


def small_config(**changes) -> Config:
    """The smallest network and a few steps."""
    optim = OptimConfig(steps=6, batch=16, learning_rate=1e-3, decay_steps=(4,))
    values = {
        "augment": AugmentConfig(flip_horizontal=True, flip_vertical=True),
        "model": ModelConfig(width=4, blocks=(1, 1, 1, 1), reading="32/16/8/8"),
        "optim": optim,
        "teacher": TeacherConfig(optim=replace(optim)),
        "eval_batch": 16,
        "checkpoint_every": 2,
        "log_every": 1,
        "tensorboard": False,
    }
    return Config(**{**values, **changes})


def write_export(folder: Path, row: str = "rgb_baseline") -> Path:
    """An untrained network of the smallest size, as a run leaves a trained one."""
    config = small_config()
    saved_model.save(folder, row, config, jax.device_get(build(config, METHODS[row], seed=0)[1]))
    return folder


@pytest.fixture(scope="session")
def tiny_export(tmp_path_factory) -> Path:
    return write_export(tmp_path_factory.mktemp("tiny") / "export")


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder of all workers of this session, for `made_once`."""
    mine = tmp_path_factory.getbasetemp()
    return mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """What `make` writes to `folder`, by whichever worker comes first; the others wait for it. Nobody may change it."""
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not folder.exists():
            unfinished = folder.with_name(f"{folder.name}.unfinished")
            make(unfinished)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium, for tests with the mark `browser`."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in (*BROWSER_FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def columns() -> Columns:
    return make_columns(48)


def redescribe(export: Path, described: str) -> None:
    """Another network.json for an export folder, with sums of its own: as other code could have written it."""
    write_text(export / saved_model.DESCRIPTION, described)
    digest.write(export, (saved_model.DESCRIPTION, saved_model.WEIGHTS, saved_model.LABELS_FILE))
