"""Threads that share one layer's output rows."""

import os
from collections.abc import Callable
from functools import cache
from itertools import count
from queue import SimpleQueue
from threading import Lock, Thread

# More pieces than threads, so that a thread with silent rows takes work from a busy one.
PIECES_PER_THREAD = 2
# Handing work to a thread and waiting for it costs more than a small layer takes: a processor of a
# virtual machine that has gone to sleep wakes slowly.
WORTHWHILE_NS = 600_000


class _Helpers:
    """Threads that wait for something to do; a queue wakes one faster than an executor does."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._busy = Lock()
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        for _ in range(size):
            Thread(target=self._serve, name="s2f worker", daemon=True).start()

    def _serve(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                job()
            except BaseException as error:
                self._done.put(error)
            else:
                self._done.put(None)
            # Nothing of the last layer is kept until the next one comes.
            del job

    def run(self, job: Callable[[], None]) -> None:
        """Do ``job`` in every thread and in this one; return when all are done."""
        with self._busy:
            for _ in range(self.size):
                self._jobs.put(job)
            try:
                job()
            finally:
                errors = [self._done.get() for _ in range(self.size)]
        for error in errors:
            if error is not None:
                raise error


@cache
def _helpers(size: int) -> _Helpers:
    """One set of threads for all simulators of a process."""
    return _Helpers(size)


class Workers:
    """Runs a kernel over ranges of rows; kernels release the interpreter's lock.

    Args:
        threads: how many; all cores if None.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or os.cpu_count() or 1

    def over_rows(self, rows: int, work: Callable[[int, int], None], estimate_ns: float) -> None:
        """Call ``work(first, last)`` until every row below ``rows`` is covered once.

        Args:
            rows: how many there are.
            work: does a range of them.
            estimate_ns: what one thread would roughly take for all.
        """
        if self.threads == 1 or rows == 1 or estimate_ns < WORTHWHILE_NS:
            work(0, rows)
            return
        pieces = min(rows, self.threads * PIECES_PER_THREAD)
        # The interpreter makes taking the next number atomic.
        numbers = count()

        def take() -> None:
            while (piece := next(numbers)) < pieces:
                work(rows * piece // pieces, rows * (piece + 1) // pieces)

        _helpers(self.threads - 1).run(take)
