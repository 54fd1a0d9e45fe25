"""The key-value store through which several processes talk: JAX's coordination service, which process 0 keeps."""

from __future__ import annotations

import sys
import time
from typing import Any

import jax

# Not where it is used: the watching thread must import nothing, as TFDS replaces the import statement for a while.
from jax._src import distributed as jax_distributed

from pmd_jax.runtime.preemption import Stop

_SAY_AFTER_S = 30  # how long to wait without a word

stop: Stop | None = None  # of all processes, while they are together (`pmd_jax.runtime.ending`)


def client() -> Any:
    """The coordination service's client, for which JAX has no public name (the only place that needs it)."""
    return jax_distributed.global_state.client


def set_key(key: str, value: str) -> None:
    client().key_value_set(key, value, allow_overwrite=True)


def try_get(key: str) -> str | None:
    """A key's value, or None: one question and its answer. (One that waits would stay open in the service for ever.)"""
    try:
        return client().key_value_try_get(key)
    except jax.errors.JaxRuntimeError as error:
        if "NOT_FOUND" in str(error):
            return None
        raise


def get(key: str, what: str) -> str:
    """Waits for a key, for as long as no process fails, and says so where it takes long.

    Raises:
        OtherFailed, Preempted: what another process ended with.
    """
    began = said = time.monotonic()
    pause = 0.002
    while (value := try_get(key)) is None:
        if stop is not None and stop.failed is not None:
            raise stop.failed
        time.sleep(pause)
        pause = min(2 * pause, 0.2)
        now = time.monotonic()
        if now - said > _SAY_AFTER_S:
            said = now
            print(f"Process {jax.process_index()} waits for {what}, {now - began:.0f} s.", file=sys.stderr, flush=True)
    return value
