"""The curves of a run, read from the metrics.jsonl that it wrote."""

from __future__ import annotations

import json
from pathlib import Path

# ---- lines


def read_metrics(path: Path) -> tuple[list[dict], int]:
    """The lines of a metrics.jsonl (none where there is no such file), and how many could not be read.

    A run may be killed while it writes its last line; others are torn by what else happens to files.
    """
    *whole, torn = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else [""]
    lines, unread = [], int(torn != "")
    for text in whole:
        try:
            line = json.loads(text)
            _ = str(line["row"]), int(line["step"])
        except (ValueError, KeyError, TypeError):
            unread += 1
        else:
            lines.append(line)
    return lines, unread
