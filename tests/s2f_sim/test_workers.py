"""Every row once, whoever does it; errors come back."""

import threading

import pytest

from s2f_sim.workers import WORTHWHILE_NS, Pace, Workers, _Helpers


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 2, 7, 100])
def test_every_row_is_worked_on_once(threads: int, rows: int) -> None:
    workers = Workers(threads)
    for _ in range(50):
        done: list[int] = []
        workers.over_rows(rows, lambda a, b: done.extend(range(a, b)), Pace(WORTHWHILE_NS))  # noqa: B023
        assert sorted(done) == list(range(rows))


def test_small_work_stays_in_one_thread() -> None:
    seen: list[tuple[int, int]] = []
    Workers(4).over_rows(100, lambda a, b: seen.append((a, b)), Pace(WORTHWHILE_NS - 1))
    assert seen == [(0, 100)]


@pytest.mark.parametrize("here", [True, False])
def test_an_error_in_any_thread_is_raised_and_the_threads_go_on(here: bool) -> None:
    main = threading.get_ident()
    met: set[int] = set()
    both = threading.Barrier(2, timeout=10)

    def fail(first: int, last: int) -> None:
        del first, last
        if threading.get_ident() not in met:
            met.add(threading.get_ident())
            both.wait()
            if (threading.get_ident() == main) is here:
                raise RuntimeError("no more")

    workers = Workers(2)
    with pytest.raises(RuntimeError, match="no more"):
        workers.over_rows(4, fail, Pace(WORTHWHILE_NS))
    done: list[int] = []
    workers.over_rows(9, lambda a, b: done.extend(range(a, b)), Pace(WORTHWHILE_NS))
    assert sorted(done) == list(range(9))


def test_what_was_interrupted_disturbs_nothing_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, slow = threading.Event(), threading.Event()

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    def wait(first: int, last: int) -> None:
        del first, last
        if threading.current_thread() is threading.main_thread():
            begun.wait(10)
        else:
            begun.set()
            slow.wait(10)

    pair = Workers(2)
    with monkeypatch.context() as patch:
        patch.setattr(_Helpers, "_wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pair.over_rows(4, wait, Pace(WORTHWHILE_NS))
    for _ in range(20):
        done: list[int] = []
        pair.over_rows(9, lambda a, b: done.extend(range(a, b)), Pace(WORTHWHILE_NS))  # noqa: B023
        assert sorted(done) == list(range(9))
        slow.set()
