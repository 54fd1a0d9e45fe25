"""Two prepared splits as one: the labelled samples first, and behind them the pairs that are used without labels.

Everything after it sees one split: order of the samples, their indices and draws, the teacher's table, resuming. The
labelled samples have the indices that they have alone. Pixels stay where they are (`column_files.Column`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from pmd_jax.data.column_files import PIXELS, Column
from pmd_jax.data.dataset import Columns


class JoinedColumn(Column):
    """Rows of several columns, counted through."""

    def __init__(self, parts: Sequence[np.ndarray | Column], rows: Int64[np.ndarray, " n"] | None = None):
        self._parts, self._ends = parts, np.cumsum([len(part) for part in parts])
        self._rows = np.arange(self._ends[-1]) if rows is None else rows
        self.shape, self.dtype = (len(self._rows), *parts[0].shape[1:]), parts[0].dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = np.asarray(self._rows[index])
        values = np.empty((*rows.shape, *self.shape[1:]), self.dtype)
        for part, end in zip(self._parts, self._ends, strict=True):
            start = end - len(part)
            here = (start <= rows) & (rows < end)
            values[here] = part[rows[here] - start]
        return values

    def take(self, index: Int64[np.ndarray, " m"]) -> JoinedColumn:
        return JoinedColumn(self._parts, self._rows[index])


def join(first: Columns, second: Columns) -> Columns:
    """The samples of two splits, those of the first with the indices that they have."""
    pairs = {name: (getattr(first, name), getattr(second, name)) for name in Columns.names()}
    columns: dict[str, Any] = {
        name: JoinedColumn(pair) if name in PIXELS else np.concatenate(pair) for name, pair in pairs.items()
    }
    facts = {
        name: np.concatenate([fact, second.facts[name]]) for name, fact in first.facts.items() if name in second.facts
    }
    return Columns(**columns, facts=facts)
