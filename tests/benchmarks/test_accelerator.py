"""The one command for an accelerator, on the smallest network and the CPU: every piece runs, with few packages."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# What a machine that holds an accelerator may lack; the module's docstring names what it needs.
LACKING = ("torch", "grain", "orbax", "tensorflow_datasets", "ml_collections", "matplotlib", "PIL", "onnxruntime")
RUN = f"""
import sys
from pathlib import Path
sys.modules.update(dict.fromkeys({LACKING}))  # None: importing it is an ImportError
from benchmarks import accelerator
accelerator.measure(accelerator.tiny_plan(), Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_every_piece_is_measured_with_few_packages(tmp_path):
    path = tmp_path / "accelerator.json"
    done = subprocess.run([sys.executable, "-c", RUN, str(path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())["accelerator"]
    unmeasured = {name: piece for name, piece in found.items() if isinstance(piece, dict) and "failed" in piece}
    assert not unmeasured
    assert found["pytorch"] == {"left_out": "PyTorch is not installed or sees no such device"}
    assert 0 < found["step_8"]["share_of_roofline"] < 1
    assert set(found["dispatch"]["step_s"]) == {"one", "scanned"}
    assert [row["samples"] for row in found["resident_data"]] == [16, 32]
    assert found["profile"]
