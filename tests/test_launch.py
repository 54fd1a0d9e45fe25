"""Every configuration under launch/ loads, validates, and resolves to what it did when it was last looked at."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from pmd_jax.config import Config, differences, from_dict, to_dict, validate

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = sorted((ROOT / "launch").glob("*.py"))
GOLDEN = Path(__file__).parent / "golden" / "configs.json"


def load(path: Path) -> Config:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


@pytest.mark.parametrize("path", LAUNCH, ids=lambda path: path.stem)
def test_it_resolves_as_before(path):
    config = load(path)
    validate(config)
    golden = json.loads(GOLDEN.read_text())[path.stem]
    changed = differences(to_dict(config), to_dict(from_dict(golden)))  # fields newer than the file: at their defaults
    assert not changed, (
        "The resolved configuration moved; if that was meant, run `python tests/test_launch.py` and say why in the "
        "commit:\n" + "\n".join(changed)
    )


@pytest.mark.parametrize("path", LAUNCH, ids=lambda path: path.stem)
def test_its_first_lines_give_its_command(path):
    source = path.read_text()
    command = "make demo" if path.stem == "demo" else f"python -m pmd_jax.main --config=launch/{path.name}"
    assert command in source.split('"""')[1]
    assert load(path).name == path.stem


@pytest.mark.parametrize("path", LAUNCH, ids=lambda path: path.stem)
def test_stage_one_and_two_do_not_share_a_schedule_object(path):
    """`--config.optim.steps=…` must not change the teacher's schedule behind the user's back."""
    config = load(path)
    assert config.teacher.optim is not config.optim


def test_no_golden_configuration_is_left_over():
    assert set(json.loads(GOLDEN.read_text())) == {path.stem for path in LAUNCH}


def test_the_papers_hyper_parameters():
    """Section 4.2, for whoever edits the golden file."""
    rhd, stb = (to_dict(load(ROOT / "launch" / f"{name}_distill.py")) for name in ("rhd", "stb"))
    assert (rhd["optim"]["learning_rate"], rhd["optim"]["decay_steps"]) == (1e-4, [60_000])
    assert (stb["optim"]["learning_rate"], stb["optim"]["decay_steps"]) == (7e-5, [10_000])
    assert (rhd["augment"]["block_size"], stb["augment"]["block_size"]) == (5, 14)
    for config in (rhd, stb):
        assert config["loss"]["alpha"] == 100
        assert config["loss"]["lambda_feature"] == 1 / 16
        assert config["loss"]["lambda_hidden"] == [5 / 16] * 3
        assert config["optim"]["weight_decay"] == 0.0005
        assert config["augment"]["block_probability"] == 0.5
        assert config["model"]["blocks"] == [3, 4, 6, 3]
        assert config["model"]["width"] == 64
        assert config["teacher"]["start"] == "apart"  # the paper does not say; alike would favour imitation
    flips = [(c["augment"]["flip_horizontal"], c["augment"]["flip_vertical"]) for c in (rhd, stb)]
    assert flips == [(True, True), (False, False)]


if __name__ == "__main__":
    content = {path.stem: to_dict(load(path)) for path in LAUNCH}
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n")
