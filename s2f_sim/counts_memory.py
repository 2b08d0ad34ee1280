"""One piece of memory for the counts and spikes of a whole network: only its address changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node
from s2f_sim.engine import Walk
from s2f_sim.events import EventsEngine
from s2f_sim.finishing import Finishing, Places
from s2f_sim.kernels.aligned import address_of, aligned_bytes, whole_lines
from s2f_sim.kernels.sharing import Share
from s2f_sim.kernels.spike_counting import add_up
from s2f_sim.rooms import Arrays
from s2f_sim.work import Mapped
from s2f_sim.workers import Pace

_SPIKE_BYTES = 4
# Into which trains are dealt before threads share them.
_PIECES = 12


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
        mapped: layers of the network, see `work.FanOut`.
    """

    def __init__(self, engine: EventsEngine, timesteps: int, mapped: Sequence[Mapped]) -> None:
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
        self._adding = _Adding(engine, self.populations, rows, mapped)
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
        self._adding.add_up(memory[self._first_spike :].view(np.int32), walk)


class _Adding:
    """Adds up the spikes of all populations, and what they reach.

    Args:
        engine: whose threads share it.
        populations: in the order of their spikes.
        begins: first element of each of their trains, timestep by timestep, and of none.
        mapped: layers in which it depends on the position what they reach.
    """

    def __init__(
        self,
        engine: EventsEngine,
        populations: Sequence[Population],
        begins: Sequence[int],
        mapped: Sequence[Mapped],
    ) -> None:
        self._workers = engine.workers
        ends, own = pairwise(begins), dict[str, list[tuple[int, int]]]()
        for one in populations:
            own[one.neuron.name] = list(islice(ends, one.shape[0] * one.shape[1]))
        trains, maps, reached = list[tuple[int, int, int]](), list[NDArray[np.int64]](), 0
        self._layers: list[tuple[int, slice]] = []
        self._sums: dict[str, slice] = {}
        for number, source, synapses in mapped:
            if source.name in own:
                # The kernel would run off their ends in silence.
                assert all(end - begin == len(synapses) for begin, end in own[source.name])
                self._sums[source.name] = _added(trains, own[source.name], reached)
                self._layers.append((number, self._sums[source.name]))
                maps.append(synapses)
                reached += len(synapses)
        for name in own:
            if name not in self._sums:
                self._sums[name] = _added(trains, own[name], -1)
        table = np.array(trains, np.int64).reshape(-1, 3)
        # Dealt out: every piece of the rows takes about as long.
        longest = np.argsort(table[:, 0] - table[:, 1], kind="stable")
        dealt = np.concatenate([longest[start::_PIECES] for start in range(_PIECES)])
        self._trains, self._place = table[dealt], np.argsort(dealt)
        self._reached = np.concatenate(maps) if maps else table[0, :0]
        self._pace = Pace(float(table[:, 1].sum() - table[:, 0].sum()))

    def add_up(self, spikes: NDArray[np.int32], walk: Walk) -> None:
        """Let a walk know what they sum up to."""
        totals = np.empty((len(self._trains), 2), np.int64)

        def work(_: Arrays, share: Share) -> None:
            add_up(spikes, self._trains, self._reached, totals, share)

        self._workers.over_rows(len(totals), work, self._pace)
        totals = totals[self._place]
        walk.reached = {number: totals[own] for number, own in self._layers}
        sums = totals[:, 0]
        walk.sums = {name: sums[own] for name, own in self._sums.items()}


def _added(
    trains: list[tuple[int, int, int]], more: Sequence[tuple[int, int]], reached: int
) -> slice:
    """Add trains that reach synapses from there on; where they are."""
    first = len(trains)
    trains += [(begin, end, reached) for begin, end in more]
    return slice(first, len(trains))
