"""How long programs take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

REST_S = 0.1


def by_turns(
    programs: Mapping[str, Callable[[], Any]], *, seconds: float, rounds: int = 3, calls: int = 1
) -> dict[str, float]:
    """Median seconds a call of each program. They take turns, so that what else the machine does meets all alike.

    Before each turn all rest, for the threads of some libraries keep cores busy for a while in wait of the next call.

    Args:
        programs: each runs once and returns when its result is there. The first call of each is not counted.
        seconds: to spend on all together, but for the warm-up …
        rounds: … and at least this many turns each.
        calls: a turn; the first is left out where there are several, for the others have filled the caches.
    """
    for program in programs.values():
        program()
    times: dict[str, list[float]] = {name: [] for name in programs}
    began, turn = time.perf_counter(), 0
    while turn < rounds or time.perf_counter() - began < seconds:
        turn += 1
        for name, program in programs.items():
            time.sleep(REST_S)
            spent = [seconds_of(program) for _ in range(calls)]
            times[name] += spent[1:] or spent
    return {name: statistics.median(spent) for name, spent in times.items()}


def seconds_of(program: Callable[[], Any]) -> float:
    """What one call takes."""
    began = time.perf_counter()
    program()
    return time.perf_counter() - began
