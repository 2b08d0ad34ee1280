"""The ``reference`` engine: dense NumPy, every operation as its definition says."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph, Node
from s2f_deploy.ops import evaluate
from s2f_sim.fusion import Step, single_steps


class ReferenceEngine:
    """Values are plain arrays, channels first; the oracle of the property tests."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.steps = single_steps(graph)

    def from_array(self, node: Node, array: NDArray[Any]) -> NDArray[Any]:
        """The array itself."""
        return array.reshape(node.output.array_shape)

    def to_array(self, node: Node, value: NDArray[Any]) -> NDArray[Any]:
        """The array itself."""
        return value.reshape(node.output.array_shape)

    def run(
        self, step: Step, values: Mapping[str, Any], timesteps: int
    ) -> tuple[Any, Any, NDArray[Any] | None]:
        """Call the operation's dense definition."""
        node = step.node
        params = self.graph.arrays(node)
        if step.neuron is not None:
            params = [params[0][:timesteps], *params[1:]]
        value = evaluate(node, [values[name] for name in step.inputs], params)
        return (value, None, None) if step.neuron is None else (None, value, None)

    def spikes(self, node: Node, value: NDArray[Any], timesteps: int) -> NDArray[Any]:
        """int64[T * timesteps, positions]: a neuron with count n spikes in timesteps 1..n."""
        steps = value.reshape(node.output.steps, node.output.channels, -1)
        fired = [(now >= d).sum(0) for now in steps for d in range(1, timesteps + 1)]
        return np.array(fired, np.int64).reshape(len(fired), -1)
