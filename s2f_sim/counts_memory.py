"""One piece of memory for the counts and spikes of a whole network: only its address changes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node
from s2f_sim.engine import Walk
from s2f_sim.events import EventsEngine
from s2f_sim.finishing import Finishing, Places
from s2f_sim.kernels.aligned import address_of, aligned_bytes, whole_lines
from s2f_sim.kernels.spike_counting import sum_rows

_SPIKE_BYTES = 4


@dataclass(frozen=True, eq=False, slots=True)
class Population:
    """Where the counts and spikes of a neuron layer lie among those of all.

    Attributes:
        neuron: the node that fires.
        step: name of the step that does it.
        finishing: of this step.
        counts: first byte, and one past the last.
        spikes: first byte.
        shape: of the spikes, int32[T, K, positions].
    """

    neuron: Node
    step: str
    finishing: Finishing
    counts: tuple[int, int]
    spikes: int
    shape: tuple[int, int, int]

    def places(self, memory: NDArray[np.uint8]) -> Places:
        """Views of its counts and spikes."""
        spikes: NDArray[np.int32] = np.ndarray(self.shape, np.int32, memory, self.spikes)
        return memory[slice(*self.counts)], spikes

    def fired(self, memory: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Its counts as the engine hands them on."""
        return self.finishing.fired(memory[slice(*self.counts)])


class CountsMemory:
    """Where the counts of all populations lie, and then the spikes of all.

    Args:
        engine: of the network.
        timesteps: K.
    """

    def __init__(self, engine: EventsEngine, timesteps: int) -> None:
        found, end = [], 0
        for step in engine.steps:
            finishing = engine.finishing.get(step.node.name)
            if finishing is not None and step.neuron is not None:
                length, shape = finishing.sizes(timesteps)
                found.append((step, step.neuron, finishing, (end, end + length), shape))
                end = whole_lines(end + length)
        self._first_spike = end
        self.populations, rows = [], [0]
        for step, neuron, finishing, counts, shape in found:
            spikes = self._first_spike + rows[-1] * _SPIKE_BYTES
            self.populations.append(
                Population(neuron, step.node.name, finishing, counts, spikes, shape)
            )
            for _ in range(shape[0] * shape[1]):
                rows.append(rows[-1] + shape[2])
        self.nbytes = self._first_spike + rows[-1] * _SPIKE_BYTES
        self._rows = np.array(rows, np.int64)
        # How callers see counts: shape, first byte, bytes between elements.
        whole = np.empty(self.nbytes, np.uint8)
        shown = [engine.to_array(one.neuron, one.fired(whole)) for one in self.populations]
        assert all(np.may_share_memory(one, whole) for one in shown)
        begin = address_of(whole)
        self._shown = [(one.shape, address_of(one) - begin, one.strides) for one in shown]

    def new(self) -> NDArray[np.uint8]:
        """Room for one sample's."""
        return aligned_bytes(self.nbytes)

    def show(self, memory: NDArray[np.uint8], walk: Walk) -> None:
        """Let a walk have counts and spikes where they will be."""
        for one, (shape, at, strides) in zip(self.populations, self._shown, strict=True):
            name, (steps, timesteps, positions) = one.neuron.name, one.shape
            walk.counts[name] = np.ndarray(shape, np.uint8, memory, at, strides)
            trains = steps * timesteps, positions
            walk.spikes[name] = np.ndarray(trains, np.int32, memory, one.spikes)

    def add_up(self, memory: NDArray[np.uint8], walk: Walk) -> None:
        """Let a walk know how many spikes there are in each timestep."""
        sums = np.empty(len(self._rows) - 1, np.int64)
        sum_rows(memory[self._first_spike :].view(np.int32), self._rows, sums)
        begin = 0
        for one in self.populations:
            end = begin + one.shape[0] * one.shape[1]
            walk.sums[one.neuron.name] = sums[begin:end]
            begin = end
