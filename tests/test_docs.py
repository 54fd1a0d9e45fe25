"""What the documents name exists: paths, links, headings, make targets, commands that parse, config fields, modules."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from absl import flags
from ml_collections import config_flags

from docs import configuration
from pmd_jax.config import Config, to_dict, validate
from pmd_jax.config.methods import METHODS
from pmd_jax.runtime.markdown import markdown_table
from pmd_jax.study import result_files
from pmd_jax.study.statistics import format_ci

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))
PAGES = ["README.md", "BUILD.md", "CONTRIBUTING.md", "CHANGELOG.md", "RESULTS.md", *DOCS]
FOLDERS = ("pmd_jax", "datasets", "launch", "tests", "docs", "benchmarks", "reference", "results", "examples", ".ci")
# The commands by the module whose `main` parses their arguments, and those with absl's flags by the file that has them.
COMMANDS = {
    "pmd_jax.prepare": "pmd_jax.prepare.cli",
    "pmd_jax.predict": "pmd_jax.predict.cli",
    "pmd_jax.export": "pmd_jax.export.cli",
    "pmd_jax.app": "pmd_jax.app.server",
    "pmd_jax.record": "pmd_jax.record.cli",
}
ABSL_COMMANDS = {"pmd_jax.main": "pmd_jax/main.py", "pmd_jax.study": "pmd_jax/study/cli.py"}


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def code_of(page: str) -> list[str]:
    """The page's code: fenced and indented blocks line by line, and inline spans. Continued lines are joined."""
    fences, rest, inside = [], [], False
    for line in text_of(page).replace("\\\n", " ").splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
        elif inside or line.startswith("    "):
            fences.append(line.strip())
        else:
            rest.append(line)
    return fences + re.findall(r"`([^`\n]+)`", "\n".join(rest))


def anchors_of(page: Path) -> set[str]:
    """The headings as the addresses that GitHub gives them."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def links_of(page: str) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)) if not link.startswith("https://")]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", text_of("Makefile"), re.M))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        assert not anchor or anchor in anchors_of(target), f"{page} links to {link}, which is no heading there"


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page):
    folders = "|".join(map(re.escape, FOLDERS))
    for code in code_of(page):
        for path in re.findall(rf"(?<![\w./-])(?:{folders})/[\w./-]*", code):
            assert (ROOT / path).exists(), f"{page} names {path}"
        if re.fullmatch(r"[\w-]+\.(?:py|md|toml|txt)", code):
            assert any(ROOT.glob(code)) or any(ROOT.glob(f"docs/{code}")), f"{page} names {code}"


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page):
    for code in code_of(page):
        for target in re.findall(r"(?:^|[ =])make ([a-z][\w-]*)", code):
            assert target in make_targets(), f"{page} names make {target}"


def test_every_make_target_is_explained():
    named = {target for code in code_of("BUILD.md") for target in re.findall(r"^make ([a-z][\w-]*)", code)}
    assert named == make_targets()


@pytest.mark.parametrize("page", PAGES)
def test_config_fields_exist(page):
    """`--config.optim.steps=9` on a command line, `config.optim` in the text."""
    for code in code_of(page):
        for name in re.findall(r"(?<![\w./])(?:--)?config\.([a-z]\w*(?:\.[a-z]\w*)*)", code):
            if name in ("py", "json"):
                continue
            where = Config()
            for part in name.split("."):
                known = [field.name for field in dataclasses.fields(where)] if dataclasses.is_dataclass(where) else []
                assert part in known, f"{page} names config.{name}"
                where = getattr(where, part)


@pytest.mark.parametrize("page", PAGES)
def test_rows_exist(page):
    for code in code_of(page):
        for values in re.findall(r"--config\.rows=\(([^)]*)\)", code):
            named = set(re.findall(r"'(\w+)'", values))
            assert named <= METHODS.keys(), f"{page} names {named - METHODS.keys()}"


load_module = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # how ml_collections reads a file


class Parsed(BaseException):
    """Raised in place of what a command would do; no command catches it."""


def parse_with_argparse(command: Callable[[list[str]], int], arguments: list[str], monkeypatch) -> None:
    """The command's own parser on these arguments, and nothing after it."""
    real = argparse.ArgumentParser.parse_args

    def parse(self, given=None, namespace=None):
        raise Parsed(real(self, given, namespace))

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        with pytest.raises(Parsed):
            command(arguments)


def parse_with_absl(source: str, arguments: list[str], monkeypatch) -> Any:
    """The flags that a command defines, on these arguments; returns its configuration, overrides applied."""
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=values)
    for kind, name in re.findall(r'(?<!_)flags\.DEFINE_(\w+)\(\s*"(\w+)"', source):
        define = {"bool": flags.DEFINE_bool, "integer": flags.DEFINE_integer}.get(kind, flags.DEFINE_string)
        define(name, None, "", flag_values=values)
    monkeypatch.setattr(sys, "argv", ["command", *arguments])  # where the overrides are read from
    assert values(sys.argv) == ["command"]
    return values["config"].value


