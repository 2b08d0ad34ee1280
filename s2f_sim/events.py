"""The ``events`` engine: Numba kernels that add weight rows where spikes are, and nothing else.

Values are channels last: counts uint8[H, W, C], membranes float32, int32 or int64[H, W, L] with L
the channels in whole vector registers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import DType, Graph, Node, TensorType
from s2f_deploy.ops import OPS
from s2f_sim.attention import attend
from s2f_sim.kernels.aligned import aligned_rows
from s2f_sim.kernels.events import spikes_by_timestep
from s2f_sim.kernels.firing import fire
from s2f_sim.synapses import Synapse, prepare
from s2f_sim.workers import Workers

# A rough speed of one core, only to judge whether a second thread pays.
NEURONS_FIRED_PER_NS = 2.0


class EventsEngine:
    """Prepared weights of one graph, and the threads that work on it."""

    def __init__(self, graph: Graph, threads: int | None) -> None:
        self._graph = graph
        self._types = {node.name: node.output for node in graph.nodes}
        self._workers = Workers(threads)
        self._shifts = {
            node.name: aligned_rows(np.broadcast_to(graph.arrays(node)[0], node.output.channels))
            for node in graph.select("align")
        }
        self._synapses: dict[str, Synapse] = {
            node.name: prepare(node, self._types[node.inputs[0]], graph.arrays(node))
            for node in graph.select("event_conv2d", "event_linear")
        }

    def from_array(self, node: Node, array: NDArray[Any]) -> NDArray[Any]:
        """T[C, ...] -> channels last; images and real values padded to whole registers."""
        channels_last = np.ascontiguousarray(
            array.reshape(node.output.channels, *node.output.plane).transpose(1, 2, 0)
        )
        return channels_last if node.output.dtype is DType.COUNT else aligned_rows(channels_last)

    def to_array(self, node: Node, value: NDArray[Any]) -> NDArray[Any]:
        """Channels last -> T[C, ...] of the node's shape."""
        return _channels_first(node.output, value)

    def step(self, node: Node, inputs: list[Any], timesteps: int) -> NDArray[Any]:
        """Run one node."""
        match node.op:
            case "event_conv2d" | "event_linear":
                return self._synapses[node.name].accumulate(inputs[0], self._workers)
            case "integrate_fire":
                return self._fire(node, inputs[0], timesteps)
            case "attention":
                return attend(node, inputs, self._workers)
            case "add":
                total: NDArray[Any] = inputs[0] + inputs[1]
                return total
            case "align":
                return self._align(node, inputs[0])
            case "sum_pool":
                wide = node.output.dtype.array_type
                pooled: NDArray[Any] = inputs[0].sum((0, 1), keepdims=True, dtype=wide)
                return pooled
            case "reshape":
                value: NDArray[Any] = inputs[0].reshape(*node.output.plane, -1)
                return value
            case _:
                return self._dense(node, inputs)

    def spikes(self, node: Node, value: NDArray[Any], timesteps: int) -> NDArray[Any]:
        """int64[timesteps, positions]: a neuron with count n spikes in timesteps 1..n."""
        fired: NDArray[Any] = spikes_by_timestep(value.reshape(-1, node.output.channels), timesteps)
        return fired

    def _fire(self, node: Node, membrane: NDArray[Any], timesteps: int) -> NDArray[Any]:
        (comparators,) = self._graph.arrays(node)
        counts = np.empty((*membrane.shape[:2], node.output.channels), np.uint8)
        flat_membrane = membrane.reshape(-1, membrane.shape[2])
        flat_counts = counts.reshape(-1, counts.shape[2])

        def work(first: int, last: int) -> None:
            fire(flat_membrane, comparators, timesteps, flat_counts, first, last)

        self._workers.over_rows(len(flat_counts), work, counts.size / NEURONS_FIRED_PER_NS)
        return counts

    def _align(self, node: Node, membrane: NDArray[Any]) -> NDArray[Any]:
        """Shift every channel onto its finer grid, in the node's type."""
        wide = membrane.astype(node.output.dtype.array_type)
        shifts = self._shifts[node.name].astype(wide.dtype)
        shifted: NDArray[Any] = wide << shifts[: wide.shape[2]]
        return shifted

    def _dense(self, node: Node, inputs: list[Any]) -> NDArray[Any]:
        """Layers that multiply (encoding, readout) and the host's: their dense definition."""
        plain = [
            _channels_first(self._types[name], value)
            for name, value in zip(node.inputs, inputs, strict=True)
        ]
        result = OPS[node.op].dense(node, plain, self._graph.arrays(node))
        return self.from_array(node, result)


def _channels_first(output: TensorType, value: NDArray[Any]) -> NDArray[Any]:
    channels_first = value[:, :, : output.channels].transpose(2, 0, 1)
    return np.ascontiguousarray(channels_first).reshape(output.shape)
