"""The page holds what the JSON files hold; the command records piece by piece."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from benchmarks import RESULTS, ROOT, render, run
from benchmarks.measure import slug

FIXED_NAMES = {
    "train_step_full_ratio": 0.9,
    "inference_b1_full_ratio": 1.2,
    "cached_over_baseline_step": 1.01,
    "input_samples_per_s": 30_000.0,
    "input_wait_share": 0.01,
    "second_start_s": 9.0,
}
RECORDED = {
    "train_step_full": {
        "batch": 16,
        "step_s": {"ours": 2.0, "pytorch_eager": 1.8},
        "images_per_s": {"ours": 8.0, "pytorch_eager": 8.9},
        "ratio": {"pytorch_eager": 0.9},
        "pytorch_compiled_failed": "NoCompiler: there is none",
    },
    "inference_full": {
        "batch_1": {"call_s": {"ours": 0.01, "pytorch": 0.012}, "images_per_s": {}, "ratio": {"pytorch": 1.2}}
    },
    "train_step_cached": {"cached_over_baseline": 1.01, "uncached_over_baseline": 1.3},
    "input": {"batch": 64, "samples_per_s": {"ours": 30_000.0, "torch_dataloader": 1000.0}, "ratio": 30.0},
    "input_wait": {"share": 0.01},
    "start_up": {"first_start_s": 30.0, "second_start_s": 9.0},
}
HARDWARE = {"platform": "cpu", "cpu": "Some CPU", "cores": "2", "devices": "1 × cpu"}
CIRCUMSTANCES = {"date": "2026-01-02", "commit": "abc", "versions": {"jax": "1"}}


def recorded() -> dict:
    pieces = {name: {**CIRCUMSTANCES, "result": result} for name, result in RECORDED.items()}
    return {"hardware": HARDWARE, **run.headline(pieces), "pieces": pieces}


def test_the_page_is_rendered_from_the_files_byte_for_byte():
    text = render.PAGE.read_text()
    begin, end = render.MARKS
    assert text.count(begin) == text.count(end) == 1
    assert text.split(begin)[1].split(end)[0] == f"\n{render.render()}\n"


def test_rendering_needs_no_library_that_computes():
    code = "import sys, benchmarks.render; sys.exit(bool({'jax', 'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_recorded_headlines_are_those_of_their_pieces(path):
    content = json.loads(path.read_text())
    if "pieces" in content:
        assert content.items() >= run.headline(content["pieces"]).items()
        assert path.stem == slug(content["hardware"])


def test_fixed_names():
    """What others look for in the JSON file."""
    assert FIXED_NAMES.items() <= recorded().items()


def test_page_of_made_up_measurements(tmp_path):
    (tmp_path / "some_cpu_2_cores.json").write_text(json.dumps(recorded()))
    text = render.render(tmp_path)
    assert "| stage II step, full size, batch 16, images/s | 8.0 | PyTorch: 8.9 | 0.90 |" in text
    assert (
        "| stage II step, full size, batch 16, images/s | 8.0 | torch.compile: NoCompiler: there is none | – |" in text
    )
    assert "| inference, full size, batch 1, ms | 10.00 | PyTorch: 12.00 | 1.20 |" in text
    assert "| inference, full size, batch 1, ms | 10.00 | ONNX Runtime: not measured | – |" in text
    assert "### GPU, TPU\n\nNot measured" in text
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if "inference" in line} == {5}


def test_pieces_are_recorded_as_they_end_and_not_measured_twice(tmp_path, monkeypatch, capsys):
    measured: list[str] = []

    def piece(name: str, works: bool = True):
        def measure() -> dict:
            if not works:
                raise KeyboardInterrupt
            measured.append(name)
            return {"share": 0.123456789}

        return measure

    path = tmp_path / "results" / "machine.json"
    monkeypatch.setattr(run, "pieces", lambda: {"input_wait": piece("input_wait"), "broken": piece("broken", False)})
    with pytest.raises(KeyboardInterrupt):
        run.measure([], path, HARDWARE)
    assert json.loads(path.read_text())["input_wait_share"] == 0.12346
    monkeypatch.setattr(run, "pieces", lambda: {"input_wait": piece("input_wait"), "other": piece("other")})
    run.measure([], path, HARDWARE)
    assert measured == ["input_wait", "other"]
    run.measure(["input"], path, HARDWARE)
    assert measured == ["input_wait", "other", "input_wait"]
    assert "[1/1] input_wait" in capsys.readouterr().out


def test_file_names_of_machines():
    assert slug({"platform": "cpu", "cpu": "AMD EPYC", "cores": "2", "devices": "1 × cpu"}) == "amd_epyc_2_cores"
    assert slug({"platform": "gpu", "devices": "1 × NVIDIA H100", "cores": "16"}) == "1_nvidia_h100"
