"""Programs that are timed take turns."""

from __future__ import annotations

from pmd_jax.runtime.timing import by_turns


def test_programs_take_turns_and_the_first_call_does_not_count():
    calls: list[str] = []
    times = by_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, seconds=0, rounds=2, calls=2)
    assert calls == ["a", "b", "a", "a", "b", "b", "a", "a", "b", "b"]
    assert 0 <= times["a"] < 0.1