@load_module
@pytest.mark.parametrize("page", PAGES)
def test_commands_and_their_options_exist(page, monkeypatch):
    """`python -m pmd_jax.predict hand.jpg --overlay`: parsed as it stands, configurations loaded and validated."""
    monkeypatch.chdir(ROOT)
    for code in code_of(page):
        found = re.search(r"python -m ([a-z][\w.]*)(.*)", re.sub(r"\bpmd-jax (?=[a-z])", "python -m pmd_jax.", code))
        if not found:
            continue
        name, given = found[1], found[2]
        file = ROOT.joinpath(*name.split("."))
        module = file / "__main__.py" if file.is_dir() else file.with_suffix(".py")
        assert module.exists(), f"{page}: {code}"
        assert file.is_dir() or "__main__" in module.read_text(encoding="utf-8"), f"{page}: {name} is no command"
        if "…" in given or not (arguments := shlex.split(given, comments=True)):
            continue
        if name in COMMANDS:
            parse_with_argparse(importlib.import_module(COMMANDS[name]).main, arguments, monkeypatch)
        elif name in ABSL_COMMANDS:
            config = parse_with_absl(text_of(ABSL_COMMANDS[name]), arguments, monkeypatch)
            if isinstance(config, Config):
                validate(config)
        else:
            for option in re.findall(r"--(\w+)", given):
                assert re.search(rf'"(?:--)?{option}"', module.read_text(encoding="utf-8")), f"{page}: {code}"


def test_every_command_is_parsed_by_its_own_parser():
    runnable = {f"pmd_jax.{path.parent.name}" for path in ROOT.glob("pmd_jax/*/__main__.py")} | {"pmd_jax.main"}
    assert runnable == COMMANDS.keys() | ABSL_COMMANDS.keys()


@load_module
def test_a_wrong_option_is_found(monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit):
        parse_with_argparse(importlib.import_module(COMMANDS["pmd_jax.predict"]).main, ["a.jpg", "--bx=1"], monkeypatch)
    wrong = ["--config=launch/smoke.py", "--config.optim.step=3"]
    with pytest.raises(KeyError, match="Field step not found"):
        parse_with_absl(text_of("pmd_jax/main.py"), wrong, monkeypatch)


def python_blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text_of(page), re.S | re.M)


@pytest.mark.parametrize("page", PAGES)
def test_python_compiles(page):
    for block in python_blocks(page):
        compile(block, page, "exec")


def test_the_demo_is_described_as_it_is():
    scope: dict = {}
    exec(text_of("launch/demo.py"), scope)
    config, words = scope["get_config"](), " ".join(text_of("README.md").split())
    assert config.model.blocks == (1, 1, 1, 1)
    assert f"one block a stage, {config.model.width} channels" in words
    assert f"{config.optim.steps:,} steps of {config.optim.batch}" in words
    assert f"chosen on {config.data.validation:,} validation hands" in words


@pytest.mark.parametrize("page", PAGES)
def test_functions_of_the_package_exist(page):
    """`pmd_jax.load(…)` in an example."""
    package = ast.parse((ROOT / "pmd_jax/__init__.py").read_text())
    ours = {node.name for node in package.body if isinstance(node, ast.FunctionDef)}
    called = {name for code in code_of(page) for name in re.findall(r"\bpmd_jax\.(\w+)\(", code)}
    assert called <= ours, f"{page} calls {called - ours}"


@pytest.mark.parametrize("page", PAGES)
def test_names_are_where_the_page_says(page):
    """`normalise` in `pmd_jax/data/hand.py`."""
    for names, path in re.findall(r"((?:`\w+`(?:, | and )?)+) in `([\w/]+\.py)`", text_of(page)):
        body = ast.parse((ROOT / path).read_text()).body
        assigned = {
            getattr(target, "id", None) for node in body if isinstance(node, ast.Assign) for target in node.targets
        }
        there = {getattr(node, "name", None) for node in body} | assigned
        assert set(re.findall(r"`(\w+)`", names)) <= there, f"{page}: {path} has not all of {names}"


def test_every_launch_file_is_explained():
    jobs = "\n".join(code_of("docs/running.md"))
    unnamed = [path.name for path in ROOT.glob("launch/*.py") if path.name not in jobs]
    assert not unnamed


def packages() -> list[str]:
    """In the order in which they may import, the last first."""
    (contract,) = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    return [layer.removeprefix("pmd_jax.") for layer in contract["layers"]]


def test_the_packages_are_explained_in_their_order():
    there = {path.parent.name for path in ROOT.glob("pmd_jax/*/__init__.py")} | {"main"}
    assert there == set(packages())
    table = text_of("docs/architecture.md").split("\n## Packages\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `pmd_jax/(\w+)(?:/|\.py)` \|", table, re.M) == packages()[::-1]


