"""What the documents name exists: paths, links, headings, make targets, commands and their options, config fields."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest

from pmd_jax.config import Config
from pmd_jax.config.methods import METHODS
from pmd_jax.runtime.markdown import markdown_table
from pmd_jax.study import result_files
from pmd_jax.study.statistics import format_ci

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))
PAGES = ["README.md", "BUILD.md", "CONTRIBUTING.md", "CHANGELOG.md", *DOCS]
FOLDERS = ("pmd_jax", "datasets", "launch", "tests", "docs", "benchmarks", ".ci")


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


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


def map_of_the_code() -> str:
    return text_of("README.md").split("\n## Map of the code\n")[1].split("\n## ")[0]


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


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_their_options_exist(page):
    for code in code_of(page):
        found = re.search(r"python -m pmd_jax\.(\w+)(.*)", code)
        if not found:
            continue
        module, arguments = ROOT / "pmd_jax" / f"{found[1]}.py", found[2]
        assert module.exists(), f"{page}: {code}"
        source = module.read_text()
        assert "__main__" in source, f"{page}: pmd_jax.{found[1]} is no command"
        for option in re.findall(r"(?<!\S)--(\w+)", arguments):
            assert re.search(rf'"(?:--)?{option}"', source), f"{page}: pmd_jax.{found[1]} has no option --{option}"


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
    readme = "\n".join(code_of("README.md"))
    unnamed = [path.name for path in ROOT.glob("launch/*.py") if path.name not in readme]
    assert not unnamed


def test_the_map_names_every_module():
    """In the table of the map; an `__init__.py` only if it holds more than its docstring."""
    modules = [path for path in ROOT.glob("pmd_jax/**/*") if path.suffix in (".py", ".jinja")]
    wanted = [p for p in modules if p.name != "__init__.py" or len(ast.parse(p.read_text()).body) > 1]
    unnamed = [str(p.relative_to(ROOT)) for p in wanted if f"`{p.relative_to(ROOT)}`" not in map_of_the_code()]
    assert wanted
    assert not unnamed


def test_the_map_names_every_data_set():
    folders = [path.parent.name for path in ROOT.glob("datasets/*/*_dataset_builder.py")]
    assert folders
    assert not [name for name in folders if f"`datasets/{name}/`" not in map_of_the_code()]


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
    table = markdown_table(["network", "EPE, mm", "AUC 20–50 mm", "EPE, three times as long, mm"], lines)
    protocol = rows["pmd_net_unlabelled/1"]["protocol"]["0"]
    return (
        f"{table}\n\nrendered_hands/large_mask_box, test split, {seeds}, mean ± 95 % interval; {protocol}. The last "
        f"row against the baseline, seed by seed: {gains[0]} %; with the longer training {gains[1]} %. The figures are "
        "in results/rendered/label_steps.json, the command in RESULTS.md."
    )


def test_the_demos_results_are_those_of_the_study():
    """Between the two marks stands what was measured, and nowhere else."""
    begin, end = "<!-- demo-results:begin -->", "<!-- demo-results:end -->"
    readme = text_of("README.md")
    assert readme.count(begin) == readme.count(end) == 1
    assert readme.split(begin)[1].split(end)[0].strip() == demo_table()
