"""The encoding layer against its dense definition."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray

from s2f_deploy.ir.graph import DType, Node, TensorType, attributes
from s2f_deploy.ops import OPS
from s2f_sim.encoding import Products
from s2f_sim.kernels.finish import only_sums
from s2f_sim.kernels.multiply import LANES, multiply_line, multiply_line_loop
from s2f_sim.workers import Workers


def line_by(multiply: Callable[..., None]) -> Callable[..., None]:
    """A line of outputs by the intrinsic or by its twin."""

    def line(
        pixels: NDArray[Any],
        line: tuple[int, int, int, int],
        weights: NDArray[Any],
        shape: tuple[int, int, int],
        tile: NDArray[Any],
        outputs: int,
    ) -> None:
        at, step, columns, line_pixels = line
        height, units, pitch = shape
        multiply(
            pixels, at, step, columns, line_pixels, height, weights, units, pitch, tile, outputs
        )

    return line


compiled, plain = njit(line_by(multiply_line)), line_by(multiply_line_loop)


def drawn(rng: np.random.Generator, size: int, kind: Any) -> NDArray[Any]:
    """Any real numbers, or integers that are mostly as large as their products allow."""
    if kind == np.float32:
        return rng.standard_normal(size).astype(kind)
    most = {2: 2**15 - 1, 4: 2**13, 8: 2**28}[np.dtype(kind).itemsize]
    return rng.choice([-most, -1, 0, 3, most], size, p=[0.4, 0.1, 0.1, 0.1, 0.3]).astype(kind)


@pytest.mark.parametrize(
    ("kind", "wide"),
    [
        (np.int16, np.int32),
        (np.int16, np.int64),
        (np.int32, np.int32),
        (np.int64, np.int64),
        (np.float32, np.float32),
    ],
)
@given(
    at=st.integers(0, 3),
    step=st.integers(0, 7),
    columns=st.integers(1, 35),
    height=st.integers(1, 3),
    units=st.integers(1, 5),
    registers=st.integers(1, 5),
    unused=st.integers(0, LANES - 1),
    seed=st.integers(0, 2**16),
)
def test_a_line_is_stored_as_the_plain_loop_stores_it(
    kind: Any,
    wide: Any,
    at: int,
    step: int,
    columns: int,
    height: int,
    units: int,
    registers: int,
    unused: int,
    seed: int,
) -> None:
    """Whatever lay in the tile before, to the last bit of a float, and nothing beyond it.

    Weights of unused lanes are no zeros here, so that it shows what is stored last.
    """
    rng = np.random.default_rng(seed)
    paired = kind == np.int16
    pitch = registers * LANES
    line_pixels = units + 2
    needed = at + (columns - 1) * step + (height - 1) * line_pixels + units * (1 + paired)
    pixels = drawn(rng, needed, kind)
    if paired and wide == np.int32:
        pixels >>= 8  # so that sums of 15 pairs fit
    weights = drawn(rng, height * units * pitch * (1 + paired), kind)
    rows = weights.view(np.int32) if paired else weights
    outputs = pitch - unused
    expected = drawn(rng, (columns - 1) * outputs + pitch + LANES, wide)
    found = expected.copy()
    arguments = pixels, (at, step, columns, line_pixels), rows, (height, units, pitch)
    plain(*arguments, expected, outputs)
    compiled(*arguments, found, outputs)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("pixels", "weights", "lanes", "value"),
    [(4, 32, 32, 1), (5, 31, 32, 1), (5, 32, 31, 1), (5, 32, 32, 2**14)],
    ids=["pixels", "weights", "tile", "overflow"],
)
def test_the_plain_loop_checks_bounds_and_sums(
    pixels: int, weights: int, lanes: int, value: int
) -> None:
    def multiply(pixels: int, weights: int, lanes: int, value: int) -> None:
        sources = np.full(pixels, value, np.int32), (0, 1, 2, 3), np.full(weights, 2**16, np.int32)
        plain(*sources, (2, 1, LANES), np.zeros(lanes, np.int32), LANES)

    multiply(5, 32, 32, 1)
    with pytest.raises((AssertionError, ValueError, OverflowError)):
        multiply(pixels, weights, lanes, value)


@pytest.mark.parametrize(
    ("kind", "wide", "largest"),
    [
        (np.float32, np.float32, None),
        (np.int8, np.int32, 1023),
        (np.int16, np.int64, 32767),
        (np.int8, np.int32, 40000),
        (np.int16, np.int64, None),
        (np.int32, np.int64, 1023),
    ],
)
@given(
    plane=st.tuples(st.integers(3, 6), st.integers(3, 40)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(*[st.integers(0, 2)] * 4),
    channels=st.integers(1, 4),
    outputs=st.sampled_from([1, 16, 17, 24, 40, 150]),
    seed=st.integers(0, 2**16),
)
def test_products_equal_the_dense_convolution(
    kind: Any,
    wide: Any,
    largest: int | None,
    plane: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    channels: int,
    outputs: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    bound = 9 if kind == np.float32 else largest or 100_000
    image = rng.integers(-bound, bound + 1, (channels, *plane)).astype(np.float32)
    limit = 9 if kind == np.float32 else np.iinfo(kind).max
    shape = (outputs, channels, *kernel)
    weight = rng.integers(-limit, limit + 1, shape).astype(kind)
    bias = rng.integers(-9, 10, outputs).astype(wide)
    rows = (plane[0] + padding[0] + padding[2] - kernel[0]) // stride[0] + 1
    columns = (plane[1] + padding[1] + padding[3] - kernel[1]) // stride[1] + 1
    assume(min(rows, columns) > 0)
    output = TensorType((outputs, rows, columns), DType(np.dtype(wide).name))
    values = attributes(groups=1, stride=stride, padding=padding)
    node = Node("conv", "conv2d", ("image",), (), output, "", values)
    pixels = image if kind == np.float32 else image.astype(np.int32)
    expected = OPS["conv2d"].dense(node, [pixels], [weight, bias])
    synapse = Products.of(node, [weight, bias], largest)
    sums = np.empty((rows * columns, outputs), wide)
    source = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    synapse.accumulate(source, only_sums(synapse.bias, sums), Workers(1))
    np.testing.assert_array_equal(sums.T.reshape(expected.shape), expected)
