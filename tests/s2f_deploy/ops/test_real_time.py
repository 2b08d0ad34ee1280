"""The leaky neuron in integers against fractions: no count differs, no bit is lost."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2f_deploy import Node, TensorType
from s2f_deploy.ir.graph import DType, attributes
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.real_time import (
    counts_per_unit,
    extra_bits,
    membrane_interval,
    next_membrane,
)
from s2f_deploy.passes.comparators import comparators

ROUNDINGS = ("half_even", "half_up")


@dataclass(frozen=True)
class Neuron:
    """One layer of leaky neurons; currents and membranes have a channel each."""

    levels: int
    rounding: str
    count_bits: NDArray[np.int64]
    leak_shift: int
    timesteps: int

    def runs(self, currents: NDArray[np.int64]) -> tuple[list[Any], list[Any]]:
        """Membranes in fine units and counts of every timestep, by the code under test."""
        output = TensorType((len(self.count_bits),), DType.COUNT, self.levels)
        constants = attributes(levels=self.levels, rounding=self.rounding)
        node = Node("n", "integer_fire", (), (), output, "test", constants)
        scale = counts_per_unit(self.count_bits, self.leak_shift, self.timesteps)
        table = comparators(node, DType.INT64, scale, np.zeros(1))
        membrane = np.zeros(currents.shape[1:], np.int64)
        counts = np.zeros(currents.shape[1:], np.uint8)
        membranes, fired = [], []
        for current in currents:
            membrane = next_membrane(
                membrane, counts, current, self.count_bits, self.leak_shift, self.timesteps
            )
            counts = (membrane >= table).sum(0).astype(np.uint8)
            membranes.append(membrane.tolist())
            fired.append(counts.tolist())
        return membranes, fired

    def exactly(self, currents: NDArray[np.int64]) -> tuple[list[Any], list[Any]]:
        """The same from its equation, in fractions."""
        rows = [self._channel(c, currents[:, c].tolist()) for c in range(currents.shape[1])]
        membranes, fired = (list(zip(*part, strict=True)) for part in zip(*rows, strict=True))
        return [list(m) for m in membranes], [list(f) for f in fired]

    def _channel(self, channel: int, currents: list[int]) -> tuple[list[int], list[int]]:
        bits = int(self.count_bits[channel])
        fine = Fraction(2) ** (bits + self.leak_shift * (self.timesteps - 1))
        beta, u, n = Fraction(1, 2**self.leak_shift), Fraction(0), 0
        membranes, fired = [], []
        for current in currents:
            u = (u - n) * beta + Fraction(current, 2**bits)
            value = min(max(u, Fraction(0)), Fraction(self.levels))
            up = (value + Fraction(1, 2)).__floor__()
            # Python rounds a Fraction half to even.
            n = round(value) if self.rounding == "half_even" else up
            assert (u * fine).denominator == 1
            membranes.append(int(u * fine))
            fired.append(n)
        return membranes, fired

    def interval(self, low: Any, high: Any) -> Interval:
        current = Interval(np.array(low, object), np.array(high, object))
        return membrane_interval(
            current, self.levels, self.count_bits, self.leak_shift, self.timesteps
        )


CHANNELS = 4
BITS = st.lists(st.integers(0, 6), min_size=CHANNELS, max_size=CHANNELS)
REACH = st.lists(st.integers(0, 3000), min_size=CHANNELS, max_size=CHANNELS)


@st.composite
def neurons(draw: st.DrawFn) -> Neuron:
    return Neuron(
        draw(st.integers(1, 15)),
        draw(st.sampled_from(ROUNDINGS)),
        np.array(draw(BITS)),
        draw(st.sampled_from([1, 2])),
        draw(st.integers(1, 6)),
    )


@given(neurons(), REACH, REACH, st.integers(0, 2**32 - 1))
def test_every_count_is_that_of_the_equation(
    neuron: Neuron, below: list[int], above: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shape = (neuron.timesteps, CHANNELS)
    low, high = -np.array(below), np.array(above)
    drawn = rng.integers(low, high + 1, shape)
    ends = np.where(rng.random(shape) < 0.5, low, high)
    currents = np.where(rng.random(shape) < 0.3, ends, drawn)
    membranes, counts = neuron.runs(currents)
    assert (membranes, counts) == neuron.exactly(currents)
    bounds = neuron.interval(low, high)
    one = 1 << neuron.count_bits + extra_bits(neuron.leak_shift, neuron.timesteps)
    for membrane, fired in zip(np.array(membranes), np.array(counts), strict=True):
        left = membrane - fired * one
        for value in (membrane, left):
            assert (bounds.low <= value).all()
            assert (value <= bounds.high).all()


@given(neurons(), st.sampled_from([-3000, 3000]))
def test_constant_input_reaches_the_bound(neuron: Neuron, end: int) -> None:
    """Currents far beyond D, or negative ones, take the membrane to the end of its interval."""
    currents = np.full((neuron.timesteps, CHANNELS), end)
    membranes, _ = neuron.exactly(currents)
    bounds = neuron.interval(*np.sort([np.zeros(CHANNELS, int), currents[0]], axis=0))
    reached = np.array(membranes, object)
    if end > 0:
        assert (reached.max(0) == bounds.high).all()
    else:
        low = reached.min(0)
        half = (1 << neuron.count_bits + extra_bits(neuron.leak_shift, neuron.timesteps)) // 2
        assert (np.minimum(low, -half) == bounds.low).all()


@pytest.mark.parametrize(("rounding", "counts"), [("half_even", [4, 0, 2]), ("half_up", [4, 1, 2])])
def test_a_tie_that_only_the_extra_bits_show(rounding: str, counts: list[int]) -> None:
    """Whole currents, a quarter of what is left: u = 6, then (6 − 4) / 4 = ½, a tie."""
    neuron = Neuron(4, rounding, np.zeros(1, np.int64), 2, 3)
    currents = np.array([[6], [0], [2]])
    membranes, fired = neuron.runs(currents)
    assert [n for (n,) in fired] == counts
    assert membranes[0] == [6 << 4]
    assert membranes[1] == [1 << 3]
    # What is left of ½ or −½, a quarter of it, and 2.
    assert membranes[2] == [(2 << 4) + (2 if rounding == "half_even" else -2)]
    assert neuron.exactly(currents) == (membranes, fired)


@pytest.mark.parametrize("leak_shift", [1, 2])
@pytest.mark.parametrize("timesteps", [2, 3, 6])
def test_one_bit_fewer_would_lose_the_first_current(leak_shift: int, timesteps: int) -> None:
    """One unit at t = 1 and silence: its last bit is the lowest at t = T."""
    neuron = Neuron(1, "half_even", np.full(1, 8), leak_shift, timesteps)
    currents = np.zeros((timesteps, 1), np.int64)
    currents[0] = 1
    membranes, _ = neuron.runs(currents)
    assert [u for (u,) in membranes] == [
        1 << leak_shift * (timesteps - t) for t in range(1, timesteps + 1)
    ]


def test_without_time_nothing_is_added() -> None:
    """T = 1 is the plain neuron: no more bits, and no bounds but its input's and its reset's."""
    neuron = Neuron(4, "half_even", np.full(1, 3), 2, 1)
    assert extra_bits(2, 1) == 0
    bounds = neuron.interval([-5], [40])
    assert (bounds.low.tolist(), bounds.high.tolist()) == ([-5], [40])
