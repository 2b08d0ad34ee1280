"""Walks through a small network, without the interpreter between its kernels.

What a kernel is called with hardly changes from one sample to the next: its weights are the same,
and so may be the memory of its membranes. Once the network has been walked through a few times, the
calls of all kernels are written down and then made again, many in a row. Only counts and spikes go
elsewhere each time, as callers keep them: they lie in one piece of memory, and every address in it
is moved by as much. Whatever is more than a kernel is done as ever.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numba import config
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph
from s2f_sim.counts_memory import CountsMemory
from s2f_sim.engine import Walk
from s2f_sim.events import EventsEngine
from s2f_sim.fusion import Step
from s2f_sim.kernels.aligned import address_of
from s2f_sim.work import Mapped
from s2f_sim.workers import Call

# Until threads know which layers pay, and kernels what room they need.
WALKS_BEFORE = 2
_MOST_RECORDS = 4
MOST_BYTES = 1 << 27
"""Of membranes that stay; where there are more, what lies between kernels does not count."""


class Recorder:
    """Writes the calls of one walk down, and makes them again for other samples.

    Args:
        graph: at EVENT level.
        engine: of this graph; it has walked through it before.
        timesteps: K.
        mapped: of this graph's layers, see `work.FanOut`.
    """

    def __init__(
        self, graph: Graph, engine: EventsEngine, timesteps: int, mapped: Sequence[Mapped]
    ) -> None:
        self._graph, self._engine, self._timesteps = graph, engine, timesteps
        self._input = next(graph.select("input"))
        self._memory = CountsMemory(engine, timesteps, mapped)
        self._address = 0
        # Populations of which more is asked than kernels do.
        self._read = self._memory.populations
        # What later kernels read, where they read it.
        self._values: dict[str, NDArray[Any]] = {}
        self.parts: list[Step | NDArray[np.int64]] = []
        # Of counts, or of the sample: they can be had before anything has been computed.
        self._views: list[Step] = []
        # Cells of all frames, those of them that are addresses of counts or spikes, and what the
        # frames point to.
        self._cells = np.zeros(0, np.int64)
        self._moved = np.zeros(0, np.intp)
        self._kept: list[NDArray[Any]] = []

    def record(self, sample: NDArray[Any]) -> Walk:
        """Walk through the network, and write down what is called."""
        engine, calls = self._engine, list[Call]()
        # Steps, and first and last of calls that follow each other.
        parts: list[Step | tuple[int, int]] = []
        memory = self._new_memory()
        walk, values = self._begin(sample, memory)
        try:
            for step in engine.steps:
                kernels = engine.is_kernels(step, values) and not any(
                    np.may_share_memory(values[name], sample) for name in step.reads
                )
                own = engine.workers.recording = list[Call]()
                walk.take(step, values, {})
                if kernels and own:
                    begin, before = len(calls), parts[-1] if parts else None
                    calls += own
                    if isinstance(before, tuple):
                        begin, _ = before
                        parts.pop()
                    parts.append((begin, len(calls)))
                elif _is_view(step, values):
                    self._views.append(step)
                else:
                    parts.append(step)
        finally:
            engine.workers.recording, engine.places = None, {}
        table = self._linked(calls, memory)
        self.parts = [part if isinstance(part, Step) else table[slice(*part)] for part in parts]
        # What lies among the counts is elsewhere the next time.
        self._values = {
            name: value
            for name, value in values.items()
            if not np.may_share_memory(value, memory) and not np.may_share_memory(value, sample)
        }
        self._views = [step for step in self._views if step.node.name not in self._values]
        left = [part for part in parts if isinstance(part, Step)] + self._views
        asked = {name for step in left for name in (step.node.name, *step.reads)}
        self._read = [one for one in self._read if asked & {one.step, one.neuron.name}]
        _own_outputs(walk)
        return walk

    def _linked(self, calls: list[Call], memory: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Put all frames into one piece of memory; the calls, for `Workers.replay`."""
        self._cells = np.concatenate([self._cells, *(call.frame for call in calls)])
        inside = (self._cells >= self._address) & (self._cells < self._address + memory.size)
        self._moved = np.flatnonzero(inside)
        self._kept = [call.memory for call in calls]
        table = np.zeros((len(calls), 3), np.int64)
        at = address_of(self._cells)
        for row, call in zip(table, calls, strict=True):
            row[:] = call.function, at, call.shared
            at += call.frame.nbytes
        return table

    def walk(self, sample: NDArray[Any]) -> Walk:
        """As `Walk.run`; nobody else may use the engine meanwhile."""
        memory = self._new_memory()
        walk, values = self._begin(sample, memory)
        values |= self._values
        try:
            for step in self._views:
                walk.take(step, values, {})
            for part in self.parts:
                if isinstance(part, Step):
                    self._do(part, walk, values)
                else:
                    self._engine.workers.replay(part)
        finally:
            self._engine.places = {}
        self._memory.add_up(memory, walk)
        _own_outputs(walk)
        return walk

    def _do(self, step: Step, walk: Walk, values: dict[str, Any]) -> None:
        """What is more than a kernel; its value goes where kernels look for it."""
        walk.take(step, values, {})
        for node in (step.membrane, step.neuron):
            there = None if node is None else self._values.get(node.name)
            if node is None or there is None or not there.flags.writeable:
                continue
            if there is not values[node.name]:
                np.copyto(there, values[node.name])
                values[node.name] = there

    def _begin(
        self, sample: NDArray[Any], memory: NDArray[np.uint8]
    ) -> tuple[Walk, dict[str, Any]]:
        """A walk whose counts and spikes have their places."""
        engine = self._engine
        walk = Walk(self._graph, engine, self._timesteps)
        self._memory.show(memory, walk)
        values = {self._input.name: engine.from_array(self._input, sample)}
        for one in self._read:
            engine.places[one.step] = one.places(memory)
            values[one.neuron.name] = one.fired(memory)
        return walk, values

    def _new_memory(self) -> NDArray[np.uint8]:
        """For counts and spikes; frames tell kernels about it."""
        memory = self._memory.new()
        address = address_of(memory)
        self._cells[self._moved] += address - self._address
        self._address = address
        return memory


