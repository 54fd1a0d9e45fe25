"""One function over many items on every core, in order: what all the data set builders share."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from pmd_jax import prepare

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    total: int,
    description: str,
    unit: str = "batch",
    per_item: int = 1,
) -> Iterator[Result]:
    """`function(item)` for each item, in the order of the items, with a progress bar.

    Args:
        function: a module-level function (workers are fresh processes that find it by name).
        items: picklable arguments; taken as they are needed, so that a long list never waits in memory as results.
        total: how many items there are, for the time left.
        description, unit: what the progress bar says.
        per_item: how many units one item stands for.

    Raises:
        Whatever `function` raises, at the item that raised it; the remaining work is cancelled.
    """
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Fork would copy a parent that may already run JAX's threads.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    pending = deque()
    try:
        with tqdm(total=total * per_item, desc=description, unit=unit, dynamic_ncols=True) as progress:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
                    progress.update(per_item)
            while pending:
                yield pending.popleft().result()
                progress.update(per_item)
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """A worker that finds the builders, and that does not outlive a parent that was killed."""
    prepare.register_datasets()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
