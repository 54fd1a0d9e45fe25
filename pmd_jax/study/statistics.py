"""Figures over seeds, and tables in Markdown: what the sections of RESULTS.md share."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import stats


def interval(values: Iterable[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval (Student's t); the latter is not a number for a single value."""
    values = np.fromiter(values, float)
    if len(values) < 2:
        return float(values.mean()), float("nan")
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(half)


def format_ci(values: Iterable[float], form: str = ".2f") -> str:
    """`mean ± half its 95 % interval`, both numbers in a form as "+.1f"; one value says so."""
    values = list(values)
    mean, half = interval(values)
    return f"{mean:{form}} ± {half:{form.lstrip('+')}}" if len(values) > 1 else f"{mean:{form}} (one seed)"


def markdown(head: list[str], lines: list[list[str]]) -> str:
    """A table."""
    ruled = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in ruled)
