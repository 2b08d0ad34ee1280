"""From spikes to work: the operations every layer did, exactly, border effects included."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph, Node, through_wiring
from s2f_deploy.ops import OPS
from s2f_sim.run import Kind, LayerCounts


@dataclass(frozen=True, slots=True)
class _Synapses:
    """A layer's constant part, and int64[positions]: the synapses each of its spikes reaches."""

    constant: LayerCounts
    sources: tuple[tuple[str, NDArray[Any]], ...] = ()


class Counter:
    """Knows the fan-out of every layer of one graph; asked once per sample."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes = graph.by_name()
        self._layers = [layer for node in graph.nodes if (layer := self._layer(node)) is not None]

    def count(self, spikes: Mapping[str, NDArray[Any]], timesteps: int) -> tuple[LayerCounts, ...]:
        """Work of one sample.

        Args:
            spikes: int64[timesteps, positions] of every neuron layer.
            timesteps: K.
        """
        return tuple(_counted(layer, spikes, timesteps) for layer in self._layers)

    def _layer(self, node: Node) -> _Synapses | None:
        if node.op in ("event_conv2d", "event_linear"):
            return self._synapse(node)
        if node.op in ("conv2d", "linear", "affine"):
            source = through_wiring(self._nodes, node.inputs[0])
            first = source.op in ("input", "digitise")
            return self._multiplying(node, "encoding" if first else "readout")
        if node.op == "attention":
            return self._attention(node)
        if node.op == "host":
            return _Synapses(LayerCounts(node.name, "host", node.output.shape, 1, mac=node["macs"]))
        if node.op == "integrate_fire":
            adds = self._membrane_adds(node)
            constant = LayerCounts(node.name, "neuron", node.output.shape, 1, membrane_adds=adds)
            ones = np.ones(node.output.positions, np.int64)
            return _Synapses(constant, ((node.name, ones),))
        return None

    def _constant(self, node: Node, kind: Kind) -> LayerCounts:
        types = [self._nodes[name].output for name in node.inputs]
        arrays = self._graph.arrays(node)
        op = OPS[node.op]
        assert op.dense_macs is not None
        assert op.padded_macs is not None
        return LayerCounts(
            node.name,
            kind,
            node.output.shape,
            1,
            dense_mac=op.dense_macs(node, types, arrays),
            padded_mac=op.padded_macs(node, types, arrays),
        )

    def _synapse(self, node: Node) -> _Synapses:
        source = through_wiring(self._nodes, node.inputs[0])
        fan_out = OPS[node.op].fan_out
        assert fan_out is not None
        read = self._nodes[node.inputs[0]].output
        reached = fan_out(node, read, self._graph.arrays(node))
        constant = replace(self._constant(node, "synapse"), inputs=read.channels * read.positions)
        return _Synapses(constant, ((source.name, reached),))

    def _multiplying(self, node: Node, kind: Kind) -> _Synapses:
        constant = self._constant(node, kind)
        return _Synapses(replace(constant, mac=constant.dense_mac))

    def _attention(self, node: Node) -> _Synapses:
        """Additions per spike: N for keys and values of (q kᵀ) v, d_v for queries and keys else."""
        query, key, value = (through_wiring(self._nodes, name) for name in node.inputs)
        tokens = query.output.positions
        if node["association"] == "qk_v":
            events, additions = (key, value), tokens
        else:
            events, additions = (query, key), value.output.channels // node["heads"]
        inputs = sum(e.output.channels * e.output.positions for e in events)
        reached = np.full(tokens, additions, np.int64)
        constant = replace(self._constant(node, "attention"), inputs=inputs)
        return _Synapses(constant, tuple((event.name, reached) for event in events))

    def _membrane_adds(self, neuron: Node) -> int:
        """Additions of the sums that this neuron is the first to see."""
        node, adds = self._nodes[neuron.inputs[0]], 0
        while node.op in ("reshape", "add", "sum_pool", "align"):
            source = self._nodes[node.inputs[0]]
            if node.op == "add":
                return adds + node.output.channels * node.output.positions
            if node.op == "sum_pool":
                adds += source.output.channels * (source.output.positions - 1)
            node = source
        return adds


def _counted(layer: _Synapses, spikes: Mapping[str, NDArray[Any]], timesteps: int) -> LayerCounts:
    if not layer.sources:
        return layer.constant
    arrived = sum(spikes[name].sum(1) for name, _ in layer.sources)
    totals = tuple(int(n) for n in np.asarray(arrived))
    if layer.constant.kind == "neuron":
        neurons = int(np.prod(layer.constant.shape))
        return replace(
            layer.constant, spikes_by_timestep=totals, neuron_updates=neurons * timesteps
        )
    accumulated = sum(spikes[name] @ reached for name, reached in layer.sources)
    ac = tuple(int(n) for n in np.asarray(accumulated))
    return replace(layer.constant, spikes_by_timestep=totals, ac_by_timestep=ac)


def add_samples(
    total: tuple[LayerCounts, ...], sample: tuple[LayerCounts, ...]
) -> tuple[LayerCounts, ...]:
    """Work of several samples, layer by layer."""
    return tuple(_sum(a, b) for a, b in zip(total, sample, strict=True))


def _sum(a: LayerCounts, b: LayerCounts) -> LayerCounts:
    return replace(
        a,
        samples=a.samples + b.samples,
        spikes_by_timestep=_elementwise(a.spikes_by_timestep, b.spikes_by_timestep),
        ac_by_timestep=_elementwise(a.ac_by_timestep, b.ac_by_timestep),
        mac=a.mac + b.mac,
        dense_mac=a.dense_mac + b.dense_mac,
        padded_mac=a.padded_mac + b.padded_mac,
        neuron_updates=a.neuron_updates + b.neuron_updates,
        membrane_adds=a.membrane_adds + b.membrane_adds,
    )


def _elementwise(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))
