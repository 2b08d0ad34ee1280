"""Sampling by lists of spiking taps against the dense definition, and its work against a loop."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2f_deploy.ir.graph import DType, Node, TensorType, attributes
from s2f_deploy.ops import evaluate
from s2f_deploy.ops.deformable_sample import rounded_offsets
from s2f_sim import sampling
from s2f_sim.kernels.deformable import Taps, empty_taps
from s2f_sim.run import LayerCounts
from s2f_sim.sampling import sample, sampling_work
from s2f_sim.workers import Workers

Array = NDArray[Any]


class Drawn:
    """A sampling and its operands: channels first, of one or several real timesteps."""

    def __init__(self, draw: st.DrawFn, dtype: DType) -> None:
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        groups, kernel = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        taps, steps = groups * kernel**2, draw(st.sampled_from([1, 1, 2]))
        plane = draw(st.integers(1, 7)), draw(st.integers(1, 7))
        self.bits = draw(st.sampled_from([1, 4, 8, 16] if dtype.is_integer else [0, 3, 12]))
        shape = (groups * draw(st.integers(1, 19)), *plane)
        rule = attributes(groups=groups, kernel=kernel, bits=self.bits)
        self.arrays: list[Array] = []
        whole = dtype.is_integer
        if whole:
            channels = draw(st.sampled_from([1, 2 * taps]))
            self.arrays = [rng.integers(-2, 12, channels).astype(np.int8)]
        params = tuple("s" * len(self.arrays))
        output = TensorType(shape, dtype, steps=steps)
        self.node = Node("n", "deformable_sample", ("x", "o", "a"), params, output, "n", rule)
        front = (steps,) if steps > 1 else ()
        x = rng.standard_normal((*front, *shape)) * (100 if whole else 1)
        # Some lead far outside.
        reach = rng.choice([0.5, 4.0, 1e4]) * (64.0 if whole else 1.0)
        offsets = rng.standard_normal((*front, 2 * taps, *plane)) * reach
        counts = rng.integers(0, 5, (*front, taps, *plane))
        counts *= rng.random(counts.shape) < rng.choice([0.0, 0.1, 0.9])
        kind = np.int32 if whole else np.float32
        self.inputs = [x.astype(kind), offsets.astype(kind), counts.astype(np.uint8)]
        self.steps, self.timesteps = steps, 4


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    return Drawn(draw, draw(st.sampled_from([DType.INT32, DType.INT64, DType.FLOAT32])))


def channels_last(value: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(value, -3, -1))


@pytest.mark.parametrize("threads", [1, 2])
@settings(max_examples=80)
@given(made=drawn())
def test_listed_taps_add_what_the_definition_says(threads: int, made: Drawn) -> None:
    if made.node.output.dtype is DType.INT32:
        # Sums stay below 2³¹.
        made.inputs[0] %= 2 ** max(0, 24 - 2 * made.bits)
    want = evaluate(made.node, made.inputs, made.arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("s2f_sim.workers.WORTHWHILE_NS", 0)
        inputs = [channels_last(value) for value in made.inputs]
        found = sample(made.node, inputs, made.arrays, Workers(threads))
    assert found.dtype == want.dtype
    np.testing.assert_array_equal(found, channels_last(want))


def counted(made: Drawn) -> tuple[list[int], list[int], int]:
    """Spikes and additions of every timestep, and products, by a loop over all taps."""
    _, offsets, counts = (value.reshape(made.steps, *value.shape[-3:]) for value in made.inputs)
    kernel, (height, width) = made.node["kernel"], made.node.output.plane
    channels = made.node.output.channels // made.node["groups"]
    one = 1 << made.bits
    spikes, additions = ([0] * (made.steps * made.timesteps) for _ in range(2))
    products = 0
    for t, tap, y, x in np.ndindex(counts.shape):
        count, moved = int(counts[t, tap, y, x]), offsets[t, 2 * tap : 2 * tap + 2, y, x]
        for d in range(count):
            spikes[t * made.timesteps + d] += 1
        moves = np.array([tap % kernel**2 // kernel, tap % kernel]) - kernel // 2
        if made.bits:
            shifts = made.arrays[0] if made.arrays else None
            if shifts is not None and shifts.size > 1:
                shifts = shifts[2 * tap : 2 * tap + 2]
            units = rounded_offsets(moved, made.bits, shifts)
            column, row = ((moves + np.array([x, y])) * one + units).tolist()
            (left, across), (above, down) = divmod(column, one), divmod(row, one)
        else:
            column, row = (moved + moves.astype(np.float32)) + np.array([x, y], np.float32)
            left, above = np.floor(column), np.floor(row)
            across, down = column - left, row - above
        rows = [above + i for i in (0, 1) if 0 <= above + i < height and (down or not i)]
        columns = [left + i for i in (0, 1) if 0 <= left + i < width and (across or not i)]
        if not (count and rows and columns):
            continue
        for d in range(count):
            additions[t * made.timesteps + d] += channels
        products += channels * len(rows) * len(columns)
        if made.bits:
            costs = [f.bit_count() + 1 if f else 0 for f in (across, down)]
            additions[t * made.timesteps] += channels * (len(rows) * costs[0] + costs[1])
    return spikes, additions, products


@settings(max_examples=80)
@given(drawn())
def test_work_is_that_of_taps_with_spikes(made: Drawn) -> None:
    spikes, additions, products = counted(made)
    found = sampling_work(made.node, made.inputs[1:], made.arrays, made.timesteps)
    layer = LayerCounts("n", "dyadic_sampling" if made.bits else "exact_sampling", (1,), 1)
    work = found.of(layer)
    assert list(work.spikes_by_timestep) == spikes
    if made.bits:
        assert (list(work.ac_by_timestep), work.mac) == (additions, 0)
    else:
        assert (work.ac_by_timestep, work.mac) == ((), products)


def test_no_more_taps_are_listed_than_there_are_spikes(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms: list[int] = []

    def watched(lists: int, longest: int, dtype: np.dtype[Any]) -> Taps:
        rooms.append(longest)
        return empty_taps(lists, longest, dtype)

    monkeypatch.setattr(sampling, "empty_taps", watched)
    rule = attributes(groups=1, kernel=3, bits=4)
    output = TensorType((2, 5, 6), DType.FLOAT32)
    node = Node("n", "deformable_sample", ("x", "o", "a"), (), output, "n", rule)
    counts = np.zeros((5, 6, 9), np.uint8)
    counts[2, 3, 4], counts[4, 5, 8] = 3, 1
    inputs: list[Array] = [
        np.ones((5, 6, 2), np.float32),
        np.zeros((5, 6, 18), np.float32),
        counts,
    ]
    found = sample(node, inputs, [], Workers(1))
    assert rooms == [2]
    assert {tuple(at) for at in np.argwhere(found[..., 0])} == {(2, 3)}
    assert found[2, 3].tolist() == [3, 3]
