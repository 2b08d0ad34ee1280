"""The ``reference`` engine: dense NumPy, every operation as its definition says."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph, Node
from s2f_deploy.ops import OPS


@dataclass(frozen=True, slots=True)
class ReferenceEngine:
    """Values are plain arrays, channels first; the oracle of the property tests."""

    graph: Graph

    def from_array(self, node: Node, array: NDArray[Any]) -> NDArray[Any]:
        """The array itself."""
        return array.reshape(node.output.shape)

    def to_array(self, node: Node, value: NDArray[Any]) -> NDArray[Any]:
        """The array itself."""
        return value.reshape(node.output.shape)

    def step(self, node: Node, inputs: list[Any], timesteps: int) -> NDArray[Any]:
        """Call the operation's dense definition."""
        params = self.graph.arrays(node)
        if node.op == "integrate_fire":
            params = [params[0][:timesteps]]
        return OPS[node.op].dense(node, inputs, params)

    def spikes(self, node: Node, value: NDArray[Any], timesteps: int) -> NDArray[Any]:
        """int64[timesteps, positions]: a neuron with count n spikes in timesteps 1..n."""
        flat = value.reshape(node.output.channels, -1)
        fired = [(flat >= d).sum(0) for d in range(1, timesteps + 1)]
        return np.array(fired, np.int64).reshape(timesteps, -1)
