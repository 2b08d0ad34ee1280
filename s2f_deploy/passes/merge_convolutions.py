"""Convolutions without a neuron between them become one."""

from dataclasses import replace

import numpy as np

from s2f_deploy.ir.graph import DType, Graph, Node
from s2f_deploy.ops.conv2d import dense


def merge_convolutions(graph: Graph) -> Graph:
    """Merge every plain 1x1 convolution into the convolution that alone reads it.

    W[o, i] = Σₘ W₂[o, m] · W₁[m, i] for every tap. Where the second one pads, zeros are padded
    instead of the first one's bias, so the merged bias becomes a map that differs at the border.
    Requires and gives a FLOAT graph. Linear layers on vectors are not concerned.
    """
    while True:
        pair = _first_pair(graph)
        if pair is None:
            return graph
        graph = _merged(graph, *pair)


def _first_pair(graph: Graph) -> tuple[Node, Node] | None:
    nodes, consumers = graph.by_name(), graph.consumers()
    for second in graph.select("conv2d"):
        first = nodes[second.inputs[0]]
        if (
            first.op == "conv2d"
            and len(consumers[first.name]) == 1
            and graph.arrays(first)[0].shape[2:] == (1, 1)
            and graph.arrays(first)[1].ndim == 1
            and first["groups"] == second["groups"] == 1
            and first["stride"] == (1, 1)
            and not any(first["padding"])
        ):
            return first, second
    return None


def _merged(graph: Graph, first: Node, second: Node) -> Graph:
    weight1, bias1 = graph.arrays(first)
    weight2, bias2 = graph.arrays(second)
    weight = np.einsum("omyx,mi->oiyx", weight2, weight1[:, :, 0, 0])
    if any(second["padding"]) and bias1.any():
        image = np.broadcast_to(bias1[:, None, None], (len(bias1), *first.output.plane))
        plane = replace(second, output=replace(second.output, dtype=DType.FLOAT32))
        bias = dense(plane, [image], [weight2, bias2])
    else:
        bias = weight2.sum((2, 3)) @ bias1 + bias2
    names = (f"{second.name}.merged_weight", f"{second.name}.merged_bias")
    merged = replace(second, inputs=first.inputs, params=names)
    nodes = {
        name: merged if name == second.name else node
        for name, node in graph.by_name().items()
        if name != first.name
    }
    return graph.rebuilt(nodes, dict(graph.params) | dict(zip(names, (weight, bias), strict=True)))
