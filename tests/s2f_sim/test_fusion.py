"""What is fused, and that everything is done once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import s2f_deploy
from s2f_deploy import Graph
from s2f_deploy.ir.graph import DType, Level, Node, TensorType
from s2f_sim.events import EventsEngine
from s2f_sim.fusion import Residual, fused_steps, single_steps
from s2f_sim.layout import Layout, choose_layout
from s2f_sim.simulator import Simulator


@pytest.fixture(scope="module")
def graphs(tiny_onnx: Path) -> dict[str, Graph]:
    return {kind: s2f_deploy.lower(tiny_onnx, kind) for kind in ("int8", "float32")}


@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_every_node_is_done_once_and_after_what_it_reads(
    graphs: dict[str, Graph], kind: str
) -> None:
    graph = graphs[kind]
    fusing = {
        node.name for node in graph.select("event_conv2d", "event_linear", "attention", "conv2d")
    }
    steps = fused_steps(graph, fusing)
    assert len(steps) < len(single_steps(graph)) / 2
    given = {node.name for node in graph.select("input")}
    neurons = []
    assert len({n for step in steps for n in step.dropped}) == sum(len(s.dropped) for s in steps)
    for step in steps:
        assert set(step.reads) <= given
        given -= set(step.dropped)
        given |= {node.name for node in (step.membrane, step.neuron) if node is not None}
        neurons += [step.neuron.name] if step.neuron else []
    assert sorted(neurons) == sorted(node.name for node in graph.select("integrate_fire"))


def test_residual_sums_are_fused_with_their_shifts(graphs: dict[str, Graph]) -> None:
    steps = EventsEngine(graphs["int8"], 1).steps
    residual = [step for step in steps if step.residual is not None]
    sums = len(list(graphs["int8"].select("add")))
    assert len(residual) == sums > 3
    assert any(step.shifts for step in residual)
    assert not any(step.node.op in ("add", "align") for step in steps)


FORCED: list[dict[str, Any]] = [
    {"together": 1},
    {"together": 4},
    {"cache_bytes": 0},
    {"cache_bytes": 1 << 30},
    {"rows": "convolution"},
    {"convolution": "grouped"},
    {"depthwise": "grouped"},
]


@pytest.mark.parametrize("kind", ["int8", "float32"])
@pytest.mark.parametrize("forced", FORCED)
def test_no_layout_changes_a_count(
    graphs: dict[str, Graph], kind: str, forced: dict[str, Any]
) -> None:
    graph = graphs[kind]

    def layout(node: Any, source: Any, rows: Any) -> Layout:
        chosen = choose_layout(node, source, rows)
        kernel = forced.get(chosen.kernel, chosen.kernel)
        if node.op == "event_linear":
            kernel = "rows"
        together = forced.get("together", chosen.together) if kernel == "convolution" else 1
        return Layout(kernel, together, forced.get("cache_bytes", chosen.cache_bytes))

    x = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    usual, other = Simulator(graph), Simulator(graph, layout=layout)
    found, expected = other.run(x), usual.run(x)
    for name, counts in expected.counts.items():
        if kind == "int8":
            np.testing.assert_array_equal(found.counts[name], counts)
        else:
            assert np.mean(found.counts[name] != counts) < 1e-3
    if kind == "int8":
        assert found.layers == expected.layers
        for name, output in expected.outputs.items():
            np.testing.assert_array_equal(found.outputs[name], output)


WHOLE, SPIKES = TensorType((4,), DType.INT32), TensorType((4,), DType.COUNT, 2)


def node(name: str, op: str, inputs: str, output: TensorType) -> Node:
    return Node(name, op, (inputs,) if inputs else (), (), output, "")


def test_a_sum_of_two_shifted_branches_reads_what_is_handed_on() -> None:
    nodes = (
        node("counts", "input", "", SPIKES),
        node("one", "event_linear", "counts", WHOLE),
        node("one shifted", "align", "one", WHOLE),
        node("two", "event_linear", "counts", WHOLE),
        node("two shifted", "align", "two", WHOLE),
        Node("sum", "add", ("one shifted", "two shifted"), (), WHOLE, ""),
        node("fired", "integrate_fire", "sum", SPIKES),
    )
    graph = Graph("branches", Level.EVENT, nodes, {})
    given = {"counts"}
    for step in fused_steps(graph, {"one", "two"}):
        assert set(step.reads) <= given
        given |= {one.name for one in (step.membrane, step.neuron) if one is not None}
    assert "fired" in given


def test_a_shift_that_is_already_done_keeps_no_sum_apart() -> None:
    nodes = (
        node("counts", "input", "", SPIKES),
        node("one", "event_linear", "counts", WHOLE),
        node("two", "event_linear", "counts", WHOLE),
        # Listed behind what is added to it, but done with the layer that it shifts.
        node("one shifted", "align", "one", WHOLE),
        Node("sum", "add", ("one shifted", "two"), (), WHOLE, ""),
        node("fired", "integrate_fire", "sum", SPIKES),
    )
    one, two = fused_steps(Graph("branches", Level.EVENT, nodes, {}), {"one", "two"})
    assert (one.node.name, one.membrane, one.neuron) == ("one", nodes[3], None)
    assert two.residual == Residual("one shifted", None)
    assert (two.node.name, two.membrane, two.neuron) == ("two", None, nodes[5])


def test_what_only_shows_a_population_under_another_name_is_not_done() -> None:
    kind = TensorType((4, 3), DType.COUNT, 2)
    turned = TensorType((3, 4), DType.COUNT, 2)
    graph = Graph(
        "shown",
        Level.EVENT,
        (
            Node("image", "input", (), (), TensorType((4, 3), DType.FLOAT32), "image"),
            Node("fired", "integrate_fire", ("image",), ("comparators",), kind, "fired"),
            Node("shown", "rewire", ("fired",), ("index",), turned, "shown"),
            Node("again", "reshape", ("shown",), (), turned, "again"),
            Node("read", "rewire", ("fired",), ("index",), turned, "read"),
            Node("result", "output", ("read",), (), turned, "result"),
        ),
        {
            "comparators": np.ones((2, 1), np.float32),
            "index": np.arange(12, dtype=np.int32).reshape(4, 3).T.reshape(-1),
        },
    )
    for steps in (single_steps(graph), fused_steps(graph, set())):
        assert [step.node.name for step in steps] == ["fired", "read", "result"]
