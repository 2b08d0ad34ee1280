"""Neurons hand on integers; their divisors move into what reads them."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import UnsupportedPatternError
from s2f_deploy.ir.graph import WIRING, DType, Graph, Node
from s2f_deploy.ops import infer_type

MOVING_COUNTS = WIRING | {"pad"}


def fold_norms(graph: Graph) -> Graph:
    """Divide the weights behind every neuron by its norm, and let the neuron emit counts.

    A synapse gets weight / norm, an affine scale / norm. An attention of counts is an integer,
    followed by an affine with the scale 1 / (norm_q · norm_k · norm_v). Requires and gives a FLOAT
    graph; ensures that every integer_fire has a count as its output and norm 1.

    Raises:
        UnsupportedPatternError: a neuron's output is added, pooled or returned without a synapse.

    Source: hardware reference, section 1.4 (the divisor goes into the next layer's weights).
    """
    return _NormFold(graph).folded()


class _NormFold:
    """Nodes changed so far; float64[C] norms of all that give counts."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: dict[str, Node] = {}
        self.params: dict[str, NDArray[Any]] = dict(graph.params)
        self.norms: dict[str, NDArray[Any]] = {}
        self.renamed: dict[str, str] = {}

    def folded(self) -> Graph:
        """Visit all nodes in order."""
        for original in self.graph.nodes:
            inputs = tuple(self.renamed.get(name, name) for name in original.inputs)
            node = replace(original, inputs=inputs)
            read = [self.norms[name] for name in node.inputs if name in self.norms]
            if node.op == "integer_fire":
                self._neuron(node)
            elif not read:
                self.nodes[node.name] = node
            elif node.op in MOVING_COUNTS and len(read) == len(node.inputs):
                self._wiring(node, read)
            elif node.op in ("conv2d", "linear", "affine"):
                self._weighed(node, read[0])
            elif node.op == "attention":
                self._attention(node, read)
            else:
                raise UnsupportedPatternError(
                    f"{node.op} {node.name} reads the output of a neuron without weights between",
                    where=node.origin,
                    fix="only convolutions, linear layers and attention may read a neuron",
                )
        return self.graph.rebuilt(self.nodes, self.params)

    def _neuron(self, node: Node) -> None:
        self.norms[node.name] = np.full(node.output.channels, node["norm"])
        counts = replace(node.output, dtype=DType.COUNT, levels=node["levels"])
        self.nodes[node.name] = replace(node, output=counts).with_attributes(norm=1.0)

    def _wiring(self, node: Node, read: list[NDArray[Any]]) -> None:
        self.norms[node.name] = np.concatenate(read)
        sources = [self.nodes[name].output for name in node.inputs]
        output = infer_type(node, sources, [])
        self.nodes[node.name] = replace(node, output=output)

    def _weighed(self, node: Node, norms: NDArray[Any]) -> None:
        """Weights [O, I / groups, ...], or a scale [C] or [1]."""
        weight = self.params[node.params[0]]
        if node.op == "affine":
            scaled = weight / norms
        else:
            groups = node["groups"] if node.op == "conv2d" else 1
            rows = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
            scaled = (rows / norms.reshape(groups, 1, -1, 1)).reshape(weight.shape)
        # The weight may be shared with a layer behind another norm: never in place.
        name = f"{node.name}.weight_of_counts"
        self.params[name] = scaled
        self.nodes[node.name] = replace(node, params=(name, *node.params[1:]))

    def _attention(self, node: Node, read: list[NDArray[Any]]) -> None:
        uniform = all((norms == norms[0]).all() for norms in read)
        if len(read) != len(node.inputs) or not uniform:
            raise UnsupportedPatternError(
                f"attention {node.name} multiplies real values, or counts of several norms",
                where=node.origin,
                fix="put one neuron behind each projection of queries, keys and values",
            )
        self.nodes[node.name] = replace(node, output=replace(node.output, dtype=DType.INT32))
        self.renamed[node.name] = scaled = f"{node.name}.normed"
        names = (f"{scaled}.scale", f"{scaled}.shift")
        norm = np.prod([norms[0] for norms in read])
        self.params |= dict(zip(names, (np.array([1 / norm]), np.zeros(1)), strict=True))
        self.nodes[scaled] = replace(
            node, name=scaled, op="affine", inputs=(node.name,), params=names, attributes=()
        )
