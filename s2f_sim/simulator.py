"""Run an EVENT graph on inputs: the same answer and the same counts from either engine."""

import time
import weakref
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ArtefactError, IllegalGraphError, InputError
from s2f_deploy.ir.graph import Graph, Level
from s2f_sim.counting import Counter
from s2f_sim.engine import Engine, Walk
from s2f_sim.events import ChooseLayout, EventsEngine
from s2f_sim.layout import choose_layout
from s2f_sim.recording import Recorders
from s2f_sim.reference import ReferenceEngine
from s2f_sim.run import LayerCounts, Run
from s2f_sim.shown_counts import populations

EngineName = Literal["events", "reference"]


class Simulator:
    """One graph made ready for one engine; reusable for any number of inputs.

    Args:
        graph: at EVENT level.
        engine: ``events`` accumulates spikes, ``reference`` computes densely.
        threads: of the ``events`` engine; all cores if None.
        layout: how the ``events`` engine computes each synaptic layer, see `Layout`.

    Raises:
        IllegalGraphError: the graph is at another level.
    """

    def __init__(
        self,
        graph: Graph,
        engine: EngineName = "events",
        threads: int | None = None,
        layout: ChooseLayout = choose_layout,
    ) -> None:
        if graph.level is not Level.EVENT:
            raise IllegalGraphError(
                f"a {graph.level.value} graph does not spike",
                where=graph.name,
                fix="lower it: s2f_deploy.lower, or s2f export",
            )
        self.graph, self.engine_name = graph, engine
        self._counter = Counter(graph)
        self._recorders: Recorders | None = None
        if engine == "events":
            events = EventsEngine(graph, threads, layout)
            self._engine: Engine = events
            self._recorders = Recorders(graph, events, self._counter.mapped)
        else:
            self._engine = ReferenceEngine(graph)
        self._input = next(graph.select("input"))
        neurons = list(graph.select("integrate_fire"))
        self.levels = max((node.output.levels for node in populations(graph)), default=1)
        self.windows = max((node["window"] for node in neurons), default=0)

    def run(
        self,
        x: NDArray[np.float32],
        timesteps: int | None = None,
        forced: Mapping[str, NDArray[np.uint8]] | None = None,
    ) -> Run:
        """Simulate a batch, one sample after the other.

        Args:
            x: float32[B, C, H, W], as the network takes it.
            timesteps: K; neurons fire in the first K timesteps of their window only. D if None.
            forced: uint8[B, ...] per neuron layer, handed on in place of what it fired.

        Raises:
            InputError: the batch does not fit the network, holds non-finite values, or K < 1; or
                there is too little memory.
            ArtefactError: an output is no number.
        """
        steps = self.levels if timesteps is None else timesteps
        batch = self._checked(x, steps)
        began = time.perf_counter()
        try:
            # What leaves the range of its type shows in the outputs.
            with np.errstate(over="ignore", invalid="ignore"):
                walks, layers = self._walked(batch, steps, forced)
        except MemoryError as error:
            raise InputError(
                "there is too little memory for a sample of this network",
                where=self.graph.name,
                fix="free some, or give a smaller network",
            ) from error
        return Run(
            outputs=_stacked([walk.outputs for walk in walks]),
            counts=_stacked([walk.counts for walk in walks]),
            layers=layers,
            timesteps=steps,
            levels=self.levels,
            windows=self.windows,
            samples=len(batch),
            engine=self.engine_name,
            seconds=time.perf_counter() - began,
        )

    def _walked(
        self,
        batch: NDArray[np.float32],
        steps: int,
        forced: Mapping[str, NDArray[np.uint8]] | None,
    ) -> tuple[list[Walk], tuple[LayerCounts, ...]]:
        """Every sample's way through the graph, and the work of all."""
        walks, work = [], self._counter.work(steps)
        for i, sample in enumerate(batch):
            handed_on = {name: counts[i] for name, counts in (forced or {}).items()}
            if self._recorders is None:
                walk = Walk(self.graph, self._engine, steps)
                walk.run(sample, handed_on)
            else:
                walk = self._recorders.walk(sample, steps, handed_on)
            _check_outputs(walk, self.graph.name)
            work.add(walk.spikes, walk.sampled, walk.sums, walk.reached)
            walks.append(walk)
        return walks, work.layers()

    def _checked(self, x: NDArray[Any], timesteps: int) -> NDArray[np.float32]:
        shape = self._input.output.array_shape
        if x.shape[1:] != shape or not len(x):
            raise InputError(
                f"the network takes float32[batch, {', '.join(map(str, shape))}], "
                f"not {x.dtype}[{', '.join(map(str, x.shape))}]",
                where=self.graph.name,
                fix="resize and normalise the image as the network was trained",
            )
        if timesteps < 1:
            raise InputError(
                f"{timesteps} timesteps leave no time to fire",
                where="timesteps",
                fix=f"use 1 to {self.levels}; {self.levels} is exact",
            )
        batch = np.ascontiguousarray(x, np.float32)
        if not np.isfinite(batch).all():
            raise InputError(
                "the input holds values that are not finite",
                where=self.graph.name,
                fix="check how the image was normalised",
            )
        return batch


def _check_outputs(walk: Walk, network: str) -> None:
    for name, value in walk.outputs.items():
        if not np.isfinite(value).all():
            raise ArtefactError(
                f"the output {name} has values that are not finite",
                where=network,
                fix="its weights are too large or damaged: export the network again",
            )


def _stacked(samples: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Of one sample, views: whoever wants another memory layout may copy."""
    if len(samples) == 1:
        return {name: array[None] for name, array in samples[0].items()}
    return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}


# Weights are laid out once per graph, however often it is simulated; graphs never change.
_READY: weakref.WeakKeyDictionary[Graph, dict[tuple[str, int | None], Simulator]] = (
    weakref.WeakKeyDictionary()
)


def simulate(
    graph: Graph,
    x: NDArray[np.float32],
    timesteps: int | None = None,
    engine: EngineName = "events",
    threads: int | None = None,
) -> Run:
    """Simulate a batch on an EVENT graph; see ``Simulator.run``."""
    ready = _READY.setdefault(graph, {})
    if (engine, threads) not in ready:
        ready[engine, threads] = Simulator(graph, engine, threads)
    return ready[engine, threads].run(x, timesteps)
