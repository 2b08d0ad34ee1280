"""Every row once, whichever thread works on it."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import numpy as np
import pytest
from numba import config
from numpy.typing import NDArray

from s2f_sim.kernels.aligned import address_of
from s2f_sim.kernels.kernel import kernel
from s2f_sim.kernels.sharing import (
    NOBODY,
    Share,
    alone,
    board,
    replay,
    serve,
    share_rows,
    written_down,
)
from s2f_sim.kernels.sharing_ir import MORE
from s2f_sim.rooms import Arrays
from s2f_sim.workers import LONG_NS, WORTHWHILE_NS, Helpers, Pace, Workers

compiled = pytest.mark.skipif(
    bool(config.DISABLE_JIT),  # type: ignore[attr-defined]
    reason="nothing is shared where nothing is compiled",
)


@kernel
def mark_rows(times: NDArray[Any], member: NDArray[Any], turns: int, share: Share) -> None:
    """Count how often each row is worked on, slowly, and say who did."""
    if share_rows(share):
        return
    for row in range(share.first, share.last):
        for _ in range(turns):
            times[row, 1] += times[row, 0] ^ member[row]
        times[row, 0] += 1
        member[row] = share.member


def marked(rows: int, turns: int = 1) -> tuple[NDArray[Any], NDArray[Any], Callable[..., None]]:
    """Nothing done yet, by nobody; and what does it."""
    times, member = np.zeros((rows, 2), np.int64), np.full(rows, 99)
    return times, member, lambda _, share: mark_rows(times, member, turns, share)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 2, 7, 100])
def test_every_row_is_worked_on_once(threads: int, rows: int) -> None:
    workers = Workers(threads)
    for _ in range(50):
        times, _, work = marked(rows)
        workers.over_rows(rows, work, Pace(WORTHWHILE_NS))
        assert (times[:, 0] == 1).all()


@compiled
def test_a_thread_helps() -> None:
    workers, seen = Workers(2), set[int]()
    # One that is just being woken comes too late for the first.
    until = monotonic() + 30
    while seen != {0, 1} and monotonic() < until:
        times, member, work = marked(12, 20_000)
        workers.over_rows(12, work, Pace(LONG_NS))
        assert (times[:, 0] == 1).all()
        seen |= set(member.tolist())
        # The same places of an image, in one layer after the other.
        assert (np.diff(member) >= 0).all()
    assert seen == {0, 1}


@compiled
def test_who_helps_stays_until_all_calls_are_made() -> None:
    cells = board(2)
    cells[MORE] = 1
    helper = threading.Thread(target=serve, args=(cells, 1, 10), daemon=True)
    helper.start()
    helper.join(0.2)
    assert helper.is_alive()
    cells[MORE] = 0
    helper.join(10)
    assert not helper.is_alive()


@kernel
def note_more(cells: NDArray[Any], found: NDArray[Any], share: Share) -> None:
    """Whether calls will follow."""
    if share_rows(share):
        return
    found[share.first : share.last] = cells[MORE]


@compiled
def test_calls_that_are_made_again_keep_others_awake() -> None:
    cells, found = board(2), np.full(3, 99)
    written = written_down(lambda share: note_more(cells, found, share), 3, 2)
    assert written is not None
    function, frame = written
    replay(cells, np.array([[function, address_of(frame), shared] for shared in (1, 0)]))
    assert found.tolist() == [1, 1, 1]
    assert cells[MORE] == 0


def test_nobody_falls_asleep_while_kernels_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    served = threading.Semaphore(0)
    monkeypatch.setattr("s2f_sim.workers.serve", lambda *_: served.release())
    helpers = Helpers(1)
    assert served.acquire(timeout=10)
    with helpers.busy:
        # Whether it slept or was about to.
        helpers.wake()
        for _ in range(5):
            assert served.acquire(timeout=10)
    # It sleeps: nothing comes any more.
    while served.acquire(timeout=0.2):
        pass
    helpers.wake()
    assert served.acquire(timeout=10)


def test_small_work_stays_in_one_thread() -> None:
    seen: list[tuple[Arrays, Share]] = []
    Workers(4).over_rows(100, lambda *given: seen.append(given), Pace(WORTHWHILE_NS - 1))
    assert seen == [((), alone(100))]


def test_threads_are_as_many_as_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {5}, raising=False)
    assert Workers().threads == 1
    assert Workers(3).threads == 3


@pytest.mark.parametrize(
    ("ns", "rows", "pieces"), [(45_000, 100, 3), (200_000, 100, 6), (1e6, 100, 18), (1e6, 7, 7)]
)
def test_pieces_are_worth_their_lists(ns: float, rows: int, pieces: int) -> None:
    seen: list[int] = []
    Workers(6).over_rows(rows, lambda _, share: seen.append(share.pieces), Pace(ns))
    assert seen == [pieces]


def test_what_takes_long_is_shared_the_next_time() -> None:
    pace, members = Pace(0), []

    def slow(room: Arrays, share: Share) -> None:
        members.append(share.member)
        work(room, share)

    _, _, work = marked(2, 2_000_000)
    workers = Workers(2)
    workers.over_rows(2, slow, pace)
    workers.over_rows(2, slow, pace)
    assert members == [0, NOBODY]


def test_threads_that_help_another_simulator_are_not_waited_for() -> None:
    entered, done = threading.Event(), threading.Event()
    members: list[int] = []

    def hold(_: Arrays, share: Share) -> None:
        members.append(share.member)
        entered.set()
        assert done.wait(10)

    other = threading.Thread(
        target=lambda: Workers(2).over_rows(4, hold, Pace(WORTHWHILE_NS)), daemon=True
    )
    other.start()
    assert entered.wait(10)
    times, _, work = marked(9)

    def alone_meanwhile(room: Arrays, share: Share) -> None:
        members.append(share.member)
        work(room, share)

    Workers(2).over_rows(9, alone_meanwhile, Pace(1e9))
    assert (times[:, 0] == 1).all()
    done.set()
    other.join()
    assert members == [NOBODY, 0]


def test_an_error_leaves_the_threads_to_the_next() -> None:
    def fail(room: Arrays, share: Share) -> None:
        del room, share
        raise KeyboardInterrupt

    workers = Workers(2)
    with pytest.raises(KeyboardInterrupt):
        workers.over_rows(4, fail, Pace(WORTHWHILE_NS))
    members: list[int] = []
    workers.over_rows(4, lambda _, share: members.append(share.member), Pace(WORTHWHILE_NS))
    assert members == [NOBODY]


@kernel
def raise_in_row(bad: int, share: Share) -> None:
    """Whatever a kernel may raise."""
    if share_rows(share):
        return
    if share.first <= bad < share.last:
        raise ValueError


@compiled
def test_an_error_in_a_piece_does_not_go_unseen() -> None:
    workers = Workers(2)
    for bad in (0, 99):
        with pytest.raises(RuntimeError, match="failed"):
            workers.over_rows(100, lambda _, share: raise_in_row(bad, share), Pace(1e9))  # noqa: B023
    workers.over_rows(100, lambda _, share: raise_in_row(100, share), Pace(1e9))


@pytest.mark.parametrize("threads", [1, 3])
def test_ranges_cover_every_row_once(threads: int) -> None:
    done: list[int] = []
    Workers(threads).over_ranges(7, lambda a, b: done.extend(range(a, b)), Pace(1e9))
    assert sorted(done) == list(range(7))
    with pytest.raises(ZeroDivisionError):
        Workers(threads).over_ranges(7, lambda a, b: done.append(a // (b * 0)), Pace(1e9))
