"""Counts of the neurons that a network has, from those of the populations that fire for them."""

from collections.abc import Iterator, Mapping
from typing import Any

from numpy.typing import NDArray

from s2f_deploy.ir.graph import WIRING, Graph, Node
from s2f_deploy.ops import evaluate
from s2f_deploy.ops.constant import always_fires


def populations(graph: Graph) -> Iterator[Node]:
    """What fires in an EVENT graph: neurons, and those that fire the same for every input."""
    return (node for node in graph.nodes if node.op == "integrate_fire" or always_fires(node))


def shown_counts(graph: Graph, counts: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Counts of every population, and of everything that wiring shows of them.

    A neuron of the network that shares its population with others, or that was moved in front of
    its wiring, is wiring of its own name in the graph.

    Args:
        graph: of any level.
        counts: of every population, numbers[C, ...] of one sample.
    """
    shown = dict(counts)
    for node in graph.nodes:
        if node.op in WIRING and all(name in shown for name in node.inputs):
            read = [shown[name] for name in node.inputs]
            shown[node.name] = evaluate(node, read, graph.arrays(node))
    return shown
