"""Spike trains by population, and what they reach."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node
from s2f_deploy.ops.upsample import spread

RECOUNTED = frozenset({"max_pool", "rewire"})
"""Wiring that gives positions other spikes than those of one position of its source."""


@dataclass(frozen=True, slots=True)
class Source:
    """Whose spikes a layer reads, and the synapses that each of them reaches.

    Attributes:
        name: of the population, or of wiring that shows it.
        positions: how many it has.
        channels: neurons of a position.
        steps: its real timesteps.
        reached: of every spike, or int64[positions] where they differ.
    """

    name: str
    positions: int
    channels: int
    steps: int
    reached: int | NDArray[np.int64]

    @classmethod
    def of(cls, node: Node, reached: int | NDArray[np.int64]) -> "Source":
        """Synapses reached by every spike, or from every position."""
        shape = node.output.positions, node.output.channels, node.output.steps
        if not isinstance(reached, int):
            assert len(reached) == node.output.positions
            reached = int(reached[0]) if (reached == reached[0]).all() else reached
        return cls(node.name, *shape, reached)

    @property
    def largest(self) -> int:
        """Synapses that it can reach in one timestep."""
        reached = self.reached if isinstance(self.reached, int) else int(self.reached.max())
        return self.positions * self.channels * max(reached, 1)


class Trains:
    """Spikes of one sample, int32[timesteps, positions] of whatever gives spikes."""

    def __init__(self, nodes: Mapping[str, Node], fired: Mapping[str, NDArray[Any]]) -> None:
        self._nodes, self._known = nodes, dict(fired)

    def of(self, name: str) -> NDArray[Any]:
        """Of a population, or as wiring shows them; an OR of trains is a train of its own."""
        if name not in self._known:
            node = self._nodes[name]
            assert node.op not in RECOUNTED, f"the engine did not record the train of {name}"
            trains = [self.of(source) for source in node.inputs]
            if node.op == "upsample":
                shown = spread(node, self._nodes[node.inputs[0]].output, trains[0])
            else:
                shown = np.sum(trains, axis=0)
            self._known[name] = shown
        # One type of train: each would compile a kernel of its own.
        return self._known[name].astype(np.int32, copy=False)
