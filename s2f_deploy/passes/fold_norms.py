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
            elif node.op == "deformable_sample":
                self._sample(node)
            elif not read:
                self.nodes[node.name] = node
            elif node.op in MOVING_COUNTS and len(read) == len(node.inputs):
                self._wiring(node, read)
            else:
                self._reading(node, read)
        return self.graph.rebuilt(self.nodes, self.params)

    def _reading(self, node: Node, read: list[NDArray[Any]]) -> None:
        """What computes with counts of these norms."""
        if node.op in ("conv2d", "linear", "affine"):
            self._weighed(node, read[0])
        elif node.op == "attention":
            self._attention(node, read)
        elif node.op == "product":
            self._product(node, read[0])
        else:
            raise UnsupportedPatternError(
                f"{node.op} {node.name} reads the output of a neuron without weights between",
                where=node.origin,
                fix="only convolutions, linear layers and attention may read a neuron",
            )

    def _neuron(self, node: Node) -> None:
        self.norms[node.name] = np.full(node.output.channels, node["norm"])
        counts = replace(node.output, dtype=DType.COUNT, levels=node["levels"])
        self.nodes[node.name] = replace(node, output=counts).with_attributes(norm=1.0)

    def _wiring(self, node: Node, read: list[NDArray[Any]]) -> None:
        self.norms[node.name] = self._wired_norms(node, read)
        sources = [self.nodes[name].output for name in node.inputs]
        output = infer_type(node, sources, self.graph.arrays(node))
        self.nodes[node.name] = replace(node, output=output)

    def _wired_norms(self, node: Node, read: list[NDArray[Any]]) -> NDArray[Any]:
        if node.op != "rewire":
            return np.concatenate(read)
        (norms,) = read
        if (norms != norms[0]).any():
            raise UnsupportedPatternError(
                f"{node.name} mixes counts of several norms",
                where=node.origin,
                fix="give the neurons before it one norm",
            )
        return np.full(node.output.channels, norms[0])

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

    def _product(self, node: Node, norms: NDArray[Any]) -> None:
        """What is held is divided: all its rows but the last, which no spike reads."""
        held = self.nodes[node.inputs[0]]
        weight = self.params[held.params[0]]
        rows = np.append(norms, 1.0).reshape(-1, *[1] * (weight.ndim - 1))
        name = f"{node.name}.held_weight"
        self.params[name] = weight / rows
        self.nodes[held.name] = replace(held, params=(name, *held.params[1:]))
        self.nodes[node.name] = node

    def _attention(self, node: Node, read: list[NDArray[Any]]) -> None:
        uniform = all((norms == norms[0]).all() for norms in read)
        if len(read) != len(node.inputs) or not uniform:
            raise UnsupportedPatternError(
                f"attention {node.name} multiplies real values, or counts of several norms",
                where=node.origin,
                fix="put one neuron behind each projection of queries, keys and values",
            )
        norm = np.prod([norms[0] for norms in read])
        self._scaled(replace(node, output=replace(node.output, dtype=DType.INT32)), norm)

    def _sample(self, node: Node) -> None:
        """What is sampled for every count, divided by the norm of the counts of its group."""
        *held, attention = node.inputs
        norms = self.norms.get(attention, np.full(0, np.nan)).reshape(node["groups"], -1)
        single = norms.shape[1] > 0 and bool((norms == norms[:, :1]).all())
        if not single or any(name in self.norms for name in held):
            raise UnsupportedPatternError(
                f"{node.name} weighs what it samples by something else than the counts of one "
                "norm for every group, or samples counts",
                where=node.origin,
                fix="fire attention weights by one neuron, and sample real values by real offsets",
            )
        uniform = (norms == norms[0, 0]).all()
        by_channel = np.repeat(norms[:, 0], node.output.channels // node["groups"])
        self._scaled(node, by_channel[: 1 if uniform else None])

    def _scaled(self, node: Node, norms: NDArray[Any]) -> None:
        """Append a node whose readers read it divided by ``norms``, one or one per channel."""
        self.nodes[node.name] = node
        self.renamed[node.name] = scaled = f"{node.name}.normed"
        names = (f"{scaled}.scale", f"{scaled}.shift")
        self.params |= dict(zip(names, (1 / norms.reshape(-1), np.zeros(1)), strict=True))
        output = replace(node.output, dtype=DType.FLOAT32)
        self.nodes[scaled] = replace(
            node,
            name=scaled,
            op="affine",
            inputs=(node.name,),
            params=names,
            attributes=(),
            output=output,
        )
