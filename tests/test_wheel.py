"""The wheel, built by way of the sdist, installed without a network and used in a folder where no checkout lies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pmd_jax
from pmd_jax.runtime.environment import code_digest

ROOT = Path(__file__).resolve().parent.parent
BUILT_FROM = ("pmd_jax", "datasets", "launch", "checkpoints", "benchmarks", "tests/film_files.py")  # some must stay out
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "NOTICE")
LIMIT_BYTES = 8_000_000
# The two hooks that every front end calls (pip, build). The sdist is unpacked and the wheel made of it, in a folder in
# which an earlier build left a module.
BUILD = """
import pathlib, os, shutil, sys
from setuptools import build_meta
out, name = pathlib.Path(sys.argv[1]), sys.argv[2]
shutil.unpack_archive(out / build_meta.build_sdist(str(out)), out)
os.chdir(out / name)
left = pathlib.Path("build/lib/pmd_jax/gone.py")
left.parent.mkdir(parents=True)
left.touch()
build_meta.build_wheel(str(out))
"""
pytestmark = pytest.mark.slow


def run(command: list[str | Path], cwd: Path) -> str:
    """What it prints. Python finds nothing but what is installed, and the working directory where it looks there."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "XLA_FLAGS")}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built in a copy: a build leaves files beside its sources."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in BUILT_FROM:
        source, left_out = ROOT / name, shutil.ignore_patterns("__pycache__", "*.egg-info")
        (tree / name).parent.mkdir(exist_ok=True)
        shutil.copytree(source, tree / name, ignore=left_out) if source.is_dir() else shutil.copy(source, tree / name)
    for name in FILES:
        shutil.copy(ROOT / name, tree / name)
    run([sys.executable, "-W", "ignore", "-c", BUILD, out, f"pmd_jax-{pmd_jax.__version__}"], tree)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bin_folder(wheel, tmp_path_factory) -> Path:
    """Of a fresh environment that has the wheel, and otherwise sees what is installed here."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", folder, "install", "--quiet", "--no-deps", "--no-index", wheel]
    run([*pip, "--disable-pip-version-check"], folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    here = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (packages / "others.pth").write_text("\n".join(here) + "\n")
    return folder / "bin"


def test_what_it_holds(wheel):
    assert wheel.stat().st_size <= LIMIT_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    described = f"pmd_jax-{pmd_jax.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"pmd_jax", described}  # above all: no `datasets`
    assert {f"{described}/licenses/{name}" for name in ("LICENSE", "NOTICE")} <= names
    assert "pmd_jax/gone.py" not in names
    assert not [name for name in names if name.endswith(".pyc")]
    for folder in ("datasets", "launch", "checkpoints/demo"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert {f"pmd_jax/_packaged/{path.relative_to(ROOT).as_posix()}" for path in files} <= names
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pmd_jax").rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py") and "/_packaged/" not in name}


def test_what_python_finds(bin_folder, tmp_path):
    program = (
        "import importlib.util, json, sys, pmd_jax\n"
        "from pmd_jax.runtime import environment, packaged\n"
        "print(json.dumps([pmd_jax.__file__, environment.code_digest(), packaged.install_command('export'),"
        " importlib.util.find_spec('datasets') is None]))"
    )
    file, digest, command, no_datasets = json.loads(run([bin_folder / "python", "-c", program], tmp_path))
    assert Path(file).is_relative_to(bin_folder.parent)
    assert digest == code_digest()  # processes of a wheel and of its checkout agree
    assert command == "pip install 'pmd_jax[export]'"
    assert no_datasets


def test_its_commands(bin_folder, tmp_path):
    command = bin_folder / "pmd-jax"
    assert run([command, "--version"], tmp_path) == f"pmd_jax {pmd_jax.__version__}\n"
    prepared = run([command, "prepare", "rendered_hands", "--dataset_config=smoke"], tmp_path)
    assert "Prepared in data/prepared/rendered_hands/smoke/" in prepared
    short = ["optim.steps=2", "rows=('rgb_baseline',)", "tensorboard=false", "model.width=4"]
    overrides = [f"--config.{change}" for change in short]
    trained = run([bin_folder / "python", "-m", "pmd_jax.main", "--config=launch/smoke.py", *overrides], tmp_path)
    assert "runs/smoke/report.html" in trained
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)).save(tmp_path / "hand.png")
    said = run([command, "predict", "hand.png", "--box=0,0,96", "--checkpoint=checkpoints/demo"], tmp_path)
    assert np.shape(json.loads(said)["joints"]) == (21, 3)
    assert "orbax" in run([command, "export", "--formats=orbax", "--out=hand"], tmp_path)
    assert (tmp_path / "hand" / "MODEL_CARD.md").is_file()
    assert run([command, "predict", "hand.png", "--box=0,0,96", "--checkpoint=hand"], tmp_path) == said
    run([command, "study", "--config=launch/paper/table2.py:rendered", "--render"], tmp_path)
    assert "Table 2" in (tmp_path / "RESULTS.md").read_text()
