"""How several processes find each other, and how long a lost one may go unnoticed."""

from __future__ import annotations

import faulthandler
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import jax

from pmd_jax.runtime.distributed import DistributedError
from pmd_jax.runtime.errors import EXIT_FAULT
from pmd_jax.runtime.preemption import ending_at_once

LOST_AFTER_S = 40  # a process that is silent for so long counts as lost, and JAX ends all others
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy", "all_proxy")


def join(coordinator: str | None, processes: int | None, process: int | None, timeout_s: int) -> None:
    """Makes this process one of several. Before JAX's first computation.

    Args:
        coordinator: host:port of process 0; with None, JAX finds all three in its environment (Slurm, Cloud TPU …).
        processes: how many there are.
        process: which of them this is, from 0.
        timeout_s: when to give up if not all are there.

    Raises:
        DistributedError: the options do not fit each other, no cluster is found, or the processes' devices differ in
            number. If others do not come, the process ends with a sentence and `EXIT_FAULT`; if it is asked to stop
            meanwhile, with `EXIT_PREEMPTED`, so that what started it starts it again.
    """
    with ending_at_once("Stopped while waiting for the other processes; run the same command again."):
        _join(coordinator, processes, process, timeout_s)


def _join(coordinator: str | None, processes: int | None, process: int | None, timeout_s: int) -> None:
    if coordinator is not None:
        host, port = _check(coordinator, processes, process)
        _wait_for_name(host, port, timeout_s)
    elif processes is not None or process is not None:
        raise DistributedError("--processes and --process need --coordinator=host:port, the address of process 0.")
    jax.config.update("jax_enable_preemption_service", False)  # its handler would take SIGTERM from `preemption`
    if faulthandler.is_enabled():
        # JAX aborts from a thread of its own when another process is lost. To print what Python's threads do, which go
        # on meanwhile, would now and then end in a segmentation fault: exit code 139 in place of 134.
        faulthandler.enable(all_threads=False)
    missing = (
        f"Error: after {timeout_s} s not all processes were there. Start each with the same --coordinator and "
        "--processes and a --process of its own, see that the coordinator's port can be reached, or give a longer "
        "--join_timeout."
    )
    # JAX would end the process with a stack trace in C++; nothing in Python could catch that.
    with _deadline(timeout_s, missing), _without_proxy():
        try:
            jax.distributed.initialize(
                coordinator,
                processes,
                process,
                cluster_detection_method=None if coordinator is None else "deactivate",
                initialization_timeout=timeout_s + 60,
                heartbeat_timeout_seconds=LOST_AFTER_S,
            )
        except (ValueError, RuntimeError, OSError) as error:
            first_line = str(error).strip().partition("\n")[0]
            raise DistributedError(
                f"This process could not join the others ({first_line}): on Slurm and Cloud TPU start it as "
                "BUILD.md says, elsewhere give --coordinator=host:port, --processes and --process."
            ) from error
        devices = Counter(device.process_index for device in jax.devices())
    if len(set(devices.values())) > 1:
        raise DistributedError(
            f"The processes have {[devices[i] for i in sorted(devices)]} devices: each must have the same number."
        )


def _check(coordinator: str, processes: int | None, process: int | None) -> tuple[str, int]:
    """Host and port of the coordinator."""
    host, _, port = coordinator.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or not port.isdigit() or not 0 < int(port) < 65536 or (":" in host and not bracketed):
        raise DistributedError(
            f"--coordinator={coordinator}: give host:port of process 0, as in node0:9876 or [::1]:9876."
        )
    if processes is None or process is None:
        raise DistributedError(f"--coordinator={coordinator} needs --processes and --process, too.")
    if not 0 <= process < processes:
        raise DistributedError(f"--process={process} of --processes={processes}: processes count from 0.")
    return host.strip("[]"), int(port)


def _wait_for_name(host: str, port: int, timeout_s: float) -> None:
    """The names of pods and nodes appear some time after they were asked for.

    Raises:
        DistributedError: this one does not.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            socket.getaddrinfo(host, port)
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise DistributedError(
                    f"--coordinator: after {timeout_s} s there is still no host {host} ({error.strerror})."
                ) from error
            time.sleep(min(2, timeout_s))


@contextmanager
def _without_proxy() -> Iterator[None]:
    """A proxy for the web is no way to the other processes, and gRPC would take it without a word."""
    proxies = {name: value for name, value in os.environ.items() if name.lower() in _PROXIES}
    for name in proxies:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(proxies)


@contextmanager
def _deadline(seconds: float, sentence: str) -> Iterator[None]:
    """Ends the process with a sentence if the block takes longer."""

    def end() -> None:
        print(sentence, file=sys.stderr, flush=True)
        os._exit(EXIT_FAULT)  # they may still come: to be started again

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
