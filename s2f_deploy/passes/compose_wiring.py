"""Wiring behind wiring is one wiring, and often none."""

from dataclasses import replace

import numpy as np

from s2f_deploy.ir.graph import Graph, Node
from s2f_deploy.passes.place_neurons import MOVED


def compose_wiring(graph: Graph) -> Graph:
    """Let every ``rewire`` read what computes its elements; drop those that move nothing.

    A neuron that was moved in front of a wiring that is gone gets its name back. Requires and
    gives a FLOAT graph.
    """
    nodes: dict[str, Node] = {}
    params = dict(graph.params)
    stands_for: dict[str, str] = {}
    for original in graph.nodes:
        inputs = tuple(stands_for.get(name, name) for name in original.inputs)
        node = replace(original, inputs=inputs)
        if node.op == "rewire":
            index = params[node.params[0]].reshape(-1)
            source = nodes[node.inputs[0]]
            if source.op == "rewire":
                index = params[source.params[0]].reshape(-1)[index]
                name = f"{node.name}.composed"
                params[name] = index
                node = replace(node, inputs=source.inputs, params=(name,))
                source = nodes[source.inputs[0]]
            same = source.output.shape == node.output.shape
            if same and np.array_equal(index, np.arange(len(index))):
                stands_for[node.name] = source.name
                continue
        nodes[node.name] = node
    return graph.rebuilt(_renamed(_read(tuple(nodes.values()))), params)


def _renamed(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    taken = {node.name for node in nodes}
    names = {
        node.name: node.name.removesuffix(MOVED)
        for node in nodes
        if node.op == "integer_fire" and node.name.removesuffix(MOVED) not in taken
    }
    return tuple(
        replace(
            node,
            name=names.get(node.name, node.name),
            inputs=tuple(names.get(name, name) for name in node.inputs),
        )
        for node in nodes
    )


def _read(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Nodes without wiring that nobody reads any more."""
    wanted = {node.name for node in nodes if node.op != "rewire"}
    for node in reversed(nodes):
        if node.name in wanted:
            wanted.update(node.inputs)
    return tuple(node for node in nodes if node.name in wanted)
