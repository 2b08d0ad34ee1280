"""Batch norms and means become affine maps, which later passes fold away."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph, Node


def decompose(graph: Graph) -> Graph:
    """Replace every batch_norm by an affine, every mean_pool or time_mean by a sum and an affine.

    scale = gamma / √(var + ε), shift = beta − mean · scale; a mean over P positions is the sum
    times 1 / P. Arrays become float64, so that folding rounds nothing that float32 could hold.
    Requires and gives a FLOAT graph; ensures that no norm and no mean is left.
    """
    nodes: dict[str, Node] = {}
    params: dict[str, NDArray[Any]] = {
        name: array.astype(np.float64) if array.dtype == np.float32 else array
        for name, array in graph.params.items()
    }
    for node in graph.nodes:
        if node.op == "batch_norm":
            gamma, beta, mean, var = (params[name] for name in node.params)
            scale = gamma / np.sqrt(var + node["epsilon"])
            nodes[node.name] = _affine(node, node.inputs[0], params, scale, beta - mean * scale)
        elif node.op == "mean_pool":
            total = replace(node, name=f"{node.name}.sum", op="sum_pool")
            nodes[total.name] = total
            positions = graph.node(node.inputs[0]).output.positions
            scale, shift = np.array([1 / positions]), np.zeros(1)
            nodes[node.name] = _affine(node, total.name, params, scale, shift)
        elif node.op == "time_mean":
            total = replace(node, name=f"{node.name}.sum", op="time_sum")
            nodes[total.name] = total
            scale = np.array([1 / graph.node(node.inputs[0]).output.steps])
            nodes[node.name] = _affine(node, total.name, params, scale, np.zeros(1))
        else:
            nodes[node.name] = node
    return graph.rebuilt(nodes, params)


def _affine(
    node: Node,
    source: str,
    params: dict[str, NDArray[Any]],
    scale: NDArray[Any],
    shift: NDArray[Any],
) -> Node:
    names = (f"{node.name}.scale", f"{node.name}.shift")
    params |= dict(zip(names, (scale, shift), strict=True))
    return replace(node, op="affine", inputs=(source,), params=names, attributes=())
