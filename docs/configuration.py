"""Writes docs/configuration.md from the schema, its comments and the validation, so that the page cannot be wrong.

    .venv/bin/python -m docs.configuration

A field's meaning is its comment in `pmd_jax/config/schema.py`. Its limits are what `validate` answers to values that
are out of range. `tests/test_docs.py` fails when the page is not up to date.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pmd_jax.config import Config, ConfigError, schema, validate
from pmd_jax.runtime.markdown import markdown_table

PAGE = Path(__file__).with_name("configuration.md")
INTRODUCTION = """\
# Configuration

Every field of a run's configuration. A file of `launch/` has one function, `get_config()`, which returns a `Config`.
Any field can be set on the command line:

    .venv/bin/python -m pmd_jax.main --config=launch/rhd_distill.py --config.optim.learning_rate=2e-4 --config.seed=1 \\
        "--config.rows=('rgb_baseline','pmd_net')" --workdir=runs/rhd_seed1

Quote what the shell would read. A field's name on the command line is the heading and the name in the table:
`config.optim.steps`. Defaults are the paper's values on RHD; [paper.md](paper.md) gives the reasons. Unknown
fields, wrong types and values out of range are refused before anything is written.

This page is generated from `pmd_jax/config/schema.py` and `pmd_jax/config/validation.py` by
`.venv/bin/python -m docs.configuration`. The limits in the last column are what the validation answers."""
# One of each kind of value that no field of the type should take; fields that take them have no limit to show.
OUT_OF_RANGE = {
    int: (-1, 0, 2**40),
    float: (math.nan, -1.0, 1e9),
    str: ("?",),
    tuple: ((), ("?",), (2, 1), (-1.0,) * 3),
}


def page() -> str:
    """The whole page."""
    return "\n\n".join([INTRODUCTION, *_sections(Config(), "config", "", _comments(), {})]) + "\n"


def _sections(group: Any, path: str, meaning: str, comments: dict[str, str], seen: dict[type, str]) -> Iterator[str]:
    """A heading and a table for a group, then the same for the groups inside it.

    Args:
        comments: see `_comments`.
        seen: the groups that were described already, by type; filled here.
    """
    kind, values = type(group), {field.name: getattr(group, field.name) for field in dataclasses.fields(group)}
    yield f"## {path}"
    yield from filter(None, [meaning])
    if kind in seen:
        yield f"The fields of `{seen[kind]}`, with the same defaults and limits."
        return
    seen[kind] = path
    inner = {name: value for name, value in values.items() if dataclasses.is_dataclass(value)}
    lines = []
    for name, value in values.items():
        if name not in inner:
            meaning = comments[f"{kind.__name__}.{name}"]
            lines.append([f"`{name}`", f"`{value!r}`", meaning, _limits(f"{path}.{name}", value)])
    yield markdown_table(["field", "default", "meaning", "limits"], lines)
    for name, value in inner.items():
        said = [comments[f"{kind.__name__}.{name}"], inspect.getdoc(type(value)) or ""]
        yield from _sections(value, f"{path}.{name}", " ".join(map(_sentence, filter(None, said))), comments, seen)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "." * (not text.endswith("."))


def _comments() -> dict[str, str]:
    """`Class.field` → the comment behind the field, or the lines of comment above it."""
    source = inspect.getsource(schema)
    lines, found = source.splitlines(), {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                end = lines[(field.end_lineno or field.lineno) - 1][field.end_col_offset :]
                above = _above(lines, field.lineno - 1)
                text = " ".join([*above, *re.findall(r"#\s*(.*)", end)])
                found[f"{node.name}.{field.target.id}"] = _cell(text)
    return found


def _above(lines: list[str], index: int) -> list[str]:
    above = []
    while lines[index - 1].lstrip().startswith("#"):
        index -= 1
        above.insert(0, lines[index].lstrip("# "))
    return above


def _limits(path: str, default: Any) -> str:
    """What `validate` says of values that the field cannot take."""
    remedies = []
    for value in OUT_OF_RANGE.get(type(default), ()):
        config = Config()
        _, *groups, name = path.split(".")
        setattr(functools.reduce(getattr, groups, config), name, value)
        try:
            validate(config)
        except (
            ConfigError
        ) as error:  # of this field, or of an entry of it; a field may also break the limits of another
            field, _, remedy = str(error).removesuffix(".").partition(": ")
            remedies += [remedy] if field.startswith(f"{path} = ") else []
        except TypeError:  # a type that the command line would have refused before
            continue
    return _cell("; ".join(dict.fromkeys(remedies)))


def _cell(text: str) -> str:
    """Text for a Markdown table: what looks like HTML or a column stays text."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    from pmd_jax.runtime.files import write_text

    write_text(PAGE, page())


if __name__ == "__main__":
    main()
