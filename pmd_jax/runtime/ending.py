"""Several processes end together: asked to stop all stop at the same step, and the failure of one ends the others."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import jax

from pmd_jax.runtime import key_value
from pmd_jax.runtime.distributed import DistributedError, barrier, is_primary, several
from pmd_jax.runtime.errors import EXIT_FAULT, EXIT_PREEMPTED, OtherFailed, Preempted
from pmd_jax.runtime.preemption import Stop

LEAVE_WITHIN_S = 10  # how long a process may go on after another one failed, and process 0 waits for the others
_LOOK_EVERY_S = 0.5


_watch: _Watch | None = None


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
        told = key_value.try_get("pmd/failed")
        if told is not None:
            failed = json.loads(told)
            if failed["process"] != jax.process_index():
                self._fail(_other_failed(**failed))
            self.over.set()
            return
        if self.stop.at is not None:
            return
        if self.stop.asked.is_set():
            key_value.set_key("pmd/stop", "asked")
        if key_value.try_get("pmd/stop") is not None:
            self.stop.asked.set()
            self.stop.interrupt()
            self._agree()

    def _agree(self) -> None:
        """Finds the look at which all stop: the next one that none has made yet. Looks wait meanwhile."""
        with self.stop.lock:
            key_value.set_key(f"pmd/looks/{jax.process_index()}", str(self.stop.looks))
            looks = []
            for process in range(jax.process_count()):
                while (text := key_value.try_get(f"pmd/looks/{process}")) is None:
                    if key_value.try_get("pmd/failed") is not None or self.over.is_set():
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
    key_value.stop = stop
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
            key_value.client().key_value_set("pmd/failed", told)
        code = json.loads(key_value.try_get("pmd/failed") or told)["code"]
        key_value.set_key(f"pmd/left/{mine}", str(code))
        deadline = time.monotonic() + LEAVE_WITHIN_S + 5
        while is_primary() and time.monotonic() < deadline:
            if all(key_value.try_get(f"pmd/left/{process}") is not None for process in all_processes):
                break
            time.sleep(0.1)
    except Exception as error:  # the service is gone: there is nobody left to tell
        print(f"Process 0 could not be told ({str(error).splitlines()[0]}).", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
