"""Several processes: how they wait for each other and share what one of them knows.

They talk through a key-value store (`key_value`), and never by computing something together on the devices: such a wait
would end after the devices' own time limits. In a single process all of this is nothing.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from pmd_jax.runtime import files, key_value
from pmd_jax.runtime.errors import InputError

SHARED_WITHIN_S = 40  # a network disk may show a new file that late


class DistributedError(InputError):
    """Processes that cannot come or stay together; the message names the option and the remedy."""


def several() -> bool:
    """Whether this process has joined others."""
    return key_value.client() is not None


def is_primary() -> bool:
    """Whether this is process 0, which prepares, writes and speaks for all."""
    return jax.process_index() == 0


def barrier(what: str) -> None:
    """Returns when every process is here: what process 0 has written before, all may read after.

    Args:
        what: is waited for, in words; said to those who wait for long.

    Raises:
        OtherFailed: another process ended meanwhile (`pmd_jax.runtime.ending`).
    """
    if not several():
        return
    name = f"pmd/barrier/{_count('barrier')}"
    key_value.set_key(f"{name}/{jax.process_index()}", "here")
    if is_primary():
        for process in range(1, jax.process_count()):
            key_value.get(f"{name}/{process}", f"process {process} ({what})")
        key_value.set_key(f"{name}/go", "all")
    else:
        key_value.get(f"{name}/go", what)


def broadcast(value: Any, what: str) -> Any:
    """Process 0's value on every process.

    Args:
        value: of JSON's types; that of the other processes is not looked at.
        what: is waited for, in words.

    Raises:
        OtherFailed: another process ended meanwhile (`pmd_jax.runtime.ending`).
    """
    if not several():
        return value
    name = f"pmd/broadcast/{_count('broadcast')}"
    if is_primary():
        key_value.set_key(name, json.dumps(value))
    return json.loads(key_value.get(name, what))


def require_same(what: str, mine: Mapping[str, Any]) -> None:
    """Makes sure that all processes work on the same thing.

    Args:
        what: is compared, in words.
        mine: this process's values, of JSON's types, by name.

    Raises:
        DistributedError: on every process alike; names what differs, where, and both values.
    """
    if not several():
        return
    name = f"pmd/same/{_count('same')}"
    key_value.set_key(f"{name}/{jax.process_index()}", json.dumps(mine))
    if is_primary():
        texts = {p: key_value.get(f"{name}/{p}", f"process {p} ({what})") for p in range(jax.process_count())}
        all_values = {p: json.loads(text) for p, text in texts.items()}
        key_value.set_key(f"{name}/verdict", _difference(all_values[0], all_values))
    if verdict := key_value.get(f"{name}/verdict", what):
        raise DistributedError(f"The processes differ in their {what}: {verdict}. Start all with the same.")


def _difference(first: Mapping[str, Any], all_values: Mapping[int, Mapping[str, Any]]) -> str:
    """The first value that is not the same on all, in words; empty if there is none."""
    for process, values in all_values.items():
        for name in sorted({*first, *values}):
            ours, theirs = first.get(name), values.get(name)
            if ours != theirs:
                return f"{name} is {ours!r} on process 0 and {theirs!r} on process {process}"
    return ""


def compile_together(jitted: Callable[..., Any], what: str) -> Callable[..., Any]:
    """`jitted`, whose first call waits until every process has compiled it.

    Process 0 may find the program in its cache, and another one compile for minutes. Nobody must wait for that on the
    devices, which give up (on CPUs after 30 s). The shapes of the arguments must be the same in all calls.
    """
    if not several():
        return jitted
    compiled = None

    def call(*arguments: Any) -> Any:
        nonlocal compiled
        if compiled is None:
            compiled = jitted.lower(*arguments).compile()  # pyright: ignore[reportFunctionMemberAccess]
            barrier(f"the compilation of {what}")
        return compiled(*arguments)

    return call


def require_shared(folder: Path, option: str) -> None:
    """Makes sure that process 0's folder is that of all processes; makes it where it is missing.

    Raises:
        DistributedError: a process cannot see what process 0 writes there.
        OSError: process 0 cannot write there.
    """
    if is_primary():
        folder.mkdir(parents=True, exist_ok=True)
    if not several():
        return
    token = folder / broadcast(f".shared_{secrets.token_hex(8)}", f"{option} on process 0")
    if is_primary():
        token.touch()
    try:
        barrier(f"{option} on process 0")
        if files.wait_for_file(lambda: token.exists() or None, SHARED_WITHIN_S) is None:
            raise DistributedError(
                f"{option}={folder} of process {jax.process_index()} on {socket.gethostname()} is not that of process "
                "0: name a folder on a disk that all processes share."
            )
        barrier(f"{option} on all processes")
    finally:
        if is_primary():
            token.unlink(missing_ok=True)


_counts: Counter[str] = Counter()


def _count(kind: str) -> int:
    """Each call of a kind has a number, the same on all processes, since all make the same calls."""
    _counts[kind] += 1
    return _counts[kind]
