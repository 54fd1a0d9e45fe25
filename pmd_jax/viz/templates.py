"""The one way in which pages and cards are made from the templates of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2


def render(name: str, **values: Any) -> str:
    """A template of `viz/templates/` with these values; a value that is missing is an error of ours.

    Args:
        name: "report.html", say; in HTML every value is escaped.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=name.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{name}.jinja").render(**values)
