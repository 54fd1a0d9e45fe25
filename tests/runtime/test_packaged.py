"""Files that come with the package are found from any folder; `pmd-jax` hands over to the commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pmd_jax
from pmd_jax.predict.predictor import DEMO, export_folder
from pmd_jax.runtime import commands, packaged
from pmd_jax.runtime.errors import EXIT_BAD_INPUT

LAUNCH = Path("launch/paper/table3.py")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_not_here_comes_from_the_package(elsewhere):
    found = packaged.find(LAUNCH)
    assert found.is_absolute()
    assert found.is_file()


def test_what_is_here_comes_first(elsewhere):
    LAUNCH.parent.mkdir(parents=True)
    LAUNCH.touch()
    assert packaged.find(LAUNCH) == LAUNCH


@pytest.mark.parametrize("name", ["launch/nothing.py", "README.md", "pmd_jax/main.py", "/launch/demo.py", "."])
def test_everything_else_stays_as_given(elsewhere, name):
    assert packaged.find(Path(name)) == Path(name)


def test_a_wheel_carries_them_below_the_package(tmp_path, monkeypatch):
    assert packaged.packaged(LAUNCH) == packaged.PACKAGE.parent / LAUNCH
    assert "-e '.[app]'" in packaged.install_command("app")
    monkeypatch.setattr(packaged, "CARRIED", tmp_path)
    assert packaged.packaged(LAUNCH) == tmp_path / LAUNCH
    assert packaged.install_command("app") == "pip install 'pmd_jax[app]'"


def test_the_demo_network_by_its_name(elsewhere):
    assert export_folder("checkpoints/demo") == export_folder(None) == DEMO
    (elsewhere / "checkpoints" / "demo").mkdir(parents=True)
    assert export_folder("checkpoints/demo") == Path("checkpoints/demo")


def test_a_launch_file_from_anywhere_keeps_its_name(elsewhere):
    """The study's command goes into results as it was given."""
    program = (
        "import sys; from pmd_jax.study import cli; from absl import flags\n"
        "flags.FLAGS(sys.argv); print(cli.CONFIG.value.name, cli.study_command())"
    )
    command = [sys.executable, "-c", program, f"--config={LAUNCH}:stb", "--config.base.seed=1"]
    done = subprocess.run(command, capture_output=True, text=True, env=_with_package())
    kept = f"--config={LAUNCH}:stb --config.base.seed=1"
    assert done.stdout.split(maxsplit=1) == ["table3", f"python -m pmd_jax.study {kept}\n"], done.stderr


def _with_package() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(packaged.PACKAGE.parent)}


def called(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["pmd-jax", *arguments])
    return commands.main()


def test_help_and_version_import_little(capsys, monkeypatch):
    assert called(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"pmd_jax {pmd_jax.__version__}\n"
    assert called(monkeypatch, "--help") == 0
    helped = capsys.readouterr().out
    assert all(f"\n  {name} " in helped for name in commands.COMMANDS)
    program = "import sys, pmd_jax.runtime.commands; sys.exit(bool({'jax', 'numpy', 'absl'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], check=True, env=_with_package())


@pytest.mark.parametrize(("arguments", "said"), [(["learn"], "no command 'learn'"), ([], "Name a command.")])
def test_a_command_that_there_is_not(capsys, monkeypatch, arguments, said):
    assert called(monkeypatch, *arguments) == EXIT_BAD_INPUT
    assert said in (error := capsys.readouterr().err)
    assert ", ".join(commands.COMMANDS) in error


def test_every_command_is_a_module():
    for name in commands.COMMANDS:
        assert any((packaged.PACKAGE / place).is_file() for place in (f"{name}.py", f"{name}/__main__.py"))


def test_it_hands_over(capsys, monkeypatch):
    with pytest.raises(SystemExit) as ended:
        called(monkeypatch, "prepare", "no_such_hands")
    assert ended.value.code == EXIT_BAD_INPUT
    assert "Unknown data set 'no_such_hands'. Known: rendered_hands, rgbd_folder, rhd, stb." in capsys.readouterr().err
