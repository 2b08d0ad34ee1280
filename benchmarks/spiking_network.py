"""A lowered network as a PyTorch module, its neurons and synapses those of another simulator.

It is built from the INTEGER graph of dyadic rationals: every simulator has the very weights s2f
has, and float32 hardly ever has to round. Values are sequences: membranes and other real values
``[1, B, ...]``, spikes ``[D, B, ...]``, binary, a slot for each timestep of the neuron's window.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from s2f_deploy.errors import UnsupportedPatternError
from s2f_deploy.ir.graph import DType, Graph, Node

IMAGE_RANK = 3
Array = NDArray[Any]


class OtherSimulator(Protocol):
    """What another simulator brings along.

    Attributes:
        rounding: what its neurons make of halves.
    """

    rounding: str

    def neuron(self, levels: int) -> nn.Module:
        """Membranes ``[1, B, ...]``, in units of one count, to spikes ``[D, B, ...]``."""

    def synapses(self, weights: nn.Module) -> nn.Module:
        """A layer of weights without bias, applied to every slot of a sequence."""

    def total(self, levels: int) -> nn.Module:
        """``[D, B, ...]`` to the sum over the slots, ``[1, B, ...]``."""


class SpikingNetwork(nn.Module):
    """All nodes of a graph, in order; gives its outputs by name.

    Args:
        graph: INTEGER, all weights on grids.
        events: the EVENT graph lowered from it, which says how attention associates.
        simulator: whose neurons and synapses the network is made of.

    Attributes:
        neurons: modules that give the spikes of a neuron layer, by name.
        scopes: paths of the modules, by the node's name.
    """

    def __init__(self, graph: Graph, events: Graph, simulator: OtherSimulator) -> None:
        super().__init__()
        build = _Builder(graph, events, simulator)
        self.nodes = graph.nodes
        self.steps = nn.ModuleList(build.step(node) for node in graph.nodes)
        self.neurons = {
            node.name: step
            for node, step in zip(self.nodes, self.steps, strict=True)
            if node.op == "integer_fire"
        }
        self.scopes = {node.name: f"steps.{k}" for k, node in enumerate(self.nodes)}
        self._released = list(_released(self.nodes))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Of float32[B, C, H, W]."""
        values = {node.name: image[None] for node in self.nodes if node.op == "input"}
        outputs = {}
        for node, step, released in zip(self.nodes, self.steps, self._released, strict=True):
            operands = [values[name] for name in node.inputs or (node.name,)]
            values[node.name] = step(*operands)
            if node.op == "output":
                outputs[node.name] = values[node.name][0]
            for name in released:
                del values[name]
        return outputs


def _released(nodes: Sequence[Node]) -> Iterator[list[str]]:
    """For every node the values that no later one reads."""
    last = {name: node.name for node in nodes for name in node.inputs}
    for node in nodes:
        yield [name for name in dict.fromkeys(node.inputs) if last[name] == node.name]


class _Builder:
    """Makes one module per node."""

    def __init__(self, graph: Graph, events: Graph, simulator: OtherSimulator) -> None:
        self.graph, self.simulator = graph, simulator
        self.nodes, self.events = graph.by_name(), events.by_name()

    def step(self, node: Node) -> nn.Module:
        """The module that computes one node.

        Raises:
            UnsupportedPatternError: no other simulator has been taught the operation.
        """
        make: dict[str, Callable[[Node], nn.Module]] = {
            "input": _Digitise,
            "conv2d": lambda node: self._weighted(node, _convolution),
            "linear": lambda node: self._weighted(node, _linear),
            "attention": self._attention,
            "add": lambda _: _Add(),
            "sum_pool": lambda _: _SumPool(),
            "reshape": _Reshape,
            "integer_fire": self._neuron,
            "output": lambda _: nn.Identity(),
        }
        if node.op not in make:
            raise UnsupportedPatternError(
                f"the other simulators have not been taught {node.op}",
                where=node.origin,
                fix="compare an E-SpikeFormer",
            )
        return make[node.op](node)

    def _weighted(self, node: Node, layer: Callable[[Node, Array], nn.Module]) -> nn.Module:
        weight, bias = self.graph.arrays(node)
        source = self.nodes[node.inputs[0]].output
        spikes = source.dtype is DType.COUNT
        total = self.simulator.total(source.levels) if spikes else nn.Identity()
        shape = (-1, *[1] * (len(node.output.shape) - 1)) if bias.ndim == 1 else node.output.shape
        weights = self.simulator.synapses(layer(node, weight))
        return _Weighted(weights, total, _tensor(bias.reshape(1, 1, *shape)))

    def _attention(self, node: Node) -> nn.Module:
        levels = [self.nodes[name].output.levels for name in node.inputs]
        totals = [self.simulator.total(n) for n in levels]
        return _Attention(node, str(self.events[node.name]["association"]), totals)

    def _neuron(self, node: Node) -> nn.Module:
        assert node.output.steps == 1, "networks of one real timestep"
        assert node["rounding"] == self.simulator.rounding, "neurons that round alike"
        neuron = self.simulator.neuron(node["levels"])
        scale, shift = self.graph.arrays(node) or (np.ones(1), np.zeros(1))
        if (scale == 1).all() and not shift.any():
            return neuron
        shape = (1, 1, -1, *[1] * (len(node.output.shape) - 1))
        return nn.Sequential(_Affine(*(_tensor(x.reshape(shape)) for x in (scale, shift))), neuron)


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32))


