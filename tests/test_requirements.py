"""The pinned lists and pyproject's ranges say the same, on every Python we support."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LISTS = {"requirements.txt": {"cuda12"}, "requirements-cpu.txt": set(), "requirements-tpu.txt": {"tpu"}}  # JAX's extras
ALL_LISTS = (*LISTS, "requirements-dev.txt")
EXTRAS = ("export", "video", "app", "detect", "realsense")  # optional, but the tests need them
PYTHONS = ("3.11", "3.12", "3.13")


def read(name: str) -> list[Requirement]:
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return [Requirement(line) for line in lines if line]


def pins(name: str, python: str) -> dict[str, str]:
    """Package → version that this list installs on a Python; each must be pinned exactly, and once."""
    found = {}
    for requirement in read(name):
        if requirement.marker is not None and not requirement.marker.evaluate({"python_version": python}):
            continue
        assert requirement.name not in found, f"{name} pins {requirement.name} twice on Python {python}"
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{name}: {requirement} is not pinned"
        found[requirement.name] = specifier.version
    return found


def ranges(extra: str | None = None) -> dict[str, Requirement]:
    listed = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    return {requirement.name: requirement for requirement in map(Requirement, listed)}


def assert_admitted(wanted: dict[str, Requirement], pinned: dict[str, str]) -> None:
    assert set(wanted) == set(pinned)
    for name, version in pinned.items():
        assert wanted[name].specifier.contains(version), f"pyproject.toml has {wanted[name]}, pinned is {version}"


def test_the_lists_differ_in_jax_alone():
    others = {name: [str(r) for r in read(name) if r.name != "jax"] for name in LISTS}
    assert others["requirements-cpu.txt"] == others["requirements.txt"]
    assert others["requirements-tpu.txt"] == others["requirements.txt"]


@pytest.mark.parametrize("name", LISTS)
def test_jax_has_the_extra_of_the_accelerator(name):
    ours = [r for r in read(name) if r.name == "jax"]
    cpu = [r for r in read("requirements-cpu.txt") if r.name == "jax"]
    assert ours
    assert all(r.extras == LISTS[name] for r in ours)
    assert [(r.specifier, str(r.marker)) for r in ours] == [(r.specifier, str(r.marker)) for r in cpu]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LISTS)
def test_every_dependency_is_pinned_within_its_range(name, python):
    assert_admitted(ranges(), pins(name, python))


@pytest.mark.parametrize("python", PYTHONS)
def test_every_tool_and_extra_is_pinned_within_its_range(python):
    wanted = {name: requirement for extra in ("dev", *EXTRAS) for name, requirement in ranges(extra).items()}
    assert_admitted(wanted, pins("requirements-dev.txt", python))


def test_extras_that_a_list_stands_for_are_jaxs_own():
    for extras in LISTS.values():
        for extra in extras:
            assert ranges(extra)["jax"].extras == {extra}


@pytest.mark.parametrize("name", ALL_LISTS)
def test_no_list_says_where_packages_come_from(name):
    """That is the machine's own setting."""
    text = (ROOT / name).read_text()
    assert not [word for word in ("://", "--", "file:", "@") if word in text]
    assert all(requirement.url is None for requirement in read(name))
