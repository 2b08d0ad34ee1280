"""Neurons fire in front of wiring, and once per population; every count stays the network's."""

from dataclasses import dataclass

import numpy as np
import onnxruntime
from networks import NetworkBuilder
from numpy.typing import NDArray

import s2f_sim
from s2f_deploy.ir.graph import Graph
from s2f_deploy.passes.pipeline import lower_content
from s2f_sim.shown_counts import shown_counts

IMAGE = (2, 6, 4)


@dataclass(frozen=True)
class Placed:
    graph: Graph
    image: NDArray[np.float32]

    def populations(self) -> list[str]:
        return [node.name for node in self.graph.select("integrate_fire")]

    def ops(self) -> dict[str, str]:
        return {node.name: node.op for node in self.graph.nodes}


def builder() -> NetworkBuilder:
    made = NetworkBuilder(np.random.default_rng(5), 4, 2.0, "half_even", grid=4.0)
    made.shapes["image"] = IMAGE
    return made


def checked(made: NetworkBuilder, *outputs: str) -> Placed:
    """Lowered, and equal to ONNX Runtime in every count and every output."""
    neurons = {n.name: n.output[0] for n in made.nodes if n.domain == "s2f"}
    content = made.model(IMAGE, *outputs, *neurons.values())
    pixels = np.random.default_rng(2).integers(-16, 17, (1, *IMAGE))
    image = (pixels / 8).astype(np.float32)
    want = onnxruntime.InferenceSession(content).run(None, {"image": image})
    graph = lower_content(made.model(IMAGE, *outputs), "net")
    run = s2f_sim.simulate(graph, image)
    for name, value in zip(outputs, want, strict=False):
        np.testing.assert_array_equal(run.outputs[name], value)
    shown = shown_counts(graph, {name: counts[0] for name, counts in run.counts.items()})
    for name, value in zip(neurons, want[len(outputs) :], strict=True):
        np.testing.assert_array_equal(shown[name], 2 * value[0], name)
        assert value.any(), name
    report = s2f_sim.verify(graph, [image])
    assert report.equivalent
    return Placed(graph, image)


def test_pooled_currents_fire_once_and_spikes_are_pooled() -> None:
    made = builder()
    current = made.conv(made.neuron(made.conv("image", 4, 3, 1, 1, 1)), 2, 1, 1, 0, 1)
    fired = made.pyramid(current)
    placed = checked(made, made.conv(fired, 3, 1, 1, 0, 1))
    name = next(n.name for n in made.nodes if n.output[0] == fired)
    assert len(placed.populations()) == 2
    assert placed.ops()[name] == "concat"
    assert sorted(placed.ops().values()).count("max_pool") == 2
    assert all(n.output.levels == 4 for n in placed.graph.select("max_pool"))


def test_equal_populations_fire_once_under_the_first_name() -> None:
    made = builder()
    current = made.conv("image", 4, 3, 1, 1, 1)
    fired = [made.neuron(current) for _ in range(3)]
    outputs = [made.conv(name, 2, 1, 1, 0, 1) for name in fired]
    placed = checked(made, *outputs)
    first, *others = (n.name for n in made.nodes if n.domain == "s2f")
    assert placed.populations() == [first]
    assert [placed.ops()[name] for name in others] == ["reshape", "reshape"]


def test_neurons_that_differ_in_anything_stay_apart() -> None:
    made = builder()
    current = made.conv("image", 4, 3, 1, 1, 1)
    a = made.neuron(current)
    made.levels = 3
    b = made.neuron(current)
    placed = checked(made, made.conv(a, 2, 1, 1, 0, 1), made.conv(b, 2, 1, 1, 0, 1))
    assert len(placed.populations()) == 2


def test_a_part_of_a_concatenation_is_the_population_that_fires_there() -> None:
    made = builder()
    x = made.conv("image", 4, 3, 1, 1, 1)
    y = made.conv(made.neuron(x), 4, 1, 1, 0, 1)
    joined = made.neuron(made.concat(y, x))
    placed = checked(made, made.conv(joined, 2, 1, 1, 0, 1))
    first, last = (n.name for n in made.nodes if n.domain == "s2f")
    assert placed.graph.node(last).inputs[1] == first
    assert len(placed.populations()) == 2