class _Digitise(nn.Module):
    """The image, on its grid."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.unit: float = 2.0 ** node["exponent"]
        self.low, self.high = node["low"], node["high"]

    def forward(self, image: Tensor) -> Tensor:
        units: Tensor = torch.round(image / self.unit).clamp(self.low, self.high)
        return units * self.unit


class _Weighted(nn.Module):
    """The weights on every slot, the sum over the slots, the bias once."""

    bias: Tensor

    def __init__(self, weights: nn.Module, total: nn.Module, bias: Tensor) -> None:
        super().__init__()
        self.weights, self.total = weights, total
        self.register_buffer("bias", bias)

    def forward(self, spikes: Tensor) -> Tensor:
        membrane: Tensor = self.total(self.weights(spikes)) + self.bias
        return membrane


def _linear(_: Node, weight: Array) -> nn.Module:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data = _tensor(weight)
    return layer


def _convolution(node: Node, weight: Array) -> nn.Module:
    outputs, fan_in, *kernel = weight.shape
    top, left, bottom, right = node["padding"]
    assert (top, left) == (bottom, right), "published networks pad evenly"
    channels = (fan_in * node["groups"], outputs)
    if len(node.output.shape) < IMAGE_RANK:
        tokens = nn.Conv1d(*channels, 1, groups=node["groups"], bias=False)
        tokens.weight.data = _tensor(weight[:, :, 0])
        return tokens
    height, width = kernel
    layer = nn.Conv2d(
        *channels,
        (height, width),
        stride=node["stride"],
        padding=(top, left),
        groups=node["groups"],
        bias=False,
    )
    layer.weight.data = _tensor(weight)
    return layer


class _Attention(nn.Module):
    """Per head ``(q kᵀ) v``: events of two operands meet counts held of the third."""

    def __init__(self, node: Node, association: str, totals: Sequence[nn.Module]) -> None:
        super().__init__()
        self.heads, self.shape = node["heads"], node.output.shape
        self.scores_first = association == "qk_v"
        self.query, self.key, self.value = totals

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        # Channels lie on rows: (q kᵀ) v is v (kᵀ q) here.
        query, key, value = (self._by_head(operand) for operand in (query, key, value))
        if self.scores_first:
            scores = self.key(key.transpose(-1, -2) @ self.query(query))
            attended = self.value(value @ scores)
        else:
            pairs = self.key(self.value(value) @ key.transpose(-1, -2))
            attended = self.query(pairs @ query)
        membrane: Tensor = attended.reshape(1, -1, *self.shape)
        return membrane

    def _by_head(self, operand: Tensor) -> Tensor:
        """``[D, B, C, ...]`` to ``[D, B, heads, C / heads, N]``."""
        slots, batch, channels = operand.shape[:3]
        return operand.reshape(slots, batch, self.heads, channels // self.heads, -1)


class _Affine(nn.Module):
    """Membranes to units of one count."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, membrane: Tensor) -> Tensor:
        return membrane * self.scale + self.shift


class _Add(nn.Module):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second


class _SumPool(nn.Module):
    def forward(self, membrane: Tensor) -> Tensor:
        return membrane.flatten(3).sum(3)


class _Reshape(nn.Module):
    def __init__(self, node: Node) -> None:
        super().__init__()
        self.shape = node.output.shape

    def forward(self, value: Tensor) -> Tensor:
        return value.reshape(*value.shape[:2], *self.shape)
