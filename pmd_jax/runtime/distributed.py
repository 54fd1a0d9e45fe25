"""Several processes: how they wait for each other, and end together.

They talk through JAX's coordination service, a small key-value store that process 0 keeps, and never by computing
something together on the devices: such a wait would end after the devices' own time limits. In a single process all of
this is nothing.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import jax

# Not where it is used: the watching thread must import nothing, as TFDS replaces the import statement for a while.
from jax._src import distributed as jax_distributed

from pmd_jax.runtime import files
from pmd_jax.runtime.errors import EXIT_FAULT, EXIT_PREEMPTED, InputError, OtherFailed, Preempted
from pmd_jax.runtime.preemption import Stop

LEAVE_WITHIN_S = 10  # how long a process may go on after another one failed, and process 0 waits for the others
SHARED_WITHIN_S = 40  # a network disk may show a new file that late
_LOOK_EVERY_S = 0.5
_SAY_AFTER_S = 30


class DistributedError(InputError):
    """Processes that cannot come or stay together; the message names the option and the remedy."""


# ---- waiting for each other


def several() -> bool:
    """Whether this process has joined others."""
    return _client() is not None


def is_primary() -> bool:
    """Whether this is process 0, which prepares, writes and speaks for all."""
    return jax.process_index() == 0


def barrier(what: str) -> None:
    """Returns when every process is here: what process 0 has written before, all may read after.

    Args:
        what: is waited for, in words; said to those who wait for long.

    Raises:
        OtherFailed: another process ended meanwhile.
    """
    if not several():
        return
    name = f"pmd/barrier/{_count('barrier')}"
    _set(f"{name}/{jax.process_index()}", "here")
    if is_primary():
        for process in range(1, jax.process_count()):
            _get(f"{name}/{process}", f"process {process} ({what})")
        _set(f"{name}/go", "all")
    else:
        _get(f"{name}/go", what)


def broadcast(value: Any, what: str) -> Any:
    """Process 0's value on every process.

    Args:
        value: of JSON's types; that of the other processes is not looked at.
        what: is waited for, in words.

    Raises:
        OtherFailed: another process ended meanwhile.
    """
    if not several():
        return value
    name = f"pmd/broadcast/{_count('broadcast')}"
    if is_primary():
        _set(name, json.dumps(value))
    return json.loads(_get(name, what))


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
    _set(f"{name}/{jax.process_index()}", json.dumps(mine))
    if is_primary():
        texts = {p: _get(f"{name}/{p}", f"process {p} ({what})") for p in range(jax.process_count())}
        _set(f"{name}/verdict", _difference(json.loads(texts[0]), {p: json.loads(text) for p, text in texts.items()}))
    if verdict := _get(f"{name}/verdict", what):
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
_watch: _Watch | None = None


def _count(kind: str) -> int:
    """Each call of a kind has a number, the same on all processes, since all make the same calls."""
    _counts[kind] += 1
    return _counts[kind]


def _client() -> Any:
    """The coordination service's client, for which JAX has no public name (the only place that needs it)."""
    return jax_distributed.global_state.client


def _set(key: str, value: str) -> None:
    _client().key_value_set(key, value, allow_overwrite=True)


def _try_get(key: str) -> str | None:
    """A key's value, or None: one question and its answer. (One that waits would stay open in the service for ever.)"""
    try:
        return _client().key_value_try_get(key)
    except jax.errors.JaxRuntimeError as error:
        if "NOT_FOUND" in str(error):
            return None
        raise


def _get(key: str, what: str) -> str:
    """Waits for a key, for as long as no process fails, and says so where it takes long."""
    began = said = time.monotonic()
    pause = 0.002
    while (value := _try_get(key)) is None:
        if _watch is not None and _watch.stop.failed is not None:
            raise _watch.stop.failed
        time.sleep(pause)
        pause = min(2 * pause, 0.2)
        now = time.monotonic()
        if now - said > _SAY_AFTER_S:
            said = now
            print(f"Process {jax.process_index()} waits for {what}, {now - began:.0f} s.", file=sys.stderr, flush=True)
    return value


# ---- ending together


