"""From spikes to work: the operations every layer did, exactly, border effects included."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import WIRING, Graph, Node
from s2f_deploy.ops import OPS
from s2f_deploy.ops.bilinear_upsample import additions
from s2f_deploy.ops.constant import always_fires
from s2f_deploy.ops.max_pool import comparisons
from s2f_deploy.passes.to_events import feeds_neuron, is_encoding
from s2f_sim.run import Kind, LayerCounts
from s2f_sim.trains import Source
from s2f_sim.work import FanOut, LayerWork, Mapped, Work


class Counter:
    """Knows the fan-out of every layer of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes = graph.by_name()
        self._seen: set[str] = set()
        layers = [layer for node in graph.nodes if (layer := self._layer(node)) is not None]
        self._fan_out = FanOut(layers)

    @property
    def mapped(self) -> Sequence[Mapped]:
        """Layers in which the synapses that a spike reaches depend on its position."""
        return self._fan_out.mapped

    def work(self, timesteps: int) -> Work:
        """Nothing yet.

        Args:
            timesteps: K; trains of several real timesteps are as many times as long.
        """
        return Work(self._nodes, self._fan_out, timesteps)

    def _layer(self, node: Node) -> LayerWork | None:
        if node.op in ("event_conv2d", "event_linear"):
            return self._synapse(node)
        if node.op in ("conv2d", "linear", "affine"):
            return self._multiplying(node, self._kind(node))
        if node.op == "attention":
            return self._attention(node)
        if node.op == "product":
            return self._product(node)
        if node.op == "deformable_sample":
            return self._sampling(node)
        if node.op == "host":
            return LayerWork(LayerCounts(node.name, "host", node.output.shape, 1, mac=node["macs"]))
        if node.op == "integrate_fire" or always_fires(node):
            return self._population(node)
        return None

    def _population(self, node: Node) -> LayerWork:
        kind: Kind = "precomputed" if always_fires(node) else "neuron"
        constant = LayerCounts(node.name, kind, node.output.shape, 1)
        if kind == "neuron":
            constant = constant._replace(membrane_adds=self._membrane_adds(node))
        return LayerWork(constant, (Source.of(node, 1),))

    def _constant(self, node: Node, kind: Kind) -> LayerCounts:
        types = [self._nodes[name].output for name in node.inputs]
        arrays = self._graph.arrays(node)
        op = OPS[node.op]
        assert op.dense_macs is not None
        assert op.padded_macs is not None
        steps = node.output.steps
        return LayerCounts(
            node.name,
            kind,
            node.output.shape,
            1,
            dense_mac=steps * op.dense_macs(node, types, arrays),
            padded_mac=steps * op.padded_macs(node, types, arrays),
        )

    def _synapse(self, node: Node) -> LayerWork:
        fan_out = OPS[node.op].fan_out
        assert fan_out is not None
        read = self._nodes[node.inputs[0]].output
        reached = fan_out(node, read, self._graph.arrays(node))
        inputs = read.steps * read.channels * read.positions
        constant = self._constant(node, "synapse")._replace(inputs=inputs)
        return LayerWork(constant, (self._source(self._nodes[node.inputs[0]], reached),))

    def _kind(self, node: Node) -> Kind:
        """What a layer that multiplies does it for."""
        if is_encoding(self._graph, node):
            return "encoding"
        return "chain" if feeds_neuron(self._graph, node) else "readout"

    def _multiplying(self, node: Node, kind: Kind) -> LayerWork:
        constant = self._constant(node, kind)
        return LayerWork(constant._replace(mac=constant.dense_mac))

    def _attention(self, node: Node) -> LayerWork:
        """Additions per spike.

        As many as queries for keys and values of (q kᵀ) v, d_v for queries and keys otherwise.
        """
        query, key, value = (self._nodes[name] for name in node.inputs)
        if node["association"] == "qk_v":
            events, additions = (key, value), query.output.positions
        else:
            events, additions = (query, key), value.output.channels // node["heads"]
        constant = self._constant(node, "attention")
        return self._reaching(constant, [(event, additions) for event in events])

    def _reaching(self, constant: LayerCounts, events: Sequence[tuple[Node, int]]) -> LayerWork:
        """A layer in which every spike of a node causes one number of additions."""
        inputs = sum(e.output.channels * e.output.positions for e, _ in events)
        return LayerWork(
            constant._replace(inputs=inputs),
            tuple(self._source(e, n) for e, n in events),
        )

    def _source(self, node: Node, reached: int | NDArray[np.int64]) -> Source:
        """A population itself, where another shape shows the spikes of its positions."""
        while node.op == "reshape":
            shown = self._nodes[node.inputs[0]]
            if shown.output.positions != node.output.positions:
                break
            node = shown
        return Source.of(node, reached)

    def _product(self, node: Node) -> LayerWork:
        """Every spike adds a row of the held membranes."""
        held, events = (self._nodes[name] for name in node.inputs)
        constant = self._constant(node, "attention")
        return self._reaching(constant, [(events, held.output.positions)])

    def _sampling(self, node: Node) -> LayerWork:
        """What it does depends on offsets, too: the engine's walk finds it out."""
        kind: Kind = "dyadic_sampling" if node["bits"] else "exact_sampling"
        attention = self._nodes[node.inputs[2]].output
        inputs = attention.steps * attention.channels * attention.positions
        constant = self._constant(node, kind)._replace(inputs=inputs)
        return LayerWork(constant, steps=attention.steps)

    def _membrane_adds(self, neuron: Node) -> int:
        """Additions and comparisons of sums that this neuron is the first to see."""
        waiting, adds = [neuron.inputs[0]], 0
        while waiting:
            node = self._nodes[waiting.pop()]
            if node.name in self._seen or node.op not in _OF_MEMBRANES:
                continue
            self._seen.add(node.name)
            # Of a sampling, membranes and offsets; its last input are spikes.
            waiting += node.inputs[: 2 if node.op == "deformable_sample" else None]
            if node.op == "add":
                adds += node.output.steps * node.output.channels * node.output.positions
            elif node.op == "sum_pool":
                source = self._nodes[node.inputs[0]].output
                adds += source.steps * source.channels * (source.positions - 1)
            elif node.op == "max_pool":
                adds += node.output.steps * comparisons(node)
            elif node.op == "bilinear_upsample":
                source = self._nodes[node.inputs[0]].output
                adds += node.output.steps * additions(node, source)
        return adds


_OF_MEMBRANES = WIRING | {
    "add",
    "sum_pool",
    "align",
    "repeat",
    "bilinear_upsample",
    "deformable_sample",
}