def test_a_population_moved_first_takes_the_name_that_the_network_gives_later() -> None:
    made = builder()
    x = made.conv("image", 4, 3, 1, 1, 1)
    large = made.neuron(made.upsampled(x, 2, 2))
    small = made.neuron(x)
    placed = checked(made, made.conv(large, 2, 1, 1, 0, 1), made.conv(small, 2, 1, 1, 0, 1))
    moved, named = (n.name for n in made.nodes if n.domain == "s2f")
    assert placed.populations() == [named]
    assert placed.ops()[moved] == "upsample"


def test_membranes_are_compared_where_a_sum_reads_the_pool() -> None:
    made = builder()
    x = made.max_pooled(made.conv("image", 4, 3, 1, 1, 1), 2, 2, 0)
    y = made.conv(made.neuron(x), 4, 3, 1, 1, 1)
    z = made.add("Add", [x, y], made.shapes[x])
    placed = checked(made, made.conv(made.neuron(z), 2, 1, 1, 0, 1))
    dtypes = {n.output.dtype.value for n in placed.graph.select("max_pool")}
    assert dtypes == {"float32", "count"}
    run = s2f_sim.simulate(placed.graph, placed.image)
    adds = {layer.name: layer.membrane_adds for layer in run.layers if layer.kind == "neuron"}
    # One sum and, for each of its elements, three comparisons of four pixels.
    assert sorted(adds.values()) == [0, 4 * 6 * (1 + 3)]


def test_a_neuron_on_the_pooled_image_fires_on_the_image() -> None:
    made = builder()
    fired = made.neuron(made.max_pooled("image", 3, 2, 1))
    placed = checked(made, made.conv(fired, 2, 1, 1, 0, 1))
    assert placed.graph.node(placed.populations()[0]).inputs == ("image",)


def on_a_map(made: NetworkBuilder, current: str, seed: int) -> str:
    """A current, and at every place of its own more."""
    shape = made.shapes[current]
    name = f"w{len(made.arrays)}"
    moved = np.random.default_rng(seed).integers(-3, 4, (1, *shape)) / made.grid
    made.arrays[name] = moved.astype(np.float32)
    return made.add("Add", [current, name], shape)


def test_neurons_on_equal_sums_are_one_population() -> None:
    made = builder()
    current = made.conv(made.neuron(made.conv("image", 4, 3, 1, 1, 1)), 4, 3, 1, 1, 1)
    placed_at = [on_a_map(made, current, seed) for seed in (1, 1, 2)]
    outputs = [made.conv(made.neuron(total), 2, 1, 1, 0, 1) for total in placed_at]
    placed = checked(made, *outputs)
    first, *fired = (n.name for n in made.nodes if n.domain == "s2f")
    assert placed.populations() == [first, fired[0], fired[2]]
    assert placed.ops()[fired[1]] == "reshape"
    assert len(list(placed.graph.select("add"))) == len(list(placed.graph.select("constant"))) == 2


def test_a_shift_of_channels_is_added_by_neurons_and_maps_that_are_there_anyway() -> None:
    made = builder()
    current = made.conv(made.neuron(made.conv("image", 4, 3, 1, 1, 1)), 4, 3, 1, 1, 1)
    name = f"w{len(made.arrays)}"
    made.arrays[name] = np.array([0.5, -0.25, 1, 0], np.float32).reshape(4, 1, 1)
    level = made.add("Add", [current, name], made.shapes[current])
    tokens = [made.neuron(level), made.neuron(on_a_map(made, level, 1))]
    other = made.neuron(current)
    placed = checked(made, *(made.conv(fired, 2, 1, 1, 0, 1) for fired in (*tokens, other)))
    assert len(placed.populations()) == 4
    assert len(list(placed.graph.select("add"))) == len(list(placed.graph.select("constant"))) == 1
