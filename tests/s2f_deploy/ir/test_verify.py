from collections.abc import Callable
from dataclasses import replace

import pytest

from s2f_deploy import Graph, Node, S2FError
from s2f_deploy.ir.graph import DType, Level, TensorType
from s2f_deploy.ir.verify import verify


def with_node(graph: Graph, name: str, change: Callable[[Node], Node]) -> Graph:
    nodes = tuple(change(n) if n.name == name else n for n in graph.nodes)
    return replace(graph, nodes=nodes)


def test_a_lowered_graph_is_legal(tiny_graph: Graph) -> None:
    assert tiny_graph.level is Level.EVENT
    verify(tiny_graph)


def test_an_event_graph_has_no_operation_that_multiplies_counts(tiny_graph: Graph) -> None:
    multiplying = {n.name for n in tiny_graph.select("conv2d", "linear")}
    assert multiplying == {"downsample1_1.encode_conv"}


def test_reading_a_later_node_is_illegal(tiny_graph: Graph) -> None:
    broken = with_node(tiny_graph, "spike", lambda n: replace(n, inputs=("head",)))
    with pytest.raises(S2FError, match="spike reads head"):
        verify(broken)


def test_a_wrong_declared_type_is_illegal(tiny_graph: Graph) -> None:
    wrong = TensorType((7,), DType.FLOAT32)
    with pytest.raises(S2FError, match=r"head is .* but declared"):
        verify(with_node(tiny_graph, "head", lambda n: replace(n, output=wrong)))


def test_summing_counts_without_a_synapse_is_illegal(tiny_graph: Graph) -> None:
    neurons = [n for n in tiny_graph.nodes if n.op == "integrate_fire"]
    counts = neurons[0]
    total = Node("sum", "add", (counts.name, counts.name), (), counts.output, "test")
    nodes = [*tiny_graph.nodes[: tiny_graph.nodes.index(counts) + 1], total]
    with pytest.raises(S2FError, match="counts that no synapse has weighed"):
        verify(replace(tiny_graph, nodes=tuple(nodes)))


def test_multiplying_counts_is_illegal_in_an_event_graph(tiny_graph: Graph) -> None:
    graph = with_node(tiny_graph, "head", lambda n: replace(n, op="linear"))
    transposed = dict(graph.params) | {"head.weight": graph.params["head.weight"].T}
    with pytest.raises(S2FError, match="would multiply spike counts"):
        verify(replace(graph, params=transposed))


def test_an_unknown_operation_is_illegal(tiny_graph: Graph) -> None:
    with pytest.raises(S2FError, match="softmax is no operation"):
        verify(with_node(tiny_graph, "head", lambda n: replace(n, op="softmax")))
