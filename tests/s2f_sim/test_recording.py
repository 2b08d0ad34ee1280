"""Kernels called again, as they were written down: the same results, wherever these lie."""

import threading
from typing import Any

import numpy as np
import pytest
from numba import config
from numpy.typing import NDArray

import s2f_sim.recording
from s2f_deploy.ir.graph import Graph
from s2f_sim import Simulator
from s2f_sim.counting import Counter
from s2f_sim.events import EventsEngine
from s2f_sim.recording import WALKS_BEFORE, Recorder, Recorders
from s2f_sim.rooms import APART, NO_ROOM, Room, Rooms
from s2f_sim.run import Run

Images = NDArray[np.float32]

pytestmark = pytest.mark.skipif(
    bool(config.DISABLE_JIT),  # type: ignore[attr-defined]
    reason="nothing is written down where nothing is compiled",
)


def same(a: Run, b: Run) -> bool:
    arrays = [{**one.counts, **one.outputs} for one in (a, b)]
    assert arrays[0].keys() == arrays[1].keys()
    return a.layers == b.layers and all(
        np.array_equal(array, arrays[1][name]) for name, array in arrays[0].items()
    )


def ready(graph: Graph, image: Images, threads: int = 2) -> Simulator:
    """A simulator that has written its calls down."""
    simulator = Simulator(graph, threads=threads)
    for _ in range(WALKS_BEFORE + 1):
        simulator.run(image)
    return simulator


@pytest.fixture
def recorders(tiny_integers: Graph) -> Recorders:
    return Recorders(tiny_integers, EventsEngine(tiny_integers, 1), Counter(tiny_integers).mapped)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("network", ["tiny_graph", "tiny_integers"])
def test_results_are_those_of_a_first_run(
    network: str, threads: int, images: Images, request: pytest.FixtureRequest
) -> None:
    graph = request.getfixturevalue(network)
    simulator = ready(graph, images[:1], threads)
    for samples in (images[1:2], images, images[::-1]):
        assert same(simulator.run(samples), Simulator(graph, threads=1).run(samples))


def test_kernels_are_called_in_a_row(recorders: Recorders, images: Images) -> None:
    """Nothing but the image and what leaves the network is left to the interpreter."""
    for _ in range(WALKS_BEFORE):
        recorders.walk(images[0], 4, {})
    assert not recorders.recorded
    recorders.walk(images[0], 4, {})
    parts = recorders.recorded[4].parts
    left = [part.node.op for part in parts if not isinstance(part, np.ndarray)]
    # The classifier reads fewer counts than a register holds.
    assert left == ["digitise", "sum_pool", "event_linear", "read_out", "output"]
    assert max(len(part) for part in parts if isinstance(part, np.ndarray)) > 20


def test_results_of_before_stay_what_they_are(tiny_integers: Graph, images: Images) -> None:
    simulator = ready(tiny_integers, images[:1])
    first = simulator.run(images[:1])
    counts = {name: array.copy() for name, array in first.counts.items()}
    outputs = {name: array.copy() for name, array in first.outputs.items()}
    second = simulator.run(images[1:2])
    assert not same(first, second)
    assert all(np.array_equal(first.counts[name], array) for name, array in counts.items())
    assert all(np.array_equal(first.outputs[name], array) for name, array in outputs.items())


def test_every_number_of_timesteps_has_its_own(tiny_integers: Graph, images: Images) -> None:
    simulator = ready(tiny_integers, images[:1])
    for timesteps in (1, 2, 4, 6):
        for _ in range(WALKS_BEFORE + 2):
            found = simulator.run(images[:1], timesteps)
        fresh = Simulator(tiny_integers, threads=1).run(images[:1], timesteps)
        assert same(found, fresh)


def test_forced_counts_are_handed_on(tiny_integers: Graph, images: Images) -> None:
    simulator, fresh = ready(tiny_integers, images[:1]), Simulator(tiny_integers, threads=1)
    name = next(tiny_integers.select("integrate_fire")).name
    forced = {name: np.ones_like(fresh.run(images[:1]).counts[name])}
    found, wanted = (one.run(images[:1], forced=forced) for one in (simulator, fresh))
    assert same(found, wanted)
    assert not same(found, fresh.run(images[:1]))
    assert same(simulator.run(images), fresh.run(images))


def test_large_networks_are_not_written_down(
    tiny_integers: Graph, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s2f_sim.recording, "MOST_BYTES", 1000)
    recorders = Recorders(
        tiny_integers, EventsEngine(tiny_integers, 1), Counter(tiny_integers).mapped
    )
    for _ in range(WALKS_BEFORE + 2):
        recorders.walk(images[0], 4, {})
    assert not recorders.recorded


def test_two_threads_of_a_caller_do_not_disturb_each_other(
    tiny_integers: Graph, images: Images
) -> None:
    simulator = Simulator(tiny_integers, threads=2)
    wanted = [Simulator(tiny_integers, threads=1).run(image[None]) for image in images]
    found: list[bool] = []

    def run(at: int) -> None:
        for k in range(12):
            mine = (at + k) % len(images)
            found.append(same(simulator.run(images[mine : mine + 1]), wanted[mine]))

    callers = [threading.Thread(target=run, args=(at,)) for at in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == [True] * 24


def test_an_interrupted_run_leaves_nothing_behind(
    tiny_integers: Graph, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = ready(tiny_integers, images[:1])
    evaluate = EventsEngine.run

    def interrupted(self: EventsEngine, step: Any, *rest: Any) -> Any:
        if step.node.op == "sum_pool":
            raise KeyboardInterrupt
        return evaluate(self, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(EventsEngine, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            simulator.run(images[1:2])
    fresh = Simulator(tiny_integers, threads=1)
    name = next(tiny_integers.select("integrate_fire")).name
    forced = {name: fresh.run(images[:1]).counts[name]}
    for found in (simulator.run(images[:1]), simulator.run(images[:1], forced=forced)):
        assert same(found, fresh.run(images[:1]))


def test_an_interrupted_recording_is_begun_again(
    tiny_integers: Graph, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = Simulator(tiny_integers, threads=1)
    for _ in range(WALKS_BEFORE):
        simulator.run(images[:1])
    record = Recorder.record

    def interrupted(self: Recorder, sample: Images) -> Any:
        record(self, sample)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "record", interrupted)
        with pytest.raises(KeyboardInterrupt):
            simulator.run(images[:1])
    for _ in range(3):
        assert same(simulator.run(images), Simulator(tiny_integers, threads=1).run(images))


def test_rooms_lie_in_one_place() -> None:
    rooms = Rooms(2)
    small, large = Room((3, np.int64), (70, np.uint8)), Room((100_000, np.float32))
    first, second = rooms.of(small)
    assert (first.shape, second.shape) == ((2, 8 + APART // 8), (2, 128 + APART))
    assert not np.shares_memory(first, second)
    assert first.ctypes.data % 64 == second.ctypes.data % 64 == 0
    (wide,) = rooms.of(large)
    assert (wide.shape, wide.dtype) == ((2, 100_000 + APART // 4), np.float32)
    # There was too little before.
    assert not np.shares_memory(wide, first)
    assert np.shares_memory(wide, rooms.of(small)[0])
    assert rooms.of(large)[0] is wide
    assert rooms.of(NO_ROOM) == ()
