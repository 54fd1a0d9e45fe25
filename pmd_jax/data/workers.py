"""One function over many items on every core, in order: what all the data set builders share."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from pmd_jax import prepare

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, total: int, description: str, unit: str = "batch"
) -> Iterator[Result]:
    """`function(item)` for each item, in the order of the items, with a progress bar.

    Args:
        function: a module-level function (workers are fresh processes that find it by name).
        items: picklable arguments; taken as they are needed, so that a long list never waits in memory as results.
        total: how many items there are, for the time left.
        description, unit: what the progress bar says.

    Raises:
        Whatever `function` raises, at the item that raised it; the remaining work is cancelled.
    """
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Fork would copy a parent that may already run JAX's threads.
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=prepare.register_datasets
    )
    pending = deque()
    try:
        with tqdm(total=total, desc=description, unit=unit, dynamic_ncols=True) as progress:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
                    progress.update()
            while pending:
                yield pending.popleft().result()
                progress.update()
    finally:
        pool.shutdown(cancel_futures=True)
