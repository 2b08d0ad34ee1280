"""What does a second thread save, and what does it depend on?

    python benchmarks/two_threads.py [--counts 0.1 0.37 0.8] [--pairs 80] [--json FILE]

E-SpikeFormer m, int8, one and two threads in turns. A host may put two virtual processors onto one
core, onto cores that share a cache, or onto cores that share none, and moves them while one looks.
Before and after every pair the script measures how long a number takes from one thread to the other
and back, and sorts pairs by that: below 90 ns one core, below 250 ns a shared cache, else none, as
far as both agree.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

import s2f_deploy
from s2f_sim.kernels.lanes import pointers
from s2f_sim.kernels.sharing_ir import LINE, read, write
from s2f_sim.simulator import Simulator

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from paired import median_ms, times_in_turns
from whole_networks import STREAM, an_image, build

ONE_CORE_NS, SHARED_CACHE_NS = 90, 250
ROUNDS, TRIPS = 40, 100
COLUMNS = "mean_count", "placement", "pairs", "one_thread_ms", "two_threads_ms", "gain"
NETWORK, SIDE = "e_spikeformer_m", 224


@intrinsic
def see(_: Any, cells: Any, at: Any) -> Any:
    """A cell that the other thread writes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return read(builder, *pointers(context, builder, signature, args))

    return types.int64(cells, at), codegen


@intrinsic
def tell(_: Any, cells: Any, at: Any, number: Any) -> Any:
    """Write a cell that the other thread sees."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        cells, at, number = pointers(context, builder, signature, args)
        write(builder, number, cells, at)
        return context.get_dummy_value()

    return types.void(cells, at, number), codegen


@njit(nogil=True)
def call(cells: NDArray[Any], first: int, last: int) -> None:
    """Say numbers, each after the one before has come back."""
    for number in range(first, last):
        tell(cells, 0, number)
        while see(cells, LINE) != number:
            pass


@njit(nogil=True)
def answer(cells: NDArray[Any], first: int, last: int) -> None:
    """Say every number back."""
    for number in range(first, last):
        while see(cells, 0) != number:
            pass
        tell(cells, LINE, number)


def round_trip_ns() -> float:
    """The median over some rounds of many numbers."""
    cells, found = np.zeros(2 * LINE, np.int64), []
    end = 1 + ROUNDS * TRIPS
    other = threading.Thread(target=answer, args=(cells, 1, end))
    other.start()
    for first in range(1, end, TRIPS):
        begin = time.perf_counter_ns()
        call(cells, first, first + TRIPS)
        found.append((time.perf_counter_ns() - begin) / TRIPS)
    other.join()
    return statistics.median(found)


def placement(before: float, after: float) -> str:
    """Where the two processors were, if they stayed there."""
    if max(before, after) < ONE_CORE_NS:
        return "one core"
    if min(before, after) >= ONE_CORE_NS and max(before, after) < SHARED_CACHE_NS:
        return "a shared cache"
    return "no shared cache" if min(before, after) >= SHARED_CACHE_NS else "moved"


def main() -> None:
    """Print the table; with ``--json``, write it too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=float, nargs="+", default=[0.1, 0.37, 0.8])
    parser.add_argument("--pairs", type=int, default=80)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    image, rows = an_image(SIDE), []
    round_trip_ns()
    print("mean count       placement  pairs  ms, 1 thread  ms, 2 threads  times as fast")
    for count in options.counts:
        with tempfile.TemporaryDirectory() as folder:
            _, path, mean_count = build(NETWORK, SIDE, count, Path(folder))
            graph = s2f_deploy.lower(path, arithmetic="int8")
        runs = {
            str(threads): partial(Simulator(graph, threads=threads).run, image)
            for threads in (1, 2)
        }
        times_in_turns(runs, 0, STREAM)
        pairs, before = defaultdict[str, list[list[float]]](list), round_trip_ns()
        for _ in range(options.pairs):
            seconds = times_in_turns(runs, 1, 0)
            after = round_trip_ns()
            pair = [taken[0] for taken in seconds.values()]
            for where in ("anywhere", placement(before, after)):
                pairs[where].append(pair)
            before = after
        for where, found in pairs.items():
            one, two = (list(taken) for taken in zip(*found, strict=True))
            gain = statistics.median(a / b for a, b in found)
            row = (round(mean_count, 3), where, len(found), median_ms(one), median_ms(two), gain)
            print("{:10.2f} {:>15} {:6} {:13.1f} {:14.1f} {:14.2f}".format(*row), flush=True)
            rows.append(dict(zip(COLUMNS, row, strict=True)))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
