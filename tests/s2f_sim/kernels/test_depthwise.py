"""Depthwise kernels against adding one weight per spike."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2f_sim.kernels.events import flat_window
from s2f_sim.kernels.finish import only_sums
from s2f_sim.kernels.masked_depthwise import (
    Masking,
    MaskRoom,
    accumulate_masked,
    count_bits,
    mask_room,
    weight_bits,
)
from s2f_sim.kernels.sharing import alone
from s2f_sim.layout import narrowest_sum

Pair = tuple[int, int]


@st.composite
def geometries(draw: st.DrawFn) -> tuple[Pair, Pair, Pair, Pair]:
    """Plane, kernel, stride and padding of a legal depthwise convolution."""
    kernel = draw(st.tuples(st.sampled_from([1, 3, 5, 7, 9]), st.sampled_from([1, 3, 5, 7, 11])))
    padding = draw(st.tuples(st.integers(0, kernel[0]), st.integers(0, kernel[1])))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    smallest = [max(1, taps - 2 * pad) for taps, pad in zip(kernel, padding, strict=True)]
    height, width = (
        draw(st.integers(size, size + more)) for size, more in zip(smallest, (6, 16), strict=True)
    )
    return (height, width), kernel, stride, padding


def scalar_depthwise(
    counts: NDArray[Any], weight: NDArray[Any], membrane: NDArray[Any], stride: Pair, pad: Pair
) -> None:
    height, width, _ = counts.shape
    for oy, ox in np.ndindex(*membrane.shape[:2]):
        for ky, kx in np.ndindex(*weight.shape[:2]):
            y, x = oy * stride[0] - pad[0] + ky, ox * stride[1] - pad[1] + kx
            if 0 <= y < height and 0 <= x < width:
                membrane[oy, ox] += weight[ky, kx] * counts[y, x].astype(membrane.dtype)


def masked(
    counts: NDArray[Any],
    levels: int,
    weight: NDArray[Any],
    bias: NDArray[Any],
    geometry: tuple[Pair, Pair],
    cuts: list[int],
) -> NDArray[Any]:
    """A register of channels at a time, over ranges of rows between ``cuts``: T[H', W', C]."""
    (down, across), (top, left) = geometry
    rows, columns, channels = bias.shape
    (height, width, _), bits = weight.shape, count_bits(levels)
    dtype, padded = narrowest_sum(weight, levels), counts.shape[1] + 2 * left
    masking = Masking.of(dtype, channels, width, across, columns, padded)
    weights = weight_bits(weight, bits, masking, dtype)
    sums = np.full((rows * columns, channels), 7, bias.dtype)
    finish = only_sums(bias.reshape(-1, channels), sums)
    room = mask_room(masking, channels, height, bits, dtype, bias.dtype)
    for first, last in zip(cuts, [*cuts[1:], rows], strict=True):
        accumulate_masked(
            flat_window(counts), counts.shape, weights.reshape(-1), (height, width, bits), down,
            (top, left), masking,
            MaskRoom(*(np.ones((1, elements), kind) for elements, kind in room)), finish,
            alone(last, first),
        )  # fmt: skip
    return sums.reshape(bias.shape)


@pytest.mark.parametrize(
    ("kind", "wide", "largest"),
    [(np.float32, np.float32, 9), (np.int8, np.int32, 127), (np.int16, np.int64, 32767)],
)
@given(
    geometry=geometries(),
    channels=st.integers(1, 140),
    levels=st.sampled_from([1, 2, 4, 6, 8, 15, 16, 255]),
    density=st.sampled_from([0.0, 0.005, 0.2, 1.0]),
    cut=st.integers(0, 6),
)
@example(((9, 8), (7, 7), (1, 1), (3, 3)), 33, 4, 0.2, 3)
@example(((9, 8), (3, 3), (2, 2), (1, 1)), 16, 8, 1.0, 0)
@example(((9, 8), (3, 3), (1, 1), (1, 1)), 130, 255, 1.0, 4)
# Several outputs in one mask, of the only window and of the last one, whole blocks and less.
@example(((4, 28), (7, 7), (1, 1), (3, 3)), 48, 4, 0.2, 2)
@example(((4, 30), (5, 5), (1, 1), (2, 0)), 40, 4, 0.005, 2)
@example(((5, 33), (3, 3), (2, 2), (1, 1)), 8, 4, 1.0, 1)
@example(((5, 21), (3, 3), (1, 1), (0, 2)), 3, 4, 0.2, 1)
def test_depthwise_equals_adding_one_weight_per_spike(
    kind: Any,
    wide: Any,
    largest: int,
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
    counts = counts.astype(np.uint8)
    weight = rng.integers(-largest, largest + 1, (*kernel, channels)).astype(kind)
    rows = (height + 2 * padding[0] - kernel[0]) // stride[0] + 1
    columns = (width + 2 * padding[1] - kernel[1]) // stride[1] + 1
    bias = rng.integers(-9, 10, (rows, columns, channels)).astype(wide)
    expected = bias.copy()
    scalar_depthwise(counts, weight.astype(wide), expected, stride, padding)
    cuts = [0, min(cut, rows), rows]
    found = masked(counts, levels, weight, bias, (stride, padding), cuts)
    np.testing.assert_array_equal(found, expected)


def test_float_sums_do_not_depend_on_row_ranges() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 3, (8, 9, 20)).astype(np.uint8)
    weight = rng.standard_normal((5, 5, 20)).astype(np.float32)
    bias = rng.standard_normal((8, 9, 20)).astype(np.float32)
    geometry = ((1, 1), (2, 2))
    whole = masked(counts, 2, weight, bias, geometry, [0])
    np.testing.assert_array_equal(whole, masked(counts, 2, weight, bias, geometry, [0, 3, 3, 5]))


def test_sums_are_as_narrow_as_every_sum_allows() -> None:
    weight = np.full((7, 7, 2), 127, np.int8)
    assert narrowest_sum(weight, 5) == np.int16
    assert narrowest_sum(weight, 6) == np.int32
    assert narrowest_sum(weight.astype(np.float32), 5) == np.float32
