"""How the sums of one step are finished: the constant part of `kernels.finish.Finish`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph, Node, TensorType
from s2f_deploy.ops.neuron import leak_shift
from s2f_deploy.ops.real_time import extra_bits
from s2f_sim.fusion import Step
from s2f_sim.kernels.finish import OVERHANG, Finish, finish_positions, only_sums, patterns_of
from s2f_sim.workers import Pace, Workers

# A rough speed of one core, only to judge whether a second thread pays.
NEURONS_FIRED_PER_NS = 1.0
_CONSTANT = Finish._fields.index("timesteps")
"""Fields of a `Finish` that are the same for every sample."""

Places = tuple[NDArray[np.uint8], NDArray[np.int32]]


class Finishing:
    """Shifts, comparators and leak of one step, spread over its channels once.

    Args:
        graph: at EVENT level.
        step: whose sums are finished.
        bias: T[1 or P, C], added to the sums; zeros if None.
    """

    def __init__(self, graph: Graph, step: Step, bias: NDArray[Any] | None) -> None:
        last = step.neuron or step.membrane
        assert last is not None
        output = last.output
        self._channels = output.channels
        summed = graph.by_name()[step.inputs[0]] if step.node is step.neuron else step.node
        dtype = summed.output.dtype.array_type
        if bias is None:
            bias = np.zeros((1, self._channels), dtype)
        align = step.residual.align if step.residual else None
        scale = self._power(graph, step.shifts, dtype)
        other_scale = self._power(graph, (align,) if align else (), dtype)
        self.remembers = step.neuron is not None and leak_shift(step.neuron) > 0
        self._once = only_sums(bias, bias[:0])._replace(
            scaled=bool((scale != 1).any() or (other_scale != 1).any()),
            scale=scale,
            other_scale=other_scale,
            added=step.residual is not None,
        )
        if step.neuron is not None:
            self._once = self._firing(step.neuron, graph.arrays(step.neuron))
        # For as many timesteps as there are comparators, what nearly always is asked for.
        levels = len(self._once.comparators)
        self._usual = patterns_of(self._once._replace(timesteps=levels))
        self._sizes = output.steps, output.positions, output.channels
        self._membrane = None if step.membrane is None else _value_shape(step.membrane.output)
        self._fired = None if step.neuron is None else _value_shape(step.neuron.output)
        kept = output.positions if self._membrane else 0
        self._kept = output.steps, kept, output.channels
        self._neurons = output.positions * output.channels if self._fired else 0
        self._constant = self._once[:_CONSTANT]

    def _firing(self, neuron: Node, arrays: Sequence[NDArray[Any]]) -> Finish:
        comparators = self._spread(arrays[0], arrays[0].dtype)
        none, nothing = comparators[:0], comparators[:0, 0]
        one_count, leak = nothing, nothing
        if self.remembers:
            one_count, leak = self._rest(neuron, arrays[1], comparators.dtype)
        return self._once._replace(
            comparators=comparators, one_count=one_count, leak=leak, before=none, after=none
        )

    def _spread(self, array: NDArray[Any], dtype: Any) -> NDArray[Any]:
        # A copy of its own: kernels are compiled once more for arrays that are read-only.
        return np.array(np.broadcast_to(array, (*array.shape[:-1], self._channels)), dtype)

    def _power(self, graph: Graph, aligns: tuple[Node, ...], dtype: Any) -> NDArray[Any]:
        """What all these shifts multiply by."""
        scale = np.ones(self._channels, dtype)
        for align in aligns:
            scale <<= self._spread(graph.arrays(align)[0], dtype)
        return scale

    def _rest(
        self, neuron: Node, one_count: NDArray[Any], wide: np.dtype[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """``one_count`` and ``leak`` of a `Finish`; see `ops.real_time` for fine units."""
        shift = leak_shift(neuron)
        if wide.kind == "f":
            return self._spread(one_count, wide), np.array([2.0**-shift, 1.0], wide)
        fine = extra_bits(shift, neuron.output.steps)
        bits = self._spread(one_count, wide) + wide.type(fine)
        # A shift by more than all bits is one by all but the sign's.
        leak = min(shift, 8 * wide.itemsize - 1), wide.type(1) << wide.type(fine)
        return np.left_shift(wide.type(1), bits), np.array(leak, wide)

    def sizes(self, timesteps: int) -> tuple[int, tuple[int, int, int]]:
        """Counts, and how many spikes: what `run` needs places for."""
        steps, positions, _ = self._sizes
        spikes = steps, timesteps, positions if self._neurons else 0
        return steps * self._neurons + OVERHANG, spikes

    def fired(self, counts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Counts as the engine hands them on."""
        assert self._fired is not None
        return counts[:-OVERHANG].reshape(self._fired)

    def run(
        self,
        other: NDArray[Any] | None,
        timesteps: int,
        work: Callable[[int, Finish], None],
        places: Places | None = None,
    ) -> tuple[Any, Any, NDArray[Any] | None]:
        """Finish the sums of one sample.

        Args:
            other: the residual T[..., H, W, C], if there is one.
            timesteps: in which a neuron may fire.
            work: sums up one real timestep, and does what a `Finish` says.
            places: where counts and spikes go, see `sizes`; somewhere if None.

        Returns:
            Value of the membrane's node, of the neuron, its spikes; None for what there is not.
        """
        once, neurons = self._once, self._neurons
        steps, positions, _ = self._sizes
        membrane = np.empty(self._kept, once.bias.dtype)
        if places is None:
            length, shape = self.sizes(timesteps)
            places = np.empty(length, np.uint8), np.empty(shape, np.int32)
        counts, spikes = places
        before, after = self._carried() if self.remembers else (once.before, once.after)
        patterns = self._usual if timesteps == len(once.comparators) else once.patterns
        # An image comes as a view, channels first in memory.
        others = None if other is None else np.ascontiguousarray(other).reshape(self._sizes)
        for now in range(steps):
            finish = Finish._make(
                (
                    *self._constant,
                    timesteps,
                    patterns,
                    once.other if others is None else others[now],
                    membrane[now],
                    counts[now * neurons : (now + 1) * neurons + OVERHANG],
                    spikes[now],
                    before,
                    after,
                )
            )
            work(now, finish)
            before, after = after, before
        value = membrane.reshape(self._membrane) if self._membrane else None
        if not self._fired:
            return value, None, None
        return value, self.fired(counts), spikes.reshape(-1, positions)

    def _carried(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Room for what one real timestep leaves to the next; nothing is left to the first."""
        shape, dtype = self._sizes[1:], self._once.comparators.dtype
        return np.zeros(shape, dtype), np.empty(shape, dtype)


def finish_sums(sums: NDArray[Any], finish: Finish, workers: Workers) -> None:
    """Of sums T[P * C] that are there already."""
    workers.over_rows(
        sums.size // finish.bias.shape[1],
        lambda _, share: finish_positions(sums, finish, share),
        Pace(sums.size / NEURONS_FIRED_PER_NS),
    )


def _value_shape(output: TensorType) -> tuple[int, ...]:
    """Of values as the engine hands them on: [H, W, C], of several real timesteps [T, H, W, C]."""
    steps = (output.steps,) if output.steps > 1 else ()
    return (*steps, *output.plane, output.channels)
