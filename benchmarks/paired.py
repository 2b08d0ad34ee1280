"""Timing several ways to do one thing, in turns, so that the machine's moods hit all alike.

Before a turn nothing runs for a moment: threads of some runtimes wait for more work by turning in
circles, and would take a core from whoever comes next. Each then runs twice and is timed the second
time: as on a stream of images, its own weights are in the caches, and the processor is awake.
"""

import statistics
import time
from collections.abc import Callable, Mapping

SETTLING_SECONDS = 0.05


def times_in_turns(
    runs: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 2
) -> dict[str, list[float]]:
    """Seconds of every run, ``repeats`` rounds of one after the other."""
    for _ in range(warm_up):
        for run in runs.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            time.sleep(SETTLING_SECONDS)
            run()
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def median_ms(seconds: list[float]) -> float:
    """The median in milliseconds."""
    return 1e3 * statistics.median(seconds)


def median_ratio(seconds: list[float], other: list[float]) -> float:
    """The median of the ratios of neighbours in time."""
    return statistics.median(a / b for a, b in zip(seconds, other, strict=True))
