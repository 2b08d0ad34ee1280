"""What the simulator asks of an engine, and the walk over the graph that all share."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph, Node
from s2f_deploy.ops.constant import always_fires
from s2f_sim.fusion import Step
from s2f_sim.sampling import SamplingWork, sampling_work
from s2f_sim.trains import RECOUNTED


class Engine(Protocol):
    """Executes steps; how it lays its values out is its own business."""

    @property
    def steps(self) -> Sequence[Step]:
        """What there is to do, in order."""

    def from_array(self, node: Node, array: NDArray[Any]) -> Any:
        """The engine's form of a value T[C, ...]: an image, or counts to be handed on."""

    def to_array(self, node: Node, value: Any) -> NDArray[Any]:
        """The value of ``node`` as T[C, ...], of the node's shape; may be a view."""

    def run(
        self, step: Step, values: Mapping[str, Any], timesteps: int
    ) -> tuple[Any, Any, NDArray[Any] | None]:
        """Do one step.

        Args:
            step: one of ``steps``.
            values: by name, whatever the step reads.
            timesteps: a neuron fires in its first ``timesteps`` timesteps only.

        Returns:
            The values of ``step.membrane`` and ``step.neuron``, None for what is None, and the
            neuron's spikes if they are known.
        """

    def spikes(self, node: Node, value: Any, timesteps: int) -> NDArray[Any]:
        """Integers[T * timesteps, positions]: spikes per timestep and position."""


class Walk:
    """One sample's way through the graph, in window order.

    Attributes:
        outputs: results of the graph's outputs.
        counts: uint8[C, ...], or [T, C, ...], of every neuron, as it fired.
        spikes: integers[T * timesteps, positions] of every neuron, as it was handed on, and of
            every maximum of spikes.
        sampled: what every deformable sampling did.
        sums: int64[T * timesteps], spikes of all positions, of the neurons of which that is known.
        reached: int64[T * timesteps, 2], spikes and accumulations of layers, by their number, that
            depend on positions and are known.
    """

    def __init__(self, graph: Graph, engine: Engine, timesteps: int) -> None:
        self.graph, self.engine, self.timesteps = graph, engine, timesteps
        self.outputs: dict[str, NDArray[Any]] = {}
        self.counts: dict[str, NDArray[Any]] = {}
        self.spikes: dict[str, NDArray[Any]] = {}
        self.sampled: dict[str, SamplingWork] = {}
        self.sums: dict[str, NDArray[np.int64]] = {}
        self.reached: dict[int, NDArray[np.int64]] = {}

    def run(self, image: NDArray[Any], forced: Mapping[str, NDArray[Any]]) -> None:
        """Take every step once; a value is dropped when its last reader has run.

        Args:
            image: float32 of the input's shape.
            forced: counts that replace what these neurons hand on.
        """
        values: dict[str, Any] = {
            node.name: self.engine.from_array(node, image) for node in self.graph.select("input")
        }
        for step in self.engine.steps:
            self.take(step, values, forced)
            for name in step.dropped:
                del values[name]

    def take(self, step: Step, values: dict[str, Any], forced: Mapping[str, NDArray[Any]]) -> None:
        """Do a step; its values are added to those there are."""
        if step.node.op == "output":
            value = values[step.node.inputs[0]]
            self.outputs[step.node.name] = self.engine.to_array(step.node, value)
            return
        if always_fires(step.node):
            membrane, fired, spikes = None, self._precomputed(step.node), None
        else:
            membrane, fired, spikes = self.engine.run(step, values, self.timesteps)
        if step.node.op == "deformable_sample":
            self._count_sampling(step.node, values)
        if step.membrane is not None:
            values[step.membrane.name] = membrane
            self._count_pooled(step.membrane, membrane)
        if (neuron := step.neuron) is None:
            return
        self.counts[neuron.name] = self.engine.to_array(neuron, fired)
        if neuron.name in forced:
            fired, spikes = self.engine.from_array(neuron, forced[neuron.name]), None
        if spikes is None:
            spikes = self.engine.spikes(neuron, fired, self.timesteps)
        values[neuron.name], self.spikes[neuron.name] = fired, spikes

    def _count_pooled(self, node: Node, value: Any) -> None:
        """Trains of its own; other wiring shows those of its sources."""
        if node.op in RECOUNTED and node.output.levels:
            self.spikes[node.name] = self.engine.spikes(node, value, self.timesteps)

    def _precomputed(self, node: Node) -> Any:
        """Counts that no input changes; of their spikes, too, only the first K are sent."""
        (counts,) = self.graph.arrays(node)
        most = min(self.timesteps, node.output.levels)
        return self.engine.from_array(node, np.minimum(counts, np.uint8(most)))

    def _count_sampling(self, node: Node, values: Mapping[str, Any]) -> None:
        """Its work depends on where taps lie, which trains of spikes do not tell."""
        read = [self.engine.to_array(self.graph.node(n), values[n]) for n in node.inputs[1:]]
        arrays = self.graph.arrays(node)
        self.sampled[node.name] = sampling_work(node, read, arrays, self.timesteps)
