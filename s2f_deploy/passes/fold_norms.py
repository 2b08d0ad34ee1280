"""Neurons hand on integers; their divisors move into what reads them."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import UnsupportedPatternError
from s2f_deploy.ir.graph import DType, Graph, Node, TensorType


def fold_norms(graph: Graph) -> Graph:
    """Divide the weights behind every neuron by its norm, and let the neuron emit counts.

    A synapse gets weight / norm. An attention of counts is an integer, followed by an affine with
    the scale 1 / (norm_q · norm_k · norm_v). Requires and gives a FLOAT graph; ensures that
    every integer_fire has a count as its output and norm 1.

    Raises:
        UnsupportedPatternError: a neuron's output is added, pooled or returned without a synapse.

    Source: hardware reference, section 1.4 (the divisor goes into the next layer's weights).
    """
    nodes: dict[str, Node] = {}
    params: dict[str, NDArray[Any]] = dict(graph.params)
    norms: dict[str, float] = {}
    renamed: dict[str, str] = {}
    for original in graph.nodes:
        inputs = tuple(renamed.get(name, name) for name in original.inputs)
        node = replace(original, inputs=inputs)
        read = [norms[name] for name in node.inputs if name in norms]
        if node.op == "integer_fire":
            norms[node.name] = node["norm"]
            counts = TensorType(node.output.shape, DType.COUNT, node["levels"])
            node = replace(node, output=counts).with_attributes(norm=1.0)
        elif read and node.op == "reshape":
            norms[node.name] = read[0]
            source = nodes[node.inputs[0]].output
            node = replace(node, output=replace(source, shape=node.output.shape))
        elif read and node.op in ("conv2d", "linear"):
            weight = node.params[0]
            # The weight may be shared with a layer behind another norm: never in place.
            scaled = f"{node.name}.weight_of_counts"
            params[scaled] = params[weight] / read[0]
            node = replace(node, params=(scaled, *node.params[1:]))
        elif read and node.op == "attention":
            _require_counts(node, read)
            nodes[node.name] = replace(node, output=replace(node.output, dtype=DType.INT32))
            renamed[node.name] = scaled = f"{node.name}.normed"
            names = (f"{scaled}.scale", f"{scaled}.shift")
            params |= dict(zip(names, (np.array([1 / np.prod(read)]), np.zeros(1)), strict=True))
            node = replace(
                node, name=scaled, op="affine", inputs=(node.name,), params=names, attributes=()
            )
        elif read:
            raise UnsupportedPatternError(
                f"{node.op} {node.name} reads the output of a neuron without weights between",
                where=node.origin,
                fix="only convolutions, linear layers and attention may read a neuron",
            )
        nodes[node.name] = node
    return graph.rebuilt(nodes, params)


def _require_counts(node: Node, read: list[float]) -> None:
    if len(read) != len(node.inputs):
        raise UnsupportedPatternError(
            f"attention {node.name} multiplies real values",
            where=node.origin,
            fix="put a neuron behind the projections of queries, keys and values",
        )
