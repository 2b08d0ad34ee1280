"""The ``events`` engine: Numba kernels that add weight rows where spikes are, and nothing else.

Values are channels last: counts uint8[H, W, C], membranes float32, int32 or int64[H, W, C]; of
several real timesteps T, these are on an axis in front, and one follows the other.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph, Node, TensorType
from s2f_deploy.ops import evaluate
from s2f_deploy.ops.bilinear_upsample import is_twofold
from s2f_deploy.ops.fixed_point import dense_digitise
from s2f_sim.attention import Attention
from s2f_sim.encoding import Encoding, Products
from s2f_sim.finishing import Finishing, Places, finish_sums
from s2f_sim.fusion import Step, fused_steps
from s2f_sim.kernels.events import flat_window
from s2f_sim.kernels.finish import Finish
from s2f_sim.kernels.spike_counting import count_spikes
from s2f_sim.kernels.spiking import WINDOW
from s2f_sim.layout import Layout, choose_layout
from s2f_sim.pooling import pooled
from s2f_sim.product import read_held
from s2f_sim.reading_out import read_out
from s2f_sim.sampling import sample
from s2f_sim.synapses import READING_IN_PLACE, Synapse, prepare
from s2f_sim.upsampling import Upsampling
from s2f_sim.workers import Workers

_IMAGE_AXES = 3
_IN_PLACE = *READING_IN_PLACE, Encoding
ChooseLayout = Callable[[Node, TensorType, NDArray[Any]], Layout]


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
        self.workers = Workers(threads)
        # Where counts and spikes of a step go, if that has been decided.
        self.places: dict[str, Places] = {}
        # Of wiring addresses, of constants their values: turned to channels last once.
        self._turned: dict[str, NDArray[Any]] = {}
        self._synapses = dict(self._prepared(layout))
        # By the name of the digitised image that only they read.
        self._encodings = {
            graph.node(name).inputs[0]: synapse
            for name, synapse in self._synapses.items()
            if isinstance(synapse, Encoding)
        }
        self._attentions = {
            node.name: Attention(node, [self._types[name] for name in node.inputs])
            for node in graph.select("attention")
        }
        fusing = self._synapses.keys() | self._attentions.keys()
        self.steps = fused_steps(graph, fusing)
        self.finishing = {
            step.node.name: Finishing(graph, step, self._bias(step.node))
            for step in self.steps
            if step.node.name in fusing or step.node.op == "integrate_fire"
        }

    def _prepared(self, layout: ChooseLayout) -> list[tuple[str, Synapse]]:
        graph = self._graph
        prepared: list[tuple[str, Synapse]] = [
            (node.name, Upsampling.of(node))
            for node in graph.select("bilinear_upsample")
            if is_twofold(node, self._types[node.inputs[0]])
        ]
        for node in graph.select("event_conv2d", "event_linear"):
            source, arrays = self._types[node.inputs[0]], graph.arrays(node)
            chosen = layout(node, source, arrays[0])
            prepared.append((node.name, prepare(node, source, arrays, chosen)))
        prepared += [
            (node.name, self._multiplying(node))
            for node in graph.select("conv2d")
            if node["groups"] == 1
        ]
        return prepared

    def _multiplying(self, node: Node) -> Synapse:
        pixels, arrays = self._graph.node(node.inputs[0]), self._graph.arrays(node)
        if pixels.op != "digitise":
            return Products.of(node, arrays, None)
        readers = [other for other in self._graph.nodes if pixels.name in other.inputs]
        if len(readers) == 1 and len(pixels.output.array_shape) == _IMAGE_AXES:
            return Encoding(node, arrays, pixels)
        return Products.of(node, arrays, max(-pixels["low"], pixels["high"]))

    def from_array(self, node: Node, array: NDArray[Any]) -> NDArray[Any]:
        """T[C, ...] -> channels last; an image as a view, what multiplies it lays it out anew."""
        turned = _channels_last(node.output, array)
        return turned if node.op == "input" else np.ascontiguousarray(turned)

    def to_array(self, node: Node, value: NDArray[Any]) -> NDArray[Any]:
        """Channels last -> a view T[C, ...] of the node's shape."""
        return _channels_first(node.output, value)

    def run(
        self, step: Step, values: Mapping[str, Any], timesteps: int
    ) -> tuple[Any, Any, NDArray[Any] | None]:
        """Do one step."""
        node = step.node
        inputs = [values[name] for name in step.inputs]
        if node.name not in self.finishing:
            return self._value(node, inputs), None, None
        other = values[step.residual.value] if step.residual else None
        return self._finished(step, inputs, other, timesteps)

    def _finished(
        self, step: Step, inputs: list[Any], other: NDArray[Any] | None, timesteps: int
    ) -> tuple[Any, Any, NDArray[Any] | None]:
        """Of sums that are finished while they are in the cache."""
        name, several = step.node.name, step.node.output.steps > 1
        synapse, attention = self._synapses.get(name), self._attentions.get(name)

        def work(now: int, finish: Finish) -> None:
            read = [value[now] for value in inputs] if several else inputs
            if synapse is not None:
                synapse.accumulate(read[0], finish, self.workers)
            elif attention is not None:
                attention.accumulate(read, finish, self.workers)
            else:
                finish_sums(read[0].reshape(-1), finish, self.workers)

        return self.finishing[name].run(other, timesteps, work, self.places.get(name))

    def is_kernels(self, step: Step, values: Mapping[str, Any]) -> bool:
        """Whether a step is nothing but kernels that read its values where they are."""
        name = step.node.name
        synapse, attention = self._synapses.get(name), self._attentions.get(name)
        finishing = self.finishing.get(name)
        if finishing is None or finishing.remembers or step.node.output.steps > 1:
            return False
        if synapse is not None and not isinstance(synapse, _IN_PLACE):
            return False
        read = [values[name] for name in step.reads]
        return (attention is None or attention.values_first) and all(
            value.flags.c_contiguous
            and value.flags.writeable
            # Few counts are copied, see `flat_window`.
            and (value.dtype != np.uint8 or value.size >= WINDOW)
            for value in read
        )

    def _bias(self, node: Node) -> NDArray[Any] | None:
        synapse = self._synapses.get(node.name)
        return None if synapse is None else synapse.bias

    def _value(self, node: Node, inputs: list[NDArray[Any]]) -> NDArray[Any]:
        """Of a node by itself."""
        match node.op:
            case "add" | "align" | "sum_pool":
                return self._summed(node, inputs)
            case "concat" | "upsample" | "rewire" | "reshape" | "repeat":
                return self._wired(node, inputs)
            case "digitise" if node.name in self._encodings:
                return self._encodings[node.name].digitise(inputs[0], self.workers)
            case "digitise":
                return dense_digitise(node, inputs, ())
            case "product":
                return read_held(node, inputs[0], inputs[1], self.workers)
            case "deformable_sample":
                return sample(node, inputs, self._graph.arrays(node), self.workers)
            case "max_pool":
                return pooled(node, inputs[0])
            case _:
                return self._defined(node, inputs)

    def _summed(self, node: Node, inputs: list[NDArray[Any]]) -> NDArray[Any]:
        """What adds or shifts membranes by itself."""
        if node.op == "add":
            total: NDArray[Any] = inputs[0] + inputs[1]
            return total
        wide = node.output.dtype.array_type
        if node.op == "align":
            value = inputs[0].astype(wide)
            shifted: NDArray[Any] = value << self._graph.arrays(node)[0].astype(wide)
            return shifted
        if node.output.steps > 1 or not node.output.dtype.is_integer:
            return self._dense(node, inputs)
        # As they lie: of integers every order gives the same sum.
        pooled_sum: NDArray[Any] = inputs[0].reshape(-1, node.output.channels).sum(0, dtype=wide)
        return pooled_sum.reshape(*node.output.plane, -1)

    def _wired(self, node: Node, inputs: list[NDArray[Any]]) -> NDArray[Any]:
        """What moves elements and computes nothing."""
        match node.op:
            case "concat":
                return np.concatenate(inputs, axis=-1)
            case "upsample":
                rows, columns = node["factors"]
                return inputs[0].repeat(rows, axis=-3).repeat(columns, axis=-2)
            case "rewire":
                return self._rewired(node, inputs[0])
            case "repeat":
                return inputs[0][None].repeat(node["steps"], axis=0)
            case _ if node.output.channels == inputs[0].shape[-1]:
                steps = (node.output.steps,) if node.output.steps > 1 else ()
                return inputs[0].reshape(*steps, *node.output.plane, -1)
            case _:
                return self._dense(node, inputs)

    def _rewired(self, node: Node, value: NDArray[Any]) -> NDArray[Any]:
        """Elements at other places."""
        if node.name not in self._turned:
            source = self._types[node.inputs[0]]
            index = self._graph.arrays(node)[0].reshape(node.output.channels, -1).T
            channel, position = np.divmod(index, source.positions)
            address = position * source.channels + channel
            self._turned[node.name] = np.ascontiguousarray(address, np.intp)
        wired: NDArray[Any] = value.reshape(-1)[self._turned[node.name]]
        return wired.reshape(*node.output.plane, -1)

    def spikes(self, node: Node, value: NDArray[Any], timesteps: int) -> NDArray[Any]:
        """int32[T * timesteps, positions]: a neuron with count n spikes in timesteps 1..n."""
        steps, positions = node.output.steps, node.output.positions
        spikes = np.empty((steps, timesteps, positions), np.int32)
        for now, train in zip(value.reshape(steps, -1), spikes, strict=True):
            count_spikes(flat_window(now), node.output.channels, train)
        return spikes.reshape(-1, positions)

    def _defined(self, node: Node, inputs: list[Any]) -> NDArray[Any]:
        """As its operation says; what no input changes once."""
        if node.op == "read_out":
            return read_out(node, inputs[0], self._graph.arrays(node)[0], self.workers)
        if node.op != "constant":
            return self._dense(node, inputs)
        if node.name not in self._turned:
            self._turned[node.name] = self._dense(node, inputs)
        return self._turned[node.name]

    def _dense(self, node: Node, inputs: list[Any]) -> NDArray[Any]:
        """What multiplies real values, couples positions, or is the host's: as defined."""
        plain = [
            np.ascontiguousarray(_channels_first(self._types[name], value))
            for name, value in zip(node.inputs, inputs, strict=True)
        ]
        array = evaluate(node, plain, self._graph.arrays(node))
        # Of the host's results only callers and other hosts read, who turn them back.
        turned = _channels_last(node.output, array)
        return turned if node.op == "host" else np.ascontiguousarray(turned)


def _channels_last(output: TensorType, array: NDArray[Any]) -> NDArray[Any]:
    """T[C, ...] of the type's shape -> a view, channels last."""
    steps = array.reshape(output.steps, output.channels, *output.plane)
    shown: NDArray[Any] = steps.transpose(0, 2, 3, 1)
    return shown if output.steps > 1 else shown[0]


def _channels_first(output: TensorType, value: NDArray[Any]) -> NDArray[Any]:
    """Channels last -> a view T[C, ...] of the type's shape."""
    shape = output.array_shape
    if output.steps == 1 and value.ndim == len(shape) == _IMAGE_AXES:
        # What most values are: they come by the hundred.
        return value.transpose(2, 0, 1)
    steps = value.reshape(output.steps, *output.plane, output.channels)
    shown: NDArray[Any] = steps.transpose(0, 3, 1, 2).reshape(shape)
    return shown
