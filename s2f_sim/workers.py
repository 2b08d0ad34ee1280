"""Threads that share one layer's output rows."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

# More pieces than threads, so that a thread with silent rows takes work from a busy one.
PIECES_PER_THREAD = 4


class Workers:
    """Runs a kernel over ranges of rows; kernels release the interpreter's lock.

    Args:
        threads: how many; all cores if None.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    def over_rows(self, rows: int, work: Callable[[int, int], None]) -> None:
        """Call ``work(first, last)`` until every row below ``rows`` is covered once."""
        if self._pool is None or rows == 1:
            work(0, rows)
            return
        pieces = min(rows, self.threads * PIECES_PER_THREAD)
        edges = [rows * piece // pieces for piece in range(pieces + 1)]
        for future in [self._pool.submit(work, first, last) for first, last in pairwise(edges)]:
            future.result()
