"""Real time from ONNX to events: what repeats, what remembers, what is refused."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from real_time_networks import TimedBuilder

from s2f_deploy.errors import IllegalGraphError, S2FError
from s2f_deploy.frontend.import_onnx import import_onnx
from s2f_deploy.ir.graph import Graph
from s2f_deploy.ir.verify import verify
from s2f_deploy.passes.pipeline import float_network, lower_content
from s2f_sim import Simulator
from s2f_sim import verify as verify_equivalence

SHAPE = (2, 5, 4)


def builder(timesteps: int = 3, gain: float = 1.0) -> TimedBuilder:
    made = TimedBuilder(np.random.default_rng(3), 4, 1.0, "half_even")
    made.timesteps, made.gain, made.spread = timesteps, gain, 0
    return made


def simple(made: TimedBuilder) -> bytes:
    x = made.same(made.started(SHAPE, framed=False), 4)
    y = made.same(made.neuron(x), 4)
    z = made.neuron(made.max_pooled(y, 3, 1, 1))
    return made.model(SHAPE, made.mean(made.convolve(z, 3)))


def picture() -> NDArray[Any]:
    return np.random.default_rng(0).standard_normal((1, *SHAPE)).astype(np.float32)


def test_an_image_that_stands_still_is_encoded_once() -> None:
    graph = lower_content(simple(builder()), "net")
    encoding = next(graph.select("conv2d"))
    assert encoding.output.steps == 1
    assert [node.output.steps for node in graph.select("repeat")] == [3]
    run = Simulator(graph, "reference").run(picture())
    layer = next(layer for layer in run.layers if layer.kind == "encoding")
    assert layer.mac == layer.dense_mac == 4 * 2 * (3 * 5 - 2) * (3 * 4 - 2)


def test_neurons_that_remember_stay_behind_max_pooling() -> None:
    graph = lower_content(simple(builder()), "net")
    (pool,) = graph.select("max_pool")
    assert pool.output.dtype.value == "float32"
    assert all(node["leak_shift"] == 2 for node in graph.select("integrate_fire"))


@pytest.mark.parametrize("gain", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("arithmetic", ["float32", "int8", "int16"])
def test_spikes_are_the_networks_at_every_step(arithmetic: Any, gain: float) -> None:
    graph = lower_content(simple(builder(gain=gain)), "net", arithmetic)
    report = verify_equivalence(graph, [picture()], engine="reference")
    assert report.equivalent
    run = Simulator(graph, "reference").run(picture())
    fired = next(layer for layer in run.layers if layer.kind == "neuron")
    assert len(fired.spikes_by_timestep) == 3 * run.timesteps
    first = run.counts[fired.name][0]
    assert first.shape == (3, 4, 5, 4)
    assert not np.array_equal(first[0], first[1])


def test_equal_neurons_behind_equal_gains_are_one_population() -> None:
    made = builder(gain=0.5)
    x = made.same(made.started(SHAPE, framed=False), 4)
    made.fires = lambda: {"D": 4, "norm": 1.0, "rounding": "half_even"}  # type: ignore[method-assign]
    maps = [made.mean(made.convolve(made.neuron(x), 3)) for _ in range(2)]
    network = float_network(made.model(SHAPE, *maps), "net")
    assert len(list(network.select("integer_fire"))) == 1
    assert not list(network.select("affine"))


def test_a_leak_that_no_shift_gives_is_refused() -> None:
    made = builder()
    made.leak_shift = 1.5  # type: ignore[assignment]
    with pytest.raises(S2FError, match="leaks to"):
        import_onnx(simple(made), "net")


def test_timesteps_must_be_those_of_the_neuron() -> None:
    made = builder()
    x = made.same(made.started(SHAPE, framed=False), 4)
    made.timesteps = 2
    fired = made.neuron(x)
    with pytest.raises(S2FError, match="counts 2 steps"):
        import_onnx(made.model(SHAPE, made.convolve(fired, 2)), "net")


def test_a_membrane_that_could_wrap_is_refused() -> None:
    graph = lower_content(simple(builder()), "net", "int16")
    neuron = next(graph.select("integrate_fire"))
    name = neuron.params[1]
    damaged = dict(graph.params) | {name: np.full_like(graph.params[name], 60)}
    with pytest.raises(IllegalGraphError, match="fires before"):
        verify(Graph(graph.name, graph.level, graph.nodes, damaged))


def test_one_unit_of_one_comparator_is_noticed() -> None:
    graph = lower_content(simple(builder()), "net", "int8")
    assert equivalent_by_reference(graph)
    neuron = next(graph.select("integrate_fire"))
    moved = graph.params[neuron.params[0]].copy()
    moved[0] += 1 << 40 if moved.dtype == np.int64 else 1 << 20
    assert not equivalent_by_reference(
        graph.rebuilt(graph.nodes, {**graph.params, neuron.params[0]: moved})
    )


def equivalent_by_reference(graph: Graph) -> bool:
    return verify_equivalence(graph, [picture()], engine="reference").equivalent
