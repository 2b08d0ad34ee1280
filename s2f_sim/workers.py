"""Threads that share one layer's output rows."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count

# More pieces than threads, so that a thread with silent rows takes work from a busy one.
PIECES_PER_THREAD = 2
# Handing work to a thread and waiting for it costs more than a small layer takes.
WORTHWHILE_NS = 400_000


class Workers:
    """Runs a kernel over ranges of rows; kernels release the interpreter's lock.

    Args:
        threads: how many; all cores if None.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None

    def over_rows(self, rows: int, work: Callable[[int, int], None], estimate_ns: float) -> None:
        """Call ``work(first, last)`` until every row below ``rows`` is covered once.

        Args:
            rows: how many there are.
            work: does a range of them.
            estimate_ns: what one thread would roughly take for all.
        """
        if self._pool is None or rows == 1 or estimate_ns < WORTHWHILE_NS:
            work(0, rows)
            return
        pieces = min(rows, self.threads * PIECES_PER_THREAD)
        # The interpreter makes taking the next number atomic.
        numbers = count()

        def take() -> None:
            while (piece := next(numbers)) < pieces:
                work(rows * piece // pieces, rows * (piece + 1) // pieces)

        futures = [self._pool.submit(take) for _ in range(self.threads - 1)]
        take()
        for future in futures:
            future.result()
