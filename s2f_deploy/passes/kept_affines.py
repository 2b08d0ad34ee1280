"""Scales and shifts that no array can take up, as operations of their own."""

from dataclasses import replace

import numpy as np

from s2f_deploy.ir.graph import Graph, Node, attributes
from s2f_deploy.ops.elementwise import per_channel


def as_sum(graph: Graph, affine: Node) -> Graph:
    """A shift as a constant of the affine's shape, added. Its scale is 1."""
    _, shift = graph.arrays(affine)
    name, output = f"{affine.name}.shift", affine.output
    values = np.broadcast_to(per_channel(shift, np.empty(output.shape)), output.shape).copy()
    constant = replace(affine, name=name, op="constant", inputs=(), params=(name,))
    added = replace(affine, op="add", inputs=(*affine.inputs, name), params=(), attributes=())
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        if node.name == added.name:
            nodes |= {name: constant, added.name: added}
        else:
            nodes[node.name] = node
    return graph.rebuilt(nodes, dict(graph.params) | {name: values})


def as_product(graph: Graph, affine: Node) -> Graph:
    """Every channel times a weight of its own: an elementwise convolution."""
    scale, shift = graph.arrays(affine)
    channels = affine.output.channels
    names = (f"{affine.name}.weight", f"{affine.name}.bias")
    weight, bias = (np.broadcast_to(v, channels).copy() for v in (scale, shift))
    multiplied = replace(
        affine,
        op="conv2d",
        params=names,
        attributes=attributes(stride=(1, 1), padding=(0, 0, 0, 0), groups=channels),
    )
    nodes = graph.by_name() | {multiplied.name: multiplied}
    arrays = {names[0]: weight.reshape(-1, 1, 1, 1), names[1]: bias}
    return graph.rebuilt(nodes, dict(graph.params) | arrays)