@pytest.mark.parametrize("package", [name for name in packages() if name != "main"])
def test_a_package_names_its_modules(package):
    """In its docstring, and only those that are there."""
    folder = ROOT / "pmd_jax" / package
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    modules = {path.stem for path in folder.glob("[!_]*.py")}
    assert not [name for name in modules if f"`{name}`" not in said]
    listed = {name for names in re.findall(r"^\* (`[^:]*`):", said, re.M) for name in re.findall(r"`(\w+)`", names)}
    assert listed <= modules


def test_every_template_is_named_by_what_renders_it():
    templates = sorted(ROOT.glob("pmd_jax/**/*.jinja"))
    users = [*ROOT.glob("pmd_jax/**/*.py"), *templates]
    sources = {path: path.read_text(encoding="utf-8") for path in users}
    assert templates
    assert not [t.name for t in templates if not any(t.stem in text for path, text in sources.items() if path != t)]


def test_every_data_set_is_explained():
    folders = [path.parent.name for path in ROOT.glob("datasets/*/*_dataset_builder.py")]
    assert folders
    assert not [name for name in folders if f"`{name}`" not in text_of("docs/architecture.md")]


def test_the_index_and_the_site_name_every_page():
    index, site = text_of("docs/index.md"), text_of("mkdocs.yml")
    for page in DOCS:
        assert page == "docs/index.md" or f"]({page.removeprefix('docs/')})" in index, (
            f"docs/index.md leaves out {page}"
        )
    for page in PAGES:
        assert re.search(rf": {re.escape(page)}$", site, re.M), f"mkdocs.yml leaves out {page}"


def test_the_readme_is_short():
    assert len(text_of("README.md").splitlines()) <= 130


def test_the_configuration_page_is_generated():
    assert text_of("docs/configuration.md") == configuration.page(), "run `.venv/bin/python -m docs.configuration`"


def test_every_field_has_a_meaning():
    rows = re.findall(r"^\| `\w+` \| (.*?) \| (.*?) \| .*\|$", text_of("docs/configuration.md"), re.M)
    assert len(rows) == len(leaves(to_dict(Config()))) - len(leaves(to_dict(Config())["optim"]))  # once for both stages
    assert all(meaning for _, meaning in rows)


def leaves(tree: dict) -> list:
    return [leaf for value in tree.values() for leaf in (leaves(value) if isinstance(value, dict) else [value])]


def test_limits_are_those_of_the_validation():
    page = text_of("docs/configuration.md")
    assert re.search(r"^\| `block_size` .*choose 1 to 32 \|$", page, re.M)
    assert re.search(r"^\| `schedule` .*choose step or cosine \|$", page, re.M)


def test_the_pretrained_model_is_described_as_it_is():
    (line,) = [line for line in text_of("README.md").splitlines() if line.startswith("| `checkpoints/demo`")]
    results = json.loads(text_of("checkpoints/demo/results.json"))
    size = sum(path.stat().st_size for path in (ROOT / "checkpoints/demo").rglob("*") if path.is_file())
    cells = [cell.strip() for cell in line.strip("|").split(" | ")]
    row = results["rows"][results["exported_row"]]
    assert cells[2] == f"{row['epe_mm']:.2f}, `{results['dataset']}` {results['split']} split"
    assert cells[3] == f"{size / 1e6:.1f} MB"
    assert cells[4] == f"`{results['command']}`"


def demo_table() -> str:
    """What stands in README between the marks of the demo's results."""
    rows = result_files.read(ROOT / "results/rendered/label_steps.json")["rows"]
    lines = []
    for name in ("depth_teacher", "rgb_baseline", "pmd_net", "pmd_net_unlabelled"):
        short, long = (rows[f"{name}/{times}"] for times in (1, 3))
        figures = ((short["epe_mm"], ".2f"), (short["auc_20_50"], ".3f"), (long["epe_mm"], ".2f"))
        lines.append([METHODS[name].title, *(format_ci(values.values(), form) for values, form in figures)])
    gains = []
    for times in (1, 3):
        baseline, student = (rows[f"{name}/{times}"]["epe_mm"] for name in ("rgb_baseline", "pmd_net_unlabelled"))
        gains.append(format_ci([100 * (student[seed] / baseline[seed] - 1) for seed in student], "+.1f"))
    seeds = f"{len(rows['pmd_net_unlabelled/1']['epe_mm'])} seeds"
    table = markdown_table(["network", "EPE, mm", "AUC 20–50 mm", "EPE after three times the training, mm"], lines)
    protocol = rows["pmd_net_unlabelled/1"]["protocol"]["0"]
    return (
        f"{table}\n\nrendered_hands/large_mask_box, test split, {seeds}, mean ± 95 % interval; {protocol}. The last "
        f"network against the baseline, paired by seed: {gains[0]} %; with three times the training {gains[1]} %. "
        "Values: `results/rendered/label_steps.json`; command: RESULTS.md."
    )


def test_the_demos_results_are_those_of_the_study():
    """Between the two marks stands what was measured, and nowhere else."""
    begin, end = "<!-- demo-results:begin -->", "<!-- demo-results:end -->"
    readme = text_of("README.md")
    assert readme.count(begin) == readme.count(end) == 1
    assert readme.split(begin)[1].split(end)[0].strip() == demo_table()
