"""Asked to stop: SIGTERM and Ctrl-C end a run where it can go on later, on all its processes at the same point.

While the processes still look for each other the signal ends this one at once (`ending_at_once`): nothing is begun yet.
Later, outside the training, it ends what is going on (`Preempted` is raised where the main thread is). Inside, from
`at_looks` on, nothing is interrupted: the loops look (`Stop.reached`), save, and leave. A second signal ends the
process at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pmd_jax.runtime.errors import EXIT_PREEMPTED, Preempted

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Whether the run was asked to stop.

    With several processes, all must call `reached` in the same order and equally often; `pmd_jax.runtime.ending` then
    makes it true at the same call on each of them.
    """

    def __init__(self):
        self.asked = threading.Event()
        self.looks = 0
        self.several = False  # set by `pmd_jax.runtime.ending`: then `at` decides, else `asked`
        self.at: int | None = None
        self.lock = threading.Lock()  # held while the processes agree: looks wait for it
        self.failed: BaseException | None = None  # what another process ended with
        self._interruptible = True
        self._main = threading.main_thread()

    def reached(self) -> bool:
        """Whether to save and leave now. Raises what another process ended with, if one did."""
        with self.lock:
            self.looks += 1
            if self.failed is not None:
                raise self.failed
            return self.asked.is_set() if not self.several else self.at is not None and self.looks >= self.at

    def check(self, where: str) -> None:
        """Looks, and raises `Preempted` if it is time: for what is begun anew when the run goes on."""
        if self.reached():
            raise Preempted(f"stopped {where}")

    @contextmanager
    def at_looks(self) -> Iterator[None]:
        """Inside, a signal interrupts nothing; `reached` tells of it."""
        self.raise_if_told()
        self._interruptible = False
        yield
        self._interruptible = True  # not where an exception is on its way: a second one would take its place
        self.raise_if_told()  # a signal that came after the last look

    def interrupt(self) -> None:
        """Makes the main thread see, from another one, that `asked` or `failed` is set, where it may be interrupted."""
        if self._interruptible and self._main.ident is not None:
            signal.pthread_kill(self._main.ident, signal.SIGUSR1)

    def over(self) -> None:
        """From here on nothing is interrupted."""
        self._interruptible = False

    def raise_if_told(self) -> None:
        """What a signal's handler does in the main thread."""
        if self._interruptible:
            self.raise_if_asked()

    def raise_if_asked(self) -> None:
        """For where one process alone may leave, as the others hear of it."""
        if self.failed is not None:
            raise self.failed
        if self.asked.is_set():
            raise Preempted("stopped outside the training; what was finished is kept")


@contextmanager
def watching() -> Iterator[Stop]:
    """Turns SIGTERM and SIGINT into a `Stop`. In a thread other than the main one, where Python allows no handlers,
    nothing asks it to stop."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def asked(number: int, _frame) -> None:
        if stop.asked.is_set():
            sys.stderr.write("\nAsked a second time: ended at once; the last checkpoint is kept.\n")
            sys.stderr.flush()
            os._exit(128 + number)
        stop.asked.set()
        stop.raise_if_told()

    handlers: dict[signal.Signals, Callable] = dict.fromkeys(SIGNALS, asked)
    handlers[signal.SIGUSR1] = lambda *_: stop.raise_if_told()
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield stop
    finally:
        stop.over()
        # The thread that interrupts may be about to: its signal would end the process.
        before[signal.SIGUSR1] = signal.SIG_IGN
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ending_at_once(sentence: str) -> Iterator[None]:
    """Inside, SIGTERM and SIGINT end the process with a sentence and `EXIT_PREEMPTED`: for where nothing can be lost.

    Also where the main thread is inside a library for minutes, and Python would call no handler: the number of the
    signal goes through a pipe to a thread. In a thread other than the main one, as `watching`, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def wait() -> None:
        while number := os.read(reading, 1):
            if number[0] in SIGNALS:
                print(sentence, file=sys.stderr, flush=True)
                os._exit(EXIT_PREEMPTED)
        os.close(reading)

    threading.Thread(target=wait, name="pmd_jax stop", daemon=True).start()
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    earlier = signal.set_wakeup_fd(writing)
    try:
        yield
    finally:
        signal.set_wakeup_fd(earlier)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writing)
