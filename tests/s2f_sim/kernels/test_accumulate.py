"""The synaptic kernels against adding one row per spike."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2f_sim.kernels.accumulate import OVERHANG, accumulate_convolution, accumulate_rows
from s2f_sim.kernels.events import flat_window, list_length
from s2f_sim.kernels.finish import only_sums
from s2f_sim.kernels.packing import CACHE_BYTES, pack_rows
from s2f_sim.kernels.sharing import alone


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
    together: int
    cache_bytes: int
    tile: int
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

    def run(
        self, counts: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any], cuts: list[int]
    ) -> NDArray[Any]:
        """The kernel, over ranges of rows between ``cuts``: T[H', W', O]."""
        (height, width), step = self.kernel, self.stride[1]
        side = width + (self.together - 1) * step
        wide = np.zeros((height, side, self.channels, self.together, self.outputs), weight.dtype)
        for k in range(self.together):
            wide[:, k * step : k * step + width, :, k] = weight
        packed = pack_rows(wide.reshape(-1, self.together * self.outputs), self.cache_bytes)
        rows, columns = self.out_plane
        sums = np.full((rows * columns, self.outputs), 7, bias.dtype)
        finish = only_sums(bias.reshape(-1, self.outputs), sums)
        tile = self.tile * self.together
        events = height * list_length(self.plane[1], self.channels, self.levels)
        for first, last in zip(cuts, [*cuts[1:], rows], strict=True):
            accumulate_convolution(
                flat_window(counts),
                counts.shape,
                packed.lanes,
                packed.blocks,
                packed.burst,
                (height, side, self.together),
                (self.stride[0], step * self.together),
                self.padding,
                columns,
                tile,
                np.empty((1, events), np.uint32),
                np.empty((1, height * (self.plane[1] + 1)), np.int64),
                np.empty((1, events), np.uint32),
                np.empty((1, self.plane[1] + 1), np.int64),
                np.empty((1, (tile + self.together) * self.outputs + OVERHANG), bias.dtype),
                finish,
                alone(last, first),
            )
        return sums.reshape(rows, columns, self.outputs)


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
        together=draw(st.sampled_from([1, 2, 4])),
        cache_bytes=draw(st.sampled_from([0, CACHE_BYTES])),
        tile=draw(st.integers(1, 4)),
        seed=draw(st.integers(0, 2**16)),
    )


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


WIDE = Convolution((5, 4), 130, 300, (3, 3), (1, 1), (1, 1), 4, 0.3, 1, CACHE_BYTES, 3, 0)
STRIDED = Convolution((9, 7), 24, 48, (3, 5), (2, 3), (3, 0), 8, 0.5, 2, CACHE_BYTES, 1, 1)
KINDS = [(np.float32, np.float32), (np.int8, np.int32), (np.int16, np.int32), (np.int16, np.int64)]


@pytest.mark.parametrize(("kind", "wide"), KINDS)
@given(case=convolutions(), cut=st.integers(0, 5))
@example(WIDE, 2)
@example(STRIDED, 1)
def test_convolution_equals_adding_one_row_per_spike(
    kind: Any, wide: Any, case: Convolution, cut: int
) -> None:
    rng = np.random.default_rng(case.seed)
    counts = case.draw_counts(rng)
    largest = 9 if kind == np.float32 else np.iinfo(kind).max
    shape = (*case.kernel, case.channels, case.outputs)
    weight = rng.integers(-largest, largest + 1, shape).astype(kind)
    bias = rng.integers(-9, 10, (*case.out_plane, case.outputs)).astype(wide)
    expected = scalar_convolution(counts, weight.astype(wide), bias, case)
    cut = min(cut, case.out_plane[0])
    np.testing.assert_array_equal(case.run(counts, weight, bias, [0, cut]), expected)


@given(case=convolutions())
@example(WIDE)
def test_float_convolution_is_within_rounding_and_ignores_row_ranges(case: Convolution) -> None:
    rng = np.random.default_rng(case.seed)
    counts = case.draw_counts(rng)
    shape = (*case.kernel, case.channels, case.outputs)
    weight = rng.standard_normal(shape).astype(np.float32)
    bias = np.zeros((1, case.outputs), np.float32)
    whole = case.run(counts, weight, bias, [0])
    np.testing.assert_array_equal(
        whole, case.run(counts, weight, bias, [0, case.out_plane[0] // 2])
    )
    nothing = np.zeros(whole.shape)
    exact = scalar_convolution(counts, weight.astype(np.float64), nothing, case)
    size = scalar_convolution(counts, np.abs(weight).astype(np.float64), nothing, case)
    spikes = int(counts.sum())
    unit = np.finfo(np.float32).eps / 2
    assert np.all(np.abs(whole - exact) <= spikes * unit / (1 - spikes * unit) * size)


@pytest.mark.parametrize(("kind", "wide"), KINDS)
@given(
    tokens=st.integers(1, 40),
    channels=st.integers(1, 100),
    outputs=st.integers(1, 300),
    levels=st.integers(1, 8),
    tile=st.integers(1, 16),
    seed=st.integers(0, 2**16),
)
def test_rows_equal_a_matrix_product(
    kind: Any,
    wide: Any,
    tokens: int,
    channels: int,
    outputs: int,
    levels: int,
    tile: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, levels + 1, (tokens, channels)).astype(np.uint8)
    rows = rng.integers(-9, 10, (channels, outputs)).astype(kind)
    bias = rng.integers(-9, 10, (1, outputs)).astype(wide)
    packed = pack_rows(rows)
    counts.flags.writeable = packed.lanes.flags.writeable = False
    sums = np.full((tokens, outputs), 7, wide)
    finish = only_sums(bias, sums)
    cut = tokens // 3
    expected = bias + counts.astype(np.int64) @ rows.astype(np.int64)
    for first, last in ((cut, tokens), (0, cut)):
        accumulate_rows(
            flat_window(counts), channels, packed.lanes, packed.blocks, packed.burst, tile,
            np.empty((1, list_length(tile, channels, levels)), np.uint32),
            np.empty((1, tile + 1), np.int64), np.empty((1, tile * outputs + OVERHANG), wide),
            finish, alone(last, first),
        )  # fmt: skip
        if first:
            assert (sums[:cut] == 7).all()
    np.testing.assert_array_equal(sums, expected)
