"""Spike trains by population, and what they reach."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node
from s2f_deploy.ops.upsample import spread
from s2f_sim.kernels.spike_counting import add_reached, sum_spikes

RECOUNTED = frozenset({"max_pool", "rewire"})
"""Wiring that gives positions other spikes than those of one position of its source."""


@dataclass(frozen=True, slots=True)
class Source:
    """Whose spikes a layer reads, and the synapses that each of them reaches.

    Attributes:
        name: of the population, or of wiring that shows it.
        positions: how many it has.
        reached: of every spike, or int64[positions] where they differ.
    """

    name: str
    positions: int
    reached: int | NDArray[np.int64]

    @classmethod
    def of(cls, name: str, reached: NDArray[np.int64]) -> "Source":
        """Synapses reached from every position."""
        same = bool((reached == reached[0]).all())
        return cls(name, len(reached), int(reached[0]) if same else reached)


class Trains:
    """Spikes of one sample, int32[timesteps, positions] of whatever gives spikes."""

    def __init__(self, nodes: Mapping[str, Node], fired: Mapping[str, NDArray[Any]]) -> None:
        self._nodes, self._known = nodes, dict(fired)
        self._sums: dict[str, list[int]] = {}

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

    def arrived(self, source: Source) -> list[int]:
        """Spikes of each timestep, from all positions."""
        if source.name not in self._sums:
            train = self.of(source.name)
            assert train.shape[1] == source.positions
            sums = np.empty(len(train), np.int64)
            sum_spikes(train, sums)
            self._sums[source.name] = sums.tolist()
        return self._sums[source.name]

    def reaching(self, source: Source) -> tuple[list[int], list[int]]:
        """Spikes of each timestep, and the synapses they reach."""
        if isinstance(source.reached, int):
            arrived = self.arrived(source)
            return arrived, [spikes * source.reached for spikes in arrived]
        train = self.of(source.name)
        # The kernel would run off their ends in silence.
        assert train.shape[1] == source.positions
        totals = np.zeros((2, len(train)), np.int64)
        add_reached(train, source.reached, totals)
        arrived, reached = totals.tolist()
        return arrived, reached
