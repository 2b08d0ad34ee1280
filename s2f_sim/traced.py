"""Values of the float network with what bounds their rounding, and how time carries them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node
from s2f_deploy.ops.neuron import leak_shift

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, slots=True)
class Traced:
    """A value of the float network and what bounds its rounding.

    Attributes:
        value: float64[C, ...], exact but for float64's own rounding.
        majorant: float64[C, ...], m.
        roundings: float64[C or 1, ...], k; 0 where float32 is exact, infinite behind a host.
        grid: float64[C], a power of two that divides all terms of a channel; 0 if unknown.
        jump: float64, broadcastable to the value: error that is not relative to the majorant,
            because something was read at another place.
    """

    value: Array
    majorant: Array
    roundings: Array
    grid: Array
    jump: Array = field(default_factory=lambda: np.zeros(1))

    @property
    def exact(self) -> bool:
        """Whether float32 holds every element without rounding."""
        return not self.roundings.any()


def remembered(
    node: Node, given: Sequence[Traced], counts: Sequence[Array], gain: float
) -> list[Traced]:
    """Membranes of a neuron at every timestep, before it fires.

    Of u' = (u − n) · 2**-s + x the difference and the sum round, the power of two does not.

    Args:
        node: an integer_fire.
        given: x / gain at every timestep.
        counts: n of every timestep, by which membranes are reset.
        gain: a power of two.
    """
    currents = [
        Traced(x.value * gain, x.majorant * gain, x.roundings, x.grid * gain, x.jump * gain)
        for x in given
    ]
    shift = leak_shift(node)
    if not shift:
        return currents
    found = [currents[0]]
    for now, count in zip(currents[1:], counts, strict=False):
        before, leak = found[-1], 2.0**-shift
        found.append(
            Traced(
                (before.value - count) * leak + now.value,
                (before.majorant + count) * leak + now.majorant,
                np.maximum(before.roundings + 2, now.roundings + 1),
                np.zeros_like(now.grid),
                before.jump * leak + now.jump,
            )
        )
    return found


def over_time(node: Node, steps: Sequence[Traced]) -> list[Traced]:
    """What repeat and time_mean give."""
    if node.op == "repeat":
        return list(steps) * node.output.steps
    rounded = np.max([step.roundings.max() for step in steps]) + len(steps)
    value, majorant, jump = (
        np.mean(part, axis=0)
        for part in (
            [step.value for step in steps],
            [step.majorant for step in steps],
            [np.broadcast_to(step.jump, step.value.shape) for step in steps],
        )
    )
    roundings = np.full((1,) * value.ndim, rounded)
    return [Traced(value, majorant, roundings, np.zeros(len(value)), jump)]


def at_all_steps(steps: Sequence[Traced]) -> Traced:
    """One value, or those of several timesteps on an axis in front."""
    if len(steps) == 1:
        return steps[0]
    value, majorant, roundings, jump = (
        np.stack([np.broadcast_to(v, s.value.shape) for v, s in zip(part, steps, strict=True)])
        for part in (
            [step.value for step in steps],
            [step.majorant for step in steps],
            [step.roundings for step in steps],
            [step.jump for step in steps],
        )
    )
    return Traced(value, majorant, roundings, np.zeros(1), jump)
