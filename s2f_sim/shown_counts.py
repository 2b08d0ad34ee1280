"""Counts of the neurons that a network has, from those of the populations that fire for them."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from s2f_deploy.ir.graph import WIRING, Graph
from s2f_deploy.ops import evaluate


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