class _Watch(threading.Thread):
    """Looks for what other processes tell: that one was asked to stop, or that one failed.

    A process that cannot see it in time, since it waits on its devices for one that is gone, is ended by this thread.
    """

    def __init__(self, stop: Stop):
        super().__init__(name="pmd_jax watch", daemon=True)
        self.stop = stop
        self.over = threading.Event()

    def run(self) -> None:
        try:
            while not self.over.wait(_LOOK_EVERY_S):
                self._look()
        except Exception as error:  # the service is gone, and with it process 0; JAX ends this process soon
            if not self.over.is_set():
                self._fail(OtherFailed(f"Process 0 is gone ({str(error).splitlines()[0]})", EXIT_FAULT))

    def _look(self) -> None:
        told = _try_get("pmd/failed")
        if told is not None:
            failed = json.loads(told)
            if failed["process"] != jax.process_index():
                self._fail(_other_failed(**failed))
            self.over.set()
            return
        if self.stop.at is not None:
            return
        if self.stop.asked.is_set():
            _set("pmd/stop", "asked")
        if _try_get("pmd/stop") is not None:
            self.stop.asked.set()
            self.stop.interrupt()
            self._agree()

    def _agree(self) -> None:
        """Finds the look at which all stop: the next one that none has made yet. Looks wait meanwhile."""
        with self.stop.lock:
            _set(f"pmd/looks/{jax.process_index()}", str(self.stop.looks))
            looks = []
            for process in range(jax.process_count()):
                while (text := _try_get(f"pmd/looks/{process}")) is None:
                    if _try_get("pmd/failed") is not None or self.over.is_set():
                        return
                    time.sleep(0.05)
                looks.append(int(text))
            self.stop.at = max(looks) + 1

    def _fail(self, failed: BaseException) -> None:
        self.stop.failed = failed
        self.stop.interrupt()
        if not self.over.wait(LEAVE_WITHIN_S):
            print(f"Error: {failed}", file=sys.stderr, flush=True)
            leave(str(failed), failed.code if isinstance(failed, OtherFailed) else EXIT_PREEMPTED)


def _other_failed(process: int, sentence: str, code: int) -> BaseException:
    if code == EXIT_PREEMPTED:
        return Preempted(sentence)
    return OtherFailed(f"Process {process} ended: {sentence}", code)


@contextmanager
def together(stop: Stop) -> Iterator[None]:
    """Inside, `stop` is that of all processes, and the failure of one ends the others (`leave`)."""
    global _watch
    if not several():
        if jax.process_count() > 1:
            raise DistributedError(
                f"JAX sees {jax.process_count()} processes that have not joined: add --distributed, or --coordinator, "
                "--processes and --process (BUILD.md)."
            )
        yield
        return
    stop.several = True
    _watch = _Watch(stop)
    _watch.start()
    yield  # not ended here: an error that leaves this block is still to be told


def failure_of_another() -> BaseException | None:
    """What another process ended with, if that is why this one ends; waits for it to be told."""
    if _watch is None:
        return None
    deadline = time.monotonic() + 3
    while _watch.stop.failed is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return _watch.stop.failed


def leave(sentence: str, code: int) -> None:
    """Ends this process together with the others, all with the same exit code; returns where there is only one.

    With code 0 all wait for the last. With another one the first that fails tells the others why. Process 0 goes last,
    for it keeps the service through which they hear of it. JAX's own end would wait five minutes for those that failed.
    """
    if not several():
        return
    if code == 0:
        barrier("the end of the run")
        if _watch is not None:
            _watch.over.set()
            _watch.join()
        return
    _end(sentence, code)


def _end(sentence: str, code: int) -> NoReturn:
    try:
        mine, all_processes = jax.process_index(), range(jax.process_count())
        told = json.dumps({"process": mine, "sentence": sentence, "code": code})
        with suppress(jax.errors.JaxRuntimeError):  # another one was first
            _client().key_value_set("pmd/failed", told)
        code = json.loads(_try_get("pmd/failed") or told)["code"]
        _set(f"pmd/left/{mine}", str(code))
        deadline = time.monotonic() + LEAVE_WITHIN_S + 5
        while is_primary() and time.monotonic() < deadline:
            if all(_try_get(f"pmd/left/{process}") is not None for process in all_processes):
                break
            time.sleep(0.1)
    except Exception as error:  # the service is gone: there is nobody left to tell
        print(f"Process 0 could not be told ({str(error).splitlines()[0]}).", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
