"""The row-accumulating kernels against scalar loops and dense sums."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2f_sim.kernels.accumulate import accumulate_convolution, accumulate_rows, add_rows_loop
from s2f_sim.kernels.aligned import aligned_rows, aligned_zeros, padded_lanes
from s2f_sim.kernels.events import build_events, event_capacity


@dataclass(frozen=True)
class Convolution:
    """The shape of one convolution and the seed of its operands."""

    plane: tuple[int, int]
    channels: int
    outputs: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    levels: int
    density: float
    seed: int

    @property
    def out_plane(self) -> tuple[int, int]:
        height, width = (
            (size + 2 * pad - taps) // step + 1
            for size, pad, taps, step in zip(
                self.plane, self.padding, self.kernel, self.stride, strict=True
            )
        )
        return height, width

    def draw_counts(self, rng: np.random.Generator) -> NDArray[Any]:
        shape = (*self.plane, self.channels)
        counts = rng.integers(0, self.levels + 1, shape) * (rng.random(shape) < self.density)
        return counts.astype(np.uint8)


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    kernel = draw(st.tuples(st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 3, 5, 7])))
    padding = draw(st.tuples(st.integers(0, kernel[0]), st.integers(0, kernel[1])))
    smallest = [max(1, taps - 2 * pad) for taps, pad in zip(kernel, padding, strict=True)]
    return Convolution(
        plane=(
            draw(st.integers(smallest[0], smallest[0] + 5)),
            draw(st.integers(smallest[1], smallest[1] + 5)),
        ),
        channels=draw(st.integers(1, 20)),
        outputs=draw(st.integers(1, 300)),
        kernel=kernel,
        stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        padding=padding,
        levels=draw(st.integers(1, 8)),
        density=draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        seed=draw(st.integers(0, 2**16)),
    )


def event_lists(counts: NDArray[Any], levels: int) -> tuple[NDArray[Any], NDArray[Any]]:
    height, width, channels = counts.shape
    index = np.full(event_capacity(height, width, channels, levels), 2**31, np.uint32)
    first = np.empty((height, width + 1), np.int64)
    build_events(counts, 0, height, index, first)
    return first, index


def scalar_convolution(
    counts: NDArray[Any], weight: NDArray[Any], membrane: NDArray[Any], case: Convolution
) -> NDArray[Any]:
    """Add a weight row once per spike, one event after the other."""
    total = membrane.copy()
    for oy, ox in np.ndindex(*total.shape[:2]):
        for ky, kx in np.ndindex(*case.kernel):
            y = oy * case.stride[0] - case.padding[0] + ky
            x = ox * case.stride[1] - case.padding[1] + kx
            if 0 <= y < case.plane[0] and 0 <= x < case.plane[1]:
                for channel in np.flatnonzero(counts[y, x]):
                    for _ in range(counts[y, x, channel]):
                        total[oy, ox] += weight[ky, kx, channel]
    return total


WIDE = Convolution((5, 4), 130, 300, (3, 3), (1, 1), (1, 1), 4, 0.3, 0)
STRIDED = Convolution((9, 7), 24, 48, (3, 5), (2, 3), (3, 0), 8, 0.5, 1)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
@given(case=convolutions())
@example(WIDE)
@example(STRIDED)
def test_convolution_equals_adding_one_row_per_spike(
    kind: type[np.generic], case: Convolution
) -> None:
    rng = np.random.default_rng(case.seed)
    counts = case.draw_counts(rng)
    shape = (*case.kernel, case.channels, case.outputs)
    weight = aligned_rows(rng.integers(-9, 10, shape).astype(kind))
    bias = aligned_rows(rng.integers(-9, 10, (*case.out_plane, case.outputs)).astype(kind))
    expected = scalar_convolution(counts, weight, bias, case)
    first, index = event_lists(counts, case.levels)
    rows = case.out_plane[0]
    accumulate_convolution(first, index, weight, bias, case.stride, case.padding, 0, rows)
    np.testing.assert_array_equal(bias, expected)


@pytest.mark.parametrize("narrow", [np.int8, np.int16])
def test_narrow_integer_weights_are_widened(narrow: type[np.generic]) -> None:
    rng = np.random.default_rng(0)
    counts = WIDE.draw_counts(rng)
    limit = np.iinfo(narrow).max  # type: ignore[type-var]
    shape = (3, 3, WIDE.channels, WIDE.outputs)
    weight = aligned_rows(rng.integers(-limit, limit + 1, shape).astype(narrow))
    membrane = aligned_zeros((*WIDE.out_plane, padded_lanes(WIDE.outputs)), np.int32)
    expected = scalar_convolution(counts, weight.astype(np.int32), membrane, WIDE)
    first, index = event_lists(counts, WIDE.levels)
    accumulate_convolution(first, index, weight, membrane, (1, 1), (1, 1), 0, 5)
    np.testing.assert_array_equal(membrane, expected)


@given(case=convolutions())
@example(WIDE)
def test_float_convolution_is_within_rounding_and_ignores_row_ranges(case: Convolution) -> None:
    rng = np.random.default_rng(case.seed)
    counts = case.draw_counts(rng)
    shape = (*case.kernel, case.channels, case.outputs)
    weight = aligned_rows(rng.standard_normal(shape).astype(np.float32))
    whole = aligned_zeros((*case.out_plane, weight.shape[3]), np.float32)
    parts = whole.copy()
    first, index = event_lists(counts, case.levels)
    rows = case.out_plane[0]
    cut = rows // 2
    for target, begin, end in ((whole, 0, rows), (parts, cut, rows), (parts, 0, cut)):
        accumulate_convolution(first, index, weight, target, case.stride, case.padding, begin, end)
    np.testing.assert_array_equal(whole, parts)
    nothing = np.zeros(whole.shape)
    exact = scalar_convolution(counts, weight.astype(np.float64), nothing, case)
    size = scalar_convolution(counts, np.abs(weight).astype(np.float64), nothing, case)
    spikes = int(counts.sum())
    unit = np.finfo(np.float32).eps / 2
    assert np.all(np.abs(whole - exact) <= spikes * unit / (1 - spikes * unit) * size)


def test_rows_outside_the_range_stay() -> None:
    rng = np.random.default_rng(0)
    counts = WIDE.draw_counts(rng)
    weight = aligned_rows(np.ones((3, 3, WIDE.channels, WIDE.outputs), np.float32))
    membrane = aligned_zeros((*WIDE.out_plane, weight.shape[3]), np.float32)
    first, index = event_lists(counts, WIDE.levels)
    accumulate_convolution(first, index, weight, membrane, (1, 1), (1, 1), 2, 2)
    assert not membrane.any()
    accumulate_convolution(first, index, weight, membrane, (1, 1), (1, 1), 2, 3)
    assert membrane[2, :, : WIDE.outputs].all()
    assert not membrane[[0, 1, 3, 4]].any()
    assert not membrane[..., WIDE.outputs :].any()


@pytest.mark.parametrize("kind", [np.float32, np.int32])
@given(
    tokens=st.integers(1, 6),
    channels=st.integers(1, 100),
    outputs=st.integers(1, 300),
    levels=st.integers(1, 8),
    seed=st.integers(0, 2**16),
)
def test_rows_equal_a_matrix_product(
    kind: type[np.generic], tokens: int, channels: int, outputs: int, levels: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, levels + 1, (tokens, channels)).astype(np.uint8)
    rows = aligned_rows(rng.integers(-9, 10, (channels, outputs)).astype(kind))
    target = aligned_rows(rng.integers(-9, 10, (tokens, outputs)).astype(kind))
    expected = target + counts.astype(np.int64) @ rows.astype(np.int64)
    first, index = event_lists(counts[:, None, :], levels)
    accumulate_rows(first, index, rows, target, 0, tokens)
    np.testing.assert_array_equal(target, expected)


def test_read_only_operands_are_accepted() -> None:
    first, index = event_lists(np.full((1, 1, 3), 2, np.uint8), 2)
    rows = aligned_rows(np.eye(3, dtype=np.float32))
    target = aligned_zeros((1, 16), np.float32)
    for array in (first, index, rows):
        array.flags.writeable = False
    accumulate_rows(first, index, rows, target, 0, 1)
    assert target[0].tolist() == [2.0] * 3 + [0.0] * 13


@given(registers=st.integers(1, 8), events=st.integers(0, 40), seed=st.integers(0, 2**16))
def test_plain_twin_adds_the_same_rows(registers: int, events: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    width = 16 * registers
    rows = aligned_rows(rng.integers(-9, 10, (5, width)).astype(np.float32))
    index = rng.integers(0, 5, events).astype(np.uint32)
    compiled, plain = (aligned_zeros((1, width), np.float32) for _ in range(2))
    accumulate_rows(np.array([[0, events]]), index, rows, compiled, 0, 1)
    add_rows_loop(index, 0, events, rows, 0, width, plain, 0, registers)
    np.testing.assert_array_equal(compiled, plain)