class Recorders:
    """Of one network, for every K that is asked for again and again.

    Args:
        graph: at EVENT level.
        engine: of this graph.
        mapped: of its layers, see `work.FanOut`.
    """

    def __init__(self, graph: Graph, engine: EventsEngine, mapped: Sequence[Mapped]) -> None:
        self._graph, self._engine, self._mapped = graph, engine, mapped
        self._walks: dict[int, int] = {}
        self.recorded: dict[int, Recorder] = {}
        outputs = [step.membrane.output for step in engine.steps if step.membrane is not None]
        stays = sum(prod(one.array_shape) * one.dtype.array_type.itemsize for one in outputs)
        settings: Any = config
        self._most = _MOST_RECORDS if stays <= MOST_BYTES and not settings.DISABLE_JIT else 0

    def walk(
        self, sample: NDArray[Any], timesteps: int, forced: Mapping[str, NDArray[Any]]
    ) -> Walk:
        """A sample's way through the graph.

        Args:
            sample: float32 of the input's shape.
            timesteps: K.
            forced: counts that replace what these neurons hand on.
        """
        with self._engine.workers.lock:
            if not forced:
                if timesteps in self.recorded:
                    return self.recorded[timesteps].walk(sample)
                times = self._walks[timesteps] = self._walks.get(timesteps, 0) + 1
                if times > WALKS_BEFORE and len(self.recorded) < self._most:
                    recorder = Recorder(self._graph, self._engine, timesteps, self._mapped)
                    walk = recorder.record(sample)
                    self.recorded[timesteps] = recorder
                    return walk
            walk = Walk(self._graph, self._engine, timesteps)
            walk.run(sample, forced)
            return walk


def _own_outputs(walk: Walk) -> None:
    """Copy what lies in memory that is used again."""
    for name, output in walk.outputs.items():
        walk.outputs[name] = output.copy()


def _is_view(step: Step, values: Mapping[str, Any]) -> bool:
    """Whether its value is that of another step in another shape."""
    node = step.node
    return node.op == "reshape" and np.may_share_memory(values[node.name], values[node.inputs[0]])
