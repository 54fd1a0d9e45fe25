"""The code that docs/export.md shows, run on an export."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pmd_jax.export import cli

PAGE = Path(__file__).resolve().parents[2] / "docs" / "export.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)


@pytest.fixture(scope="module")
def folder(tiny_export, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export_page")
    cli.export(tiny_export, ["stablehlo", "onnx"], folder / "hand")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("code", BLOCKS, ids=["onnx", "stablehlo"])
def test_the_code_gives_joints(code, folder, monkeypatch):
    monkeypatch.chdir(folder)
    scope: dict = {}
    exec(code, scope)
    assert scope["joints"].shape == (1, 21, 3)
