"""What the simulator asks of an engine, and the walk over the graph that both share."""

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph, Node


class Engine(Protocol):
    """Executes single nodes; how it lays its values out is its own business."""

    def from_array(self, node: Node, array: NDArray[Any]) -> Any:
        """The engine's form of a value T[C, ...]: an image, or counts to be handed on."""

    def to_array(self, node: Node, value: Any) -> NDArray[Any]:
        """The value of ``node`` as T[C, ...], of the node's shape."""

    def step(self, node: Node, inputs: list[Any], timesteps: int) -> Any:
        """Run one node. A neuron fires in its first ``timesteps`` timesteps only."""

    def spikes(self, node: Node, value: Any, timesteps: int) -> NDArray[Any]:
        """int64[timesteps, positions]: spikes of a neuron layer per timestep and position."""


class Walk:
    """One sample's way through the graph, in window order.

    Attributes:
        outputs: results of the graph's outputs.
        counts: uint8[C, ...] of every neuron, as it fired.
        spikes: int64[timesteps, positions] of every neuron, as it was handed on.
    """

    def __init__(self, graph: Graph, engine: Engine, timesteps: int) -> None:
        self.graph, self.engine, self.timesteps = graph, engine, timesteps
        self.outputs: dict[str, NDArray[Any]] = {}
        self.counts: dict[str, NDArray[Any]] = {}
        self.spikes: dict[str, NDArray[Any]] = {}

    def run(self, image: NDArray[Any], forced: Mapping[str, NDArray[Any]]) -> None:
        """Visit every node once; a value is dropped when its last reader has run.

        Args:
            image: float32 of the input's shape.
            forced: counts that replace what these neurons hand on.
        """
        readers = {name: len(nodes) for name, nodes in self.graph.consumers().items()}
        values: dict[str, Any] = {}
        for node in self.graph.nodes:
            if node.op == "input":
                values[node.name] = self.engine.from_array(node, image)
                continue
            inputs = [values[name] for name in node.inputs]
            values[node.name] = self._visit(node, inputs, forced)
            for name in node.inputs:
                readers[name] -= 1
                if not readers[name]:
                    del values[name]

    def _visit(self, node: Node, inputs: list[Any], forced: Mapping[str, NDArray[Any]]) -> Any:
        if node.op == "output":
            (value,) = inputs
            self.outputs[node.name] = self.engine.to_array(node, value)
            return value
        value = self.engine.step(node, inputs, self.timesteps)
        if node.op == "integrate_fire":
            self.counts[node.name] = self.engine.to_array(node, value)
            if node.name in forced:
                value = self.engine.from_array(node, forced[node.name])
            self.spikes[node.name] = self.engine.spikes(node, value, self.timesteps)
        return value
