"""The depthwise kernel against adding one weight per spike."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2f_sim.kernels.aligned import aligned_rows
from s2f_sim.kernels.depthwise import accumulate_depthwise
from s2f_sim.kernels.events import build_events, event_capacity

Pair = tuple[int, int]


@st.composite
def geometries(draw: st.DrawFn) -> tuple[Pair, Pair, Pair, Pair]:
    """Plane, kernel, stride and padding of a legal depthwise convolution."""
    kernel = draw(st.tuples(st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 3, 7, 11])))
    padding = draw(st.tuples(st.integers(0, kernel[0]), st.integers(0, kernel[1])))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    smallest = [max(1, taps - 2 * pad) for taps, pad in zip(kernel, padding, strict=True)]
    height, width = (draw(st.integers(size, size + 6)) for size in smallest)
    return (height, width), kernel, stride, padding


def scalar_depthwise(
    counts: NDArray[Any], weight: NDArray[Any], membrane: NDArray[Any], stride: Pair, pad: Pair
) -> None:
    height, width, channels = counts.shape
    for oy, ox in np.ndindex(*membrane.shape[:2]):
        for ky, kx in np.ndindex(*weight.shape[:2]):
            y, x = oy * stride[0] - pad[0] + ky, ox * stride[1] - pad[1] + kx
            if 0 <= y < height and 0 <= x < width:
                for level in range(1, int(counts[y, x].max()) + 1):
                    fires = np.flatnonzero(counts[y, x] >= level)
                    membrane[oy, ox, fires] += weight[ky, kx, fires]
    assert not membrane[..., channels:].any()


@pytest.mark.parametrize("kind", [np.float32, np.int32])
@given(
    geometry=geometries(),
    channels=st.integers(1, 40),
    levels=st.integers(1, 8),
    density=st.sampled_from([0.0, 0.2, 1.0]),
    cut=st.integers(0, 3),
)
@example(((9, 8), (7, 7), (1, 1), (3, 3)), 33, 4, 0.2, 3)
@example(((9, 8), (3, 3), (2, 2), (1, 1)), 16, 8, 1.0, 0)
def test_depthwise_equals_adding_one_weight_per_spike(
    kind: type[np.generic],
    geometry: tuple[Pair, Pair, Pair, Pair],
    channels: int,
    levels: int,
    density: float,
    cut: int,
) -> None:
    (height, width), kernel, stride, padding = geometry
    rng = np.random.default_rng(channels)
    shape = (height, width, channels)
    counts = rng.integers(0, levels + 1, shape) * (rng.random(shape) < density)
    weight = aligned_rows(rng.integers(-9, 10, (*kernel, channels)).astype(kind))
    rows = (height + 2 * padding[0] - kernel[0]) // stride[0] + 1
    columns = (width + 2 * padding[1] - kernel[1]) // stride[1] + 1
    membrane = aligned_rows(rng.integers(-9, 10, (rows, columns, channels)).astype(kind))
    expected = membrane.copy()
    scalar_depthwise(counts, weight, expected, stride, padding)
    index = np.zeros(event_capacity(height, width, channels, levels), np.uint32)
    first = np.zeros((height, width + 1), np.int64)
    build_events(counts.astype(np.uint8), 0, height, index, first)
    cut = min(cut, rows)
    for begin, end in ((cut, rows), (0, cut)):
        accumulate_depthwise(channels, first, index, weight, membrane, stride, padding, begin, end)
    np.testing.assert_array_equal(membrane, expected)


def test_float_sums_do_not_depend_on_row_ranges() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 3, (8, 9, 20)).astype(np.uint8)
    weight = aligned_rows(rng.standard_normal((5, 5, 20)).astype(np.float32))
    whole = aligned_rows(rng.standard_normal((8, 9, 20)).astype(np.float32))
    parts = whole.copy()
    index = np.zeros(event_capacity(8, 9, 20, 2), np.uint32)
    first = np.zeros((8, 10), np.int64)
    build_events(counts, 0, 8, index, first)
    for target, begin, end in ((whole, 0, 8), (parts, 5, 8), (parts, 0, 5), (parts, 3, 3)):
        accumulate_depthwise(20, first, index, weight, target, (1, 1), (2, 2), begin, end)
    np.testing.assert_array_equal(whole, parts)
