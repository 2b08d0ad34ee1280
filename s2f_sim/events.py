"""The ``events`` engine: Numba kernels that add weight rows where spikes are, and nothing else.

Values are channels last: counts uint8[H, W, C], membranes float32, int32 or int64[H, W, C]; of
several real timesteps T, these are on an axis in front, and one follows the other.
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph, Node, TensorType
from s2f_deploy.ops import evaluate
from s2f_sim.attention import attend
from s2f_sim.finishing import Finishing
from s2f_sim.fusion import Step, fires_at_once, fused_steps
from s2f_sim.kernels.finish import finish_positions
from s2f_sim.kernels.spike_counting import count_spikes
from s2f_sim.layout import Layout, choose_layout
from s2f_sim.product import read_held
from s2f_sim.sampling import read_between
from s2f_sim.synapses import Synapse, only_sums, prepare, prepare_products
from s2f_sim.workers import Workers

ChooseLayout = Callable[[Node, TensorType, NDArray[Any]], Layout]

# A rough speed of one core, only to judge whether a second thread pays.
NEURONS_FIRED_PER_NS = 1.0


class EventsEngine:
    """Prepared weights of one graph, and the threads that work on it.

    Args:
        graph: at EVENT level.
        threads: all cores if None.
        layout: how each synaptic layer is computed; the result never depends on it.
    """

    def __init__(
        self, graph: Graph, threads: int | None, layout: ChooseLayout = choose_layout
    ) -> None:
        self._graph = graph
        self._types = {node.name: node.output for node in graph.nodes}
        self._workers = Workers(threads)
        self._addresses: dict[str, NDArray[Any]] = {}
        self._synapses = dict(self._prepared(layout))
        attentions = {node.name for node in graph.select("attention")}
        fusing = attentions | self._synapses.keys()
        self.steps = fused_steps(graph, {n for n in fusing if self._types[n].steps == 1})
        self._finishing = {
            step.node.name: Finishing(graph, step)
            for step in self.steps
            if _finishes(step, self._synapses.keys())
        }

    def _prepared(self, layout: ChooseLayout) -> list[tuple[str, Synapse]]:
        graph = self._graph
        prepared = []
        for node in graph.select("event_conv2d", "event_linear"):
            source, arrays = self._types[node.inputs[0]], graph.arrays(node)
            chosen = layout(node, source, arrays[0])
            prepared.append((node.name, prepare(node, source, arrays, chosen)))
        nodes = graph.by_name()
        for node in graph.select("conv2d"):
            if node["groups"] == 1:
                pixels = nodes[node.inputs[0]]
                digitised = pixels.op == "digitise"
                largest = max(-pixels["low"], pixels["high"]) if digitised else None
                synapse = prepare_products(node, graph.arrays(node), largest)
                prepared.append((node.name, synapse))
        return prepared

    def from_array(self, node: Node, array: NDArray[Any]) -> NDArray[Any]:
        """T[C, ...] -> channels last."""
        steps = array.reshape(node.output.steps, node.output.channels, *node.output.plane)
        last = np.ascontiguousarray(steps.transpose(0, 2, 3, 1))
        return last if node.output.steps > 1 else last[0]

    def to_array(self, node: Node, value: NDArray[Any]) -> NDArray[Any]:
        """Channels last -> a view T[C, ...] of the node's shape."""
        return _channels_first(node.output, value)

    def run(
        self, step: Step, values: Mapping[str, Any], timesteps: int
    ) -> tuple[Any, Any, NDArray[Any] | None]:
        """Do one step."""
        node = step.node
        inputs = [values[name] for name in step.inputs]
        if node.name not in self._finishing:
            value = self._value(node, inputs, timesteps)
            return (None, value, None) if step.neuron else (value, None, None)
        other = values[step.residual.value] if step.residual else None
        return self._finished(step, inputs, other, timesteps)

    def _finished(
        self, step: Step, inputs: list[Any], other: NDArray[Any] | None, timesteps: int
    ) -> tuple[Any, Any, NDArray[Any] | None]:
        """Of sums that are finished while they are in the cache."""
        node, finishing = step.node, self._finishing[step.node.name]
        synapse = self._synapses.get(node.name)
        if synapse is not None:
            finish = finishing.of(synapse.bias, other, timesteps)
            synapse.accumulate(inputs[0], finish, self._workers)
            return finishing.results(finish)
        attends = node.op == "attention"
        sums = attend(node, inputs, self._workers) if attends else inputs[0]
        sums = sums.reshape(-1, node.output.channels)
        finish = finishing.of(np.zeros((1, sums.shape[1]), sums.dtype), other, timesteps)
        self._workers.over_rows(
            len(sums),
            lambda first, last: finish_positions(sums, finish, first, last),
            sums.size / NEURONS_FIRED_PER_NS,
        )
        return finishing.results(finish)

    def _value(self, node: Node, inputs: list[NDArray[Any]], timesteps: int) -> NDArray[Any]:
        """Of a node by itself."""
        match node.op:
            case "add":
                total: NDArray[Any] = inputs[0] + inputs[1]
                return total
            case "align":
                wide = inputs[0].astype(node.output.dtype.array_type)
                shifted: NDArray[Any] = wide << self._graph.arrays(node)[0].astype(wide.dtype)
                return shifted
            case "concat" | "upsample" | "rewire" | "reshape":
                return self._wired(node, inputs, timesteps)
            case "product":
                return read_held(node, inputs[0], inputs[1], self._workers)
            case "bilinear_upsample" | "deformable_sample":
                return read_between(node, inputs, self._graph.arrays(node), self._workers)
            case _ if node.name in self._synapses:
                return np.stack([self._sums(node, now) for now in inputs[0]])
            case _:
                return self._dense(node, inputs, timesteps)

    def _wired(self, node: Node, inputs: list[NDArray[Any]], timesteps: int) -> NDArray[Any]:
        """What moves elements and computes nothing."""
        match node.op:
            case "concat":
                return np.concatenate(inputs, axis=-1)
            case "upsample":
                rows, columns = node["factors"]
                return inputs[0].repeat(rows, axis=-3).repeat(columns, axis=-2)
            case "rewire":
                return self._rewired(node, inputs[0])
            case _ if node.output.channels == inputs[0].shape[-1]:
                steps = (node.output.steps,) if node.output.steps > 1 else ()
                return inputs[0].reshape(*steps, *node.output.plane, -1)
            case _:
                return self._dense(node, inputs, timesteps)

    def _rewired(self, node: Node, value: NDArray[Any]) -> NDArray[Any]:
        """Elements at other places; addresses are turned to channels last once."""
        if node.name not in self._addresses:
            source = self._types[node.inputs[0]]
            index = self._graph.arrays(node)[0].reshape(node.output.channels, -1).T
            channel, position = np.divmod(index, source.positions)
            address = position * source.channels + channel
            self._addresses[node.name] = np.ascontiguousarray(address)
        wired: NDArray[Any] = value.reshape(-1)[self._addresses[node.name]]
        return wired.reshape(*node.output.plane, -1)

    def _sums(self, node: Node, source: NDArray[Any]) -> NDArray[Any]:
        """The sums of a synaptic layer at one real timestep."""
        synapse = self._synapses[node.name]
        sums = np.empty((node.output.positions, node.output.channels), synapse.bias.dtype)
        synapse.accumulate(source, only_sums(synapse.bias, sums), self._workers)
        return sums.reshape(*node.output.plane, -1)

    def spikes(self, node: Node, value: NDArray[Any], timesteps: int) -> NDArray[Any]:
        """int32[T * timesteps, positions]: a neuron with count n spikes in timesteps 1..n."""
        steps, positions = node.output.steps, node.output.positions
        counts = value.reshape(steps, positions, node.output.channels)
        spikes = np.empty((steps, timesteps, positions), np.int32)
        for now, train in zip(counts, spikes, strict=True):
            count_spikes(now, train)
        return spikes.reshape(-1, positions)

    def _dense(self, node: Node, inputs: list[Any], timesteps: int) -> NDArray[Any]:
        """What multiplies real values, couples real timesteps, or is the host's: as defined."""
        plain = [
            np.ascontiguousarray(_channels_first(self._types[name], value))
            for name, value in zip(node.inputs, inputs, strict=True)
        ]
        params = self._graph.arrays(node)
        if node.op == "integrate_fire":
            params = [params[0][:timesteps], *params[1:]]
        return self.from_array(node, evaluate(node, plain, params))


def _finishes(step: Step, prepared: AbstractSet[str]) -> bool:
    """Whether a kernel finishes the sums of a step."""
    if step.node.output.steps > 1:
        return False
    fires = step.neuron is not None and fires_at_once(step.neuron)
    return fires or step.node.op == "attention" or step.node.name in prepared


def _channels_first(output: TensorType, value: NDArray[Any]) -> NDArray[Any]:
    """Channels last -> a view T[C, ...] of the type's shape."""
    steps = value.reshape(output.steps, *output.plane, output.channels)
    shown: NDArray[Any] = steps.transpose(0, 3, 1, 2).reshape(output.array_shape)
    return shown
