"""From spikes to work: the operations every layer did, exactly, border effects included."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from numpy.typing import NDArray

from s2f_deploy.ir.graph import WIRING, Graph, Node
from s2f_deploy.ops import OPS
from s2f_deploy.ops.bilinear_upsample import additions
from s2f_deploy.ops.constant import always_fires
from s2f_deploy.ops.max_pool import comparisons
from s2f_deploy.passes.to_events import feeds_neuron, is_encoding
from s2f_sim.run import Kind, LayerCounts
from s2f_sim.sampling import SamplingWork
from s2f_sim.trains import Source, Trains

_WITHOUT_ACCUMULATIONS = ("neuron", "precomputed", "exact_sampling")


@dataclass(frozen=True, slots=True)
class _Synapses:
    """A layer's constant part, and what it reads."""

    constant: LayerCounts
    sources: tuple[Source, ...] = ()


class Counter:
    """Knows the fan-out of every layer of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes = graph.by_name()
        self._seen: set[str] = set()
        self._layers = [layer for node in graph.nodes if (layer := self._layer(node)) is not None]

    def work(self, timesteps: int) -> "Work":
        """Nothing yet.

        Args:
            timesteps: K; trains of several real timesteps are as many times as long.
        """
        return Work(self._nodes, self._layers, timesteps)

    def _layer(self, node: Node) -> _Synapses | None:
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
            return _Synapses(LayerCounts(node.name, "host", node.output.shape, 1, mac=node["macs"]))
        if node.op == "integrate_fire" or always_fires(node):
            return self._population(node)
        return None

    def _population(self, node: Node) -> _Synapses:
        kind: Kind = "precomputed" if always_fires(node) else "neuron"
        constant = LayerCounts(node.name, kind, node.output.shape, 1)
        if kind == "neuron":
            constant = replace(constant, membrane_adds=self._membrane_adds(node))
        return _Synapses(constant, (Source(node.name, node.output.positions, 1),))

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

    def _synapse(self, node: Node) -> _Synapses:
        fan_out = OPS[node.op].fan_out
        assert fan_out is not None
        read = self._nodes[node.inputs[0]].output
        reached = fan_out(node, read, self._graph.arrays(node))
        inputs = read.steps * read.channels * read.positions
        constant = replace(self._constant(node, "synapse"), inputs=inputs)
        return _Synapses(constant, (Source.of(node.inputs[0], reached),))

    def _kind(self, node: Node) -> Kind:
        """What a layer that multiplies does it for."""
        if is_encoding(self._graph, node):
            return "encoding"
        return "chain" if feeds_neuron(self._graph, node) else "readout"

    def _multiplying(self, node: Node, kind: Kind) -> _Synapses:
        constant = self._constant(node, kind)
        return _Synapses(replace(constant, mac=constant.dense_mac))

    def _attention(self, node: Node) -> _Synapses:
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

    def _reaching(self, constant: LayerCounts, events: Sequence[tuple[Node, int]]) -> _Synapses:
        """A layer in which every spike of a node causes one number of additions."""
        inputs = sum(e.output.channels * e.output.positions for e, _ in events)
        return _Synapses(
            replace(constant, inputs=inputs),
            tuple(Source(e.name, e.output.positions, n) for e, n in events),
        )

    def _product(self, node: Node) -> _Synapses:
        """Every spike adds a row of the held membranes."""
        held, events = (self._nodes[name] for name in node.inputs)
        constant = self._constant(node, "attention")
        return self._reaching(constant, [(events, held.output.positions)])

    def _sampling(self, node: Node) -> _Synapses:
        """What it does depends on offsets, too: the engine's walk finds it out."""
        kind: Kind = "dyadic_sampling" if node["bits"] else "exact_sampling"
        attention = self._nodes[node.inputs[2]].output
        inputs = attention.steps * attention.channels * attention.positions
        return _Synapses(replace(self._constant(node, kind), inputs=inputs))

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


class Work:
    """What any number of samples made every layer do."""

    def __init__(
        self, nodes: Mapping[str, Node], layers: Sequence[_Synapses], timesteps: int
    ) -> None:
        self._nodes, self._layers, self._timesteps = nodes, layers, timesteps
        self._samples = 0
        self._totals: dict[str, tuple[list[int], list[int]]] = {}
        self._products: dict[str, int] = {}

    def add(self, spikes: Mapping[str, NDArray[Any]], sampled: Mapping[str, SamplingWork]) -> None:
        """Add that of one sample.

        Args:
            spikes: integers[timesteps, positions] of every neuron layer and every pooled one.
            sampled: what every deformable sampling did.
        """
        self._samples += 1
        trains = Trains(self._nodes, spikes)
        for layer in self._layers:
            if layer.constant.name in sampled:
                self._add_sampling(layer.constant, sampled[layer.constant.name])
            for source in layer.sources:
                self._add(layer.constant, *trains.reaching(source))

    def _add_sampling(self, layer: LayerCounts, sampling: SamplingWork) -> None:
        done = sampling.of(layer)
        arrived = list(done.spikes_by_timestep)
        self._add(layer, arrived, list(done.ac_by_timestep) or [0] * len(arrived))
        self._products[layer.name] = self._products.get(layer.name, 0) + done.mac

    def _add(self, layer: LayerCounts, arrived: list[int], accumulated: list[int]) -> None:
        """Add spikes and accumulations of each timestep."""
        assert len(arrived) % self._timesteps == 0
        before = self._totals.get(layer.name)
        if before is not None:
            arrived = [a + b for a, b in zip(before[0], arrived, strict=True)]
            accumulated = [a + b for a, b in zip(before[1], accumulated, strict=True)]
        self._totals[layer.name] = arrived, accumulated

    def layers(self) -> tuple[LayerCounts, ...]:
        """Layer by layer, in execution order."""
        return tuple(self._layer(layer.constant) for layer in self._layers)

    def _layer(self, constant: LayerCounts) -> LayerCounts:
        """The constant part once per sample, and what its spikes did."""
        name, kind, samples = constant.name, constant.kind, self._samples
        arrived, accumulated = map(tuple, self._totals.get(name, ((), ())))
        return LayerCounts(
            name,
            kind,
            constant.shape,
            samples,
            constant.inputs,
            arrived,
            () if kind in _WITHOUT_ACCUMULATIONS else accumulated,
            self._products.get(name, samples * constant.mac),
            samples * constant.dense_mac,
            samples * constant.padded_mac,
            samples * prod(constant.shape) * len(arrived) if kind == "neuron" else 0,
            samples * constant.membrane_adds,
        )
