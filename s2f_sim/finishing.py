"""How the sums of one step are finished: the constant part of `kernels.finish.Finish`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph, Node
from s2f_sim.fusion import Step
from s2f_sim.kernels.finish import Finish


class Finishing:
    """Shifts and comparators of one step, spread over its channels once."""

    def __init__(self, graph: Graph, step: Step) -> None:
        self._step = step
        last = step.neuron or step.membrane
        assert last is not None
        self._plane, self._channels = last.output.plane, last.output.channels
        fired = graph.arrays(step.neuron)[0] if step.neuron else np.empty((0, 1))
        dtype = fired.dtype if step.neuron else last.output.dtype.array_type
        self._comparators = self._spread(fired, dtype)
        align = step.residual.align if step.residual else None
        self._scale = self._power(graph, step.shifts, dtype)
        self._other_scale = self._power(graph, (align,) if align else (), dtype)
        self._scaled = bool((self._scale != 1).any() or (self._other_scale != 1).any())

    def _spread(self, array: NDArray[Any], dtype: Any) -> NDArray[Any]:
        # A copy of its own: kernels are compiled once more for arrays that are read-only.
        return np.array(np.broadcast_to(array, (*array.shape[:-1], self._channels)), dtype)

    def _power(self, graph: Graph, aligns: tuple[Node, ...], dtype: Any) -> NDArray[Any]:
        """What all these shifts multiply by."""
        scale = np.ones(self._channels, dtype)
        for align in aligns:
            scale <<= self._spread(graph.arrays(align)[0], dtype)
        return scale

    def of(self, bias: NDArray[Any], other: NDArray[Any] | None, timesteps: int) -> Finish:
        """What to do with the sums of one sample.

        Args:
            bias: T[1 or P, C].
            other: the residual T[H, W, C], if there is one.
            timesteps: in which a neuron may fire.
        """
        positions, channels = int(np.prod(self._plane)), self._channels
        none = np.empty((0, channels), bias.dtype)
        fires, keeps = self._step.neuron is not None, self._step.membrane is not None
        return Finish(
            bias=bias,
            scaled=self._scaled,
            scale=self._scale,
            added=other is not None,
            other=none if other is None else other.reshape(positions, channels),
            other_scale=self._other_scale,
            membrane=np.empty((positions, channels), bias.dtype) if keeps else none,
            comparators=self._comparators,
            timesteps=timesteps,
            counts=np.empty((positions if fires else 0, channels), np.uint8),
            spikes=np.zeros((timesteps, positions if fires else 0), np.int32),
        )

    def results(self, finish: Finish) -> tuple[Any, Any, NDArray[Any] | None]:
        """Value of the membrane's node, of the neuron, its spikes; None for what there is not."""
        step = self._step
        membrane = fired = spikes = None
        if step.membrane is not None:
            membrane = finish.membrane.reshape(*step.membrane.output.plane, -1)
        if step.neuron is not None:
            fired = finish.counts.reshape(*step.neuron.output.plane, -1)
            spikes = finish.spikes
        return membrane, fired, spikes
