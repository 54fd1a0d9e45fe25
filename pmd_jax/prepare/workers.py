"""One function over many items on every core, in order: what all the data set builders share."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import TypeVar

from tqdm import tqdm

from pmd_jax.prepare import registry
from pmd_jax.runtime.cores import usable_cores
from pmd_jax.runtime.errors import InputError

Item = TypeVar("Item", bound=Sized)
Result = TypeVar("Result")
# Every core has a worker: threads of a worker's own would only wait for each other, and spin while they do.
ONE_THREAD: dict[str, str] = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")}


def parallel_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    total: int,
    description: str,
    unit: str,
) -> Iterator[Result]:
    """`function(item)` for each item, in the order of the items, with a progress bar.

    Args:
        function: a module-level function (workers are fresh processes that find it by name).
        items: picklable arguments; taken as they are needed, so that a long list never waits in memory as results.
        total: the sum of the items' lengths, for the time left.
        description, unit: what the progress bar says; an item counts as many units as it is long.

    Raises:
        Whatever `function` raises, at the item that raised it; the remaining work is cancelled.
        InputError: a worker was killed.
    """
    workers = usable_cores()
    # Fork would copy a parent that may already run JAX's threads.
    context = _Context()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    pending, wanted = deque(), True
    try:
        with tqdm(total=total, desc=description, unit=unit, dynamic_ncols=True) as progress:

            def finished() -> Result:
                item, future = pending.popleft()
                result = future.result()
                progress.update(len(item))
                return result

            for item in items:
                pending.append((item, pool.submit(function, item)))
                if len(pending) > 2 * workers:
                    yield finished()
            while pending:
                yield finished()
        wanted = False
    except BrokenProcessPool:
        raise InputError(
            f"{description}: a worker process was killed, most often because memory ran out ({workers} work at once). "
            "Nothing was kept; make room, or give fewer cores (taskset -c 0), and start again."
        ) from None
    finally:
        if wanted:  # and no more: an error, Ctrl-C (perhaps before the first item is pending), a reader who went away
            context.end_workers()
        pool.shutdown(cancel_futures=True)


class _Process(SpawnProcess):
    """A worker with one thread for linear algebra, which Ctrl-C in the terminal does not reach: its parent decides."""

    def start(self) -> None:
        resource_tracker.ensure_running()  # starting it unblocks signals
        # Read when the libraries are loaded, before any code of ours runs there.
        with _environment(ONE_THREAD), _uninterrupted():
            super().start()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits for the end of the block; processes that are started in it do not get it at all.

    A worker whose start is interrupted would say so with a traceback of its own. The mask alone does not keep the
    interrupt from this thread, for the kernel hands the signal to another one of the process.
    """
    arrived: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, _: arrived.append(number)) if is_main else None
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited, and so from the first moment on
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if is_main:
            signal.signal(signal.SIGINT, handler or signal.SIG_DFL)
    if arrived:
        signal.raise_signal(signal.SIGINT)  # to whoever handles it


class _Context(SpawnContext):
    """Makes such workers, and keeps them in mind."""

    def __init__(self):
        super().__init__()
        self._started: list[_Process] = []

    def Process(self, *args, **kwargs) -> _Process:  # the name that the executor calls
        self._started.append(_Process(*args, **kwargs))
        return self._started[-1]

    def end_workers(self) -> None:
        """At once, whatever they are at: they write nothing."""
        for process in self._started:
            if process.pid is not None:
                process.terminate()


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start_worker() -> None:
    """A worker that finds the builders, and that does not outlive a parent that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    registry.register_datasets()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
