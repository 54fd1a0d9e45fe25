"""Figures over seeds: what the sections of RESULTS.md share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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


def ci_and_seeds(values: Iterable[float], form: str = ".2f") -> str:
    """`format_ci` and of how many seeds it is; a dash for none."""
    values = list(values)
    if not values:
        return "–"
    return format_ci(values, form) + (f" ({len(values)} seeds)" if len(values) > 1 else "")


def paired(ours: Mapping[str, float], theirs: Mapping[str, float]) -> list[float]:
    """Differences over the seeds that both have."""
    return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
