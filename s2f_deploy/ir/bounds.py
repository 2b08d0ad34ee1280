"""Worst-case bounds of every integer of a graph, from weights, counts and fan-in alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import IllegalGraphError
from s2f_deploy.ir.graph import DType, Graph, Node
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops import OPS
from s2f_deploy.ops.neuron import leak_shift
from s2f_deploy.ops.real_time import extra_bits, membrane_interval


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
            raise _wraps(node, found[node.name], node.output.dtype)
        if node.op == "integrate_fire" and leak_shift(node) and node.inputs[0] in found:
            _check_membrane(graph, node, found[node.inputs[0]])


def _check_membrane(graph: Graph, node: Node, current: Interval) -> None:
    """What a neuron keeps from timestep to timestep fits, too."""
    comparators, bits = graph.arrays(node)
    if not graph.node(node.inputs[0]).output.dtype.is_integer:
        return
    by_channel = np.broadcast_to(bits.astype(np.int64), node.output.channels)
    kept = membrane_interval(
        current, node["levels"], by_channel, leak_shift(node), node.output.steps
    )
    dtype = DType(comparators.dtype.name)
    _check_resets(node, comparators, by_channel + extra_bits(leak_shift(node), node.output.steps))
    if not kept.fits(dtype):
        raise _wraps(node, kept, dtype)


def _check_resets(node: Node, comparators: NDArray[Any], bits: NDArray[Any]) -> None:
    """The bounds hold for neurons that subtract no more than they have reached, but for a half."""
    largest = int(np.iinfo(comparators.dtype).max)
    table = np.broadcast_to(comparators, (node["levels"], node.output.channels))
    for d, row in enumerate(table, 1):
        halves = np.array([(2 * d - 1) << int(b) for b in bits], object)
        if (row.astype(object) < np.minimum(halves // 2, largest)).any():
            raise IllegalGraphError(
                f"{node.name} fires before it has reached what it subtracts",
                where=node.origin,
                fix="the artefact is damaged: export the network again",
            )


def _wraps(node: Node, interval: Interval, dtype: DType) -> IllegalGraphError:
    return IllegalGraphError(
        f"the sums of {node.name} can reach {interval.reach:,}, which {dtype.value} does not hold",
        where=node.origin,
        fix="the artefact is damaged: export the network again",
    )
