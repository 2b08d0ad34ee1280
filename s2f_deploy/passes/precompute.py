"""What no image changes is computed once, at lowering, not for every image.

A network may begin in two places: at the image, and at what it has learned by heart. The queries of
a mask decoder are such numbers; until they first meet the image, their neurons fire the same
spikes for every image. These spikes are worked out here, by the operations' own definitions on
integers, which every engine repeats bit for bit. Real values are left to the engines: how they
round depends on the order in which an engine adds.

Source: ``spike2former.md`` sections 6 and 13, row 10.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from s2f_deploy.ir.graph import DType, Graph, Node
from s2f_deploy.ops import evaluate


def precompute(graph: Graph) -> Graph:
    """Replace integers and counts that depend on constants alone by constants.

    Of these only what something else reads is left, under its name: a population that fires the
    same for every image becomes a constant of counts, which still are events to whoever reads
    them; what led to it is gone, and its work with it. Wiring of such counts stays wiring, which
    costs nothing: what it shows is no population. Windows close up behind it. Requires and gives
    an EVENT graph.
    """
    found: dict[str, NDArray[Any]] = {}
    for node in graph.nodes:
        if _is_known(node, found):
            read = [found[name] for name in node.inputs]
            found[node.name] = evaluate(node, read, graph.arrays(node))
    wanted = {n for node in graph.nodes if node.name not in found for n in node.inputs}
    for node in reversed(graph.nodes):
        if node.name in wanted and _hands_on_counts(node):
            wanted.update(node.inputs)
    nodes: dict[str, Node] = {}
    params = dict(graph.params)
    for node in graph.nodes:
        if node.name not in found or (node.name in wanted and _stays(node)):
            nodes[node.name] = node
        elif node.name in wanted:
            nodes[node.name] = _constant(node)
            params[nodes[node.name].params[0]] = found[node.name].reshape(node.output.array_shape)
    return graph.rebuilt(_in_first_windows(nodes), params)


def _constant(node: Node) -> Node:
    name = f"{node.name}.precomputed"
    return replace(node, op="constant", inputs=(), params=(name,), attributes=())


def _stays(node: Node) -> bool:
    """Whether a node that no image changes is one already, or only hands on what fires."""
    return not node.inputs or _hands_on_counts(node)


def _hands_on_counts(node: Node) -> bool:
    return node.output.dtype is DType.COUNT and node.op != "integrate_fire"


def _is_known(node: Node, found: Mapping[str, NDArray[Any]]) -> bool:
    """Whether a node gives the same integers or counts for every image."""
    whole = node.output.dtype is not DType.FLOAT32
    fixed = node.op == "constant" or (node.inputs and all(name in found for name in node.inputs))
    return whole and bool(fixed) and node.op != "output"


def _in_first_windows(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """Every neuron in the first window that opens after those of all its sources."""
    windows: dict[str, int] = {}
    placed: dict[str, Node] = {}
    for name, node in nodes.items():
        window = max((windows[source] for source in node.inputs), default=0)
        fires = node.op == "integrate_fire"
        windows[name] = window + fires
        placed[name] = node.with_attributes(window=window + 1) if fires else node
    return placed
