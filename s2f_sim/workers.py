"""Threads that share one layer's output rows."""

import os
from collections.abc import Callable
from itertools import count
from queue import SimpleQueue
from threading import Lock, Thread
from time import perf_counter_ns

import numpy as np

from s2f_sim.kernels.waiting import wait_for

# Of each thread, so that one with silent rows takes work from a busy one; where rows take long, as
# every piece costs as much again as handing it over.
PIECES_OF_LONG_LAYERS = 2
LONG_NS = 2_000_000
# What sharing a layer saves, roughly: threads may be halves of one core.
_GAIN = 1.4
# Handing work to a thread that is awake and waiting for it costs some ten microseconds.
WORTHWHILE_NS = 250_000
# Of some tens of nanoseconds: a thread stays awake for a millisecond, as a processor of a virtual
# machine that has gone to sleep takes long to wake.
_LOOKS = 20_000
# While the thread that has a job hands it on, begins with it and lets go of the interpreter's lock.
_REST = 200


class Pace:
    """How long one thread takes for a layer: a guess, then what the last run tells.

    Args:
        ns: the guess, in nanoseconds.
    """

    def __init__(self, ns: float) -> None:
        self.ns = ns


class _Job:
    """Rows to work on, piece by piece, by whoever comes.

    Args:
        rows: how many there are.
        pieces: how many they are cut into.
        work: does a range of them.
    """

    def __init__(self, rows: int, pieces: int, work: Callable[[int, int], None]) -> None:
        self.rows, self.pieces, self.work = rows, pieces, work
        self.errors: list[BaseException] = []
        # The interpreter makes taking the next number atomic.
        self._numbers = count()

    def take(self) -> bool:
        """Do a piece that nobody has taken; return whether there was one."""
        piece = next(self._numbers)
        if piece >= self.pieces:
            return False
        try:
            self.work(self.rows * piece // self.pieces, self.rows * (piece + 1) // self.pieces)
        except BaseException as error:
            self.errors.append(error)
        return True


class _Helpers:
    """Threads that take pieces of a job: awake for a while after each, then asleep."""

    def __init__(self, size: int) -> None:
        self._busy = Lock()
        self.interrupted = False
        self._job: tuple[int, _Job | None] = (0, None)
        # Looked at while the interpreter's lock is free: jobs there were, pieces each thread did.
        self._jobs, self._done = np.zeros(1, np.int64), np.zeros(size, np.int64)
        self._asleep = [False] * size
        self._wake: list[SimpleQueue[None]] = [SimpleQueue() for _ in range(size)]
        for number in range(size):
            Thread(target=self._serve, args=(number,), name="s2f worker", daemon=True).start()

    def _serve(self, number: int) -> None:
        own = self._done[number : number + 1]
        seen = pieces = 0
        while True:
            if not wait_for(self._jobs, seen + 1, _LOOKS, own, pieces, _REST):
                self._sleep(number, seen)
            seen, job = self._job
            while job is not None and job.take():
                pieces += 1
            # Nothing of the last layer is kept until the next one comes.
            del job

    def _sleep(self, number: int, seen: int) -> None:
        """Sleep until there is another job than the one that was seen last."""
        self._asleep[number] = True
        # A job that came before this thread said that it sleeps does not wake it.
        while self._jobs[0] == seen:
            self._wake[number].get()
        self._asleep[number] = False

    def run(self, job: _Job) -> None:
        """Do a job together; a thread that comes too late is not waited for."""
        with self._busy:
            try:
                self._share(job)
            except BaseException:
                # Nobody knows who is still doing what.
                self.interrupted = True
                raise
        for error in job.errors:
            raise error

    def _share(self, job: _Job) -> None:
        before, own = int(self._done.sum()), 0
        number = int(self._jobs[0]) + 1
        self._job = number, job
        self._jobs[0] = number
        for asleep, wake in zip(self._asleep, self._wake, strict=True):
            if asleep:
                wake.put(None)
        while job.take():
            own += 1
        self._wait(before + job.pieces - own)
        self._job = number, None

    def _wait(self, pieces: int) -> None:
        """Until the other threads have done so many, ever."""
        while not wait_for(self._done, pieces, _LOOKS, self._done[:0], 0, 0):
            pass


_SETS: dict[int, _Helpers] = {}


def _helpers(size: int) -> _Helpers:
    """One set of threads for all simulators of a process, as long as nothing interrupts it."""
    found = _SETS.get(size)
    if found is None or found.interrupted:
        found = _SETS[size] = _Helpers(size)
    return found


class Workers:
    """Runs a kernel over ranges of rows; kernels release the interpreter's lock.

    Args:
        threads: how many; all cores if None.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or os.cpu_count() or 1

    def over_rows(self, rows: int, work: Callable[[int, int], None], pace: Pace) -> None:
        """Call ``work(first, last)`` until every row below ``rows`` is covered once.

        Args:
            rows: how many there are.
            work: does a range of them.
            pace: of this layer.
        """
        if self.threads == 1 or rows == 1:
            work(0, rows)
            return
        begin, shared = perf_counter_ns(), pace.ns >= WORTHWHILE_NS
        if shared:
            each = PIECES_OF_LONG_LAYERS if pace.ns >= LONG_NS else 1
            _helpers(self.threads - 1).run(_Job(rows, min(rows, each * self.threads), work))
        else:
            work(0, rows)
        pace.ns = (perf_counter_ns() - begin) * (_GAIN if shared else 1)
