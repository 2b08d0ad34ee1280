"""Threads that share one layer's output rows."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from threading import Lock, RLock, Thread
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2f_sim.kernels.aligned import address_of
from s2f_sim.kernels.sharing import (
    NOBODY,
    Share,
    alone,
    board,
    failed,
    replay,
    serve,
    written_down,
)
from s2f_sim.rooms import NO_ROOM, Arrays, Room, Rooms

# Of each thread where rows take long, so that one with silent rows, or on a quicker core, takes
# work from the other; every piece costs the lists of its first rows again.
PIECES_OF_LONG_LAYERS = 3
LONG_NS = 250_000
# Many threads would spend their time on lists.
_SHORTEST_PIECE_NS = 15_000
# What sharing a layer saves, roughly: threads may be halves of one core.
_GAIN = 1.4
# A thread that is awake begins within a microsecond; its core has to fetch the weights, too.
WORTHWHILE_NS = 40_000
# Of some tens of nanoseconds: a thread stays awake for a millisecond, as a processor of a virtual
# machine that has gone to sleep takes long to wake.
_LOOKS = 20_000
# Beginning threads takes some hundred microseconds.
_WORTH_A_POOL_NS = 1_000_000


class Pace:
    """How long one thread takes for a layer: a guess, then what the last run tells.

    Args:
        ns: the guess, in nanoseconds.
    """

    def __init__(self, ns: float) -> None:
        self.ns = ns


class Call(NamedTuple):
    """A kernel's call that was recorded.

    Attributes:
        function: address of what does its pieces.
        frame: what it was called with.
        shared: whether others may help.
        memory: in which its room lies.
    """

    function: int
    frame: NDArray[np.int64]
    shared: bool
    memory: NDArray[np.uint8]


class Helpers:
    """Threads that look at a board: awake for a while after each kernel, then asleep."""

    def __init__(self, size: int) -> None:
        self.busy = Lock()
        self.board = board(1 + size)
        self._asleep = [False] * size
        self._wake: list[SimpleQueue[None]] = [SimpleQueue() for _ in range(size)]
        for number in range(size):
            Thread(target=self._serve, args=(number,), name="s2f worker", daemon=True).start()

    def _serve(self, number: int) -> None:
        while True:
            serve(self.board, 1 + number, _LOOKS)
            self._asleep[number] = True
            # Whoever began before that was said has woken nobody.
            if not self.busy.locked():
                self._wake[number].get()
            self._asleep[number] = False

    def wake(self) -> None:
        """Those who sleep; nobody waits for them."""
        for number, asleep in enumerate(self._asleep):
            if asleep:
                self._asleep[number] = False
                self._wake[number].put(None)


_SETS: dict[int, Helpers] = {}


def _helpers(size: int) -> Helpers:
    """One set of threads for all simulators of a process."""
    if size not in _SETS:
        _SETS[size] = Helpers(size)
    return _SETS[size]


class Workers:
    """Runs a kernel over rows.

    Args:
        threads: how many; all cores that this process may use if None.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or _cores()
        self._rooms = Rooms(self.threads)
        self._own_board = board(0)
        # One kernel at a time works in the rooms.
        self.lock = RLock()
        # Calls are added here, if somebody wants to know them.
        self.recording: list[Call] | None = None

    def over_rows(
        self,
        rows: int,
        work: Callable[[Arrays, Share], None],
        pace: Pace,
        room: Room = NO_ROOM,
    ) -> None:
        """Call a kernel that covers every row below ``rows`` once.

        Args:
            rows: how many there are.
            work: calls the kernel with its room and with a share of all rows.
            pace: of this layer.
            room: what every member works in.
        """
        with self.lock:
            ask, pieces = partial(work, self._rooms.of(room)), self._pieces(rows, pace)
            if self.recording is not None:
                self._write_down(rows, pieces, ask)
            begin = perf_counter_ns()
            if pieces > 1:
                with self._helped() as cells:
                    here = cells is self._own_board
                    ask(alone(rows) if here else Share(address_of(cells), pieces, NOBODY, 0, rows))
            else:
                ask(alone(rows))
            pace.ns = (perf_counter_ns() - begin) * (_GAIN if pieces > 1 else 1)

    def _pieces(self, rows: int, pace: Pace) -> int:
        """Into which rows are cut; one if sharing them does not pay."""
        if self.threads == 1 or pace.ns < WORTHWHILE_NS:
            return 1
        each = PIECES_OF_LONG_LAYERS if pace.ns >= LONG_NS else 1
        return min(rows, each * self.threads, max(2, int(pace.ns / _SHORTEST_PIECE_NS)))

    @contextmanager
    def _helped(self) -> Iterator[NDArray[np.int64]]:
        """The board that helpers look at; one of our own if they help another simulator."""
        helpers = _helpers(self.threads - 1) if self.threads > 1 else None
        if helpers is None or not helpers.busy.acquire(blocking=False):
            yield self._own_board
            _check(self._own_board)
            return
        try:
            helpers.wake()
            yield helpers.board
            _check(helpers.board)
        finally:
            helpers.busy.release()

    def _write_down(self, rows: int, pieces: int, ask: Callable[[Share], None]) -> None:
        assert self.recording is not None
        found = written_down(ask, rows, pieces)
        if found is not None:
            self.recording.append(Call(*found, pieces > 1, self._rooms.memory))

    def replay(self, calls: NDArray[np.int64]) -> None:
        """Call kernels that were recorded, see `kernels.sharing.replay`."""
        with self._helped() as cells:
            replay(cells, calls)

    def over_ranges(self, rows: int, work: Callable[[int, int], None], pace: Pace) -> None:
        """Call ``work(first, last)``, which is more than a kernel, for each thread's part of rows.

        Args:
            rows: how many there are.
            work: does a range of them.
            pace: of this layer.
        """
        parts = min(rows, self.threads) if pace.ns >= _WORTH_A_POOL_NS else 1
        if parts == 1:
            work(0, rows)
            return
        ends = [rows * part // parts for part in range(parts + 1)]
        with ThreadPoolExecutor(parts) as pool:
            list(pool.map(work, ends, ends[1:]))


def _cores() -> int:
    # Not on every system a process may be kept from some.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check(cells: NDArray[np.int64]) -> None:
    if failed(cells):
        raise RuntimeError("a kernel failed; this is an error of the simulator")
