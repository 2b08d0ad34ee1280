"""Worst-case bounds of every integer of a graph, from weights, counts and fan-in alone."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from s2f_deploy.errors import IllegalGraphError
from s2f_deploy.ir.graph import DType, Graph, Node
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops import OPS


def intervals(graph: Graph) -> dict[str, Interval]:
    """For every node that gives integers or counts, what they can be; partial sums included."""
    found: dict[str, Interval] = {}
    nodes = graph.by_name()
    for node in graph.nodes:
        if node.output.dtype is not DType.FLOAT32 and OPS[node.op].interval is not None:
            found[node.name] = interval_of(node, nodes, graph.params, found)
    return found


def interval_of(
    node: Node,
    nodes: Mapping[str, Node],
    params: Mapping[str, NDArray[Any]],
    found: Mapping[str, Interval],
) -> Interval:
    """What an integer node can give, from what was found for those it reads."""
    rule = OPS[node.op].interval
    assert rule is not None
    types = [nodes[name].output for name in node.inputs]
    inputs = [found.get(name, _UNUSED) for name in node.inputs]
    return rule(node, types, inputs, [params[name] for name in node.params])


# A neuron's count and a digitised image are bounded whatever feeds them.
_UNUSED = Interval.constant(0, 0, 1)


def check_bounds(graph: Graph) -> None:
    """No integer sum can leave its type.

    Raises:
        IllegalGraphError: naming the first node that could.
    """
    found = intervals(graph)
    for node in graph.nodes:
        if node.output.dtype.is_integer and not found[node.name].fits(node.output.dtype):
            raise _wraps(node, found[node.name])


def _wraps(node: Node, interval: Interval) -> IllegalGraphError:
    return IllegalGraphError(
        f"the sums of {node.name} can reach {interval.reach:,}, which {node.output.dtype.value} "
        "does not hold",
        where=node.origin,
        fix="the artefact is damaged: export the network again",
    )
