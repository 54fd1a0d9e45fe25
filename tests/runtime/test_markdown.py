"""Tables in Markdown."""

from __future__ import annotations

from pmd_jax.runtime.markdown import markdown_table


def test_a_bar_inside_a_cell_is_no_column():
    assert markdown_table(("a", "b"), [("1", "x|y")]) == "| a | b |\n| --- | --- |\n| 1 | x\\|y |"
