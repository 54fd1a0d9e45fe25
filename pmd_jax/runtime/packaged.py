"""Files that come with this package without being its modules: builders, launch files, the demo network.

In the checkout they lie beside `pmd_jax/`; a wheel carries them below it (setup.py).
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CARRIED = PACKAGE / "_packaged"  # in a wheel only
FOLDERS = ("datasets", "launch", "checkpoints")


def packaged(name: str | Path) -> Path:
    """Where a file or folder lies that is called so in the checkout: "datasets", "launch/demo.py", say."""
    return (CARRIED if CARRIED.is_dir() else PACKAGE.parent) / name


def find(path: Path) -> Path:
    """The path itself; where nothing lies there, what comes with this package under that name, if anything does."""
    is_ours = path.parts[:1] in [(name,) for name in FOLDERS] and packaged(path).exists()
    return packaged(path) if is_ours and not path.exists() else path


def install_command(extra: str) -> str:
    """What installs an optional extra."""
    if CARRIED.is_dir():
        return f"pip install 'pmd_jax[{extra}]'"
    return f"pip install -c requirements-cpu.txt -e '.[{extra}]' (in the checkout)"
