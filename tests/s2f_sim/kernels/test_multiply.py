"""The encoding layer against its dense definition."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from s2f_deploy.ir.graph import DType, Node, TensorType, attributes
from s2f_deploy.ops import OPS
from s2f_sim.kernels.finish import only_sums
from s2f_sim.synapses import prepare_products
from s2f_sim.workers import Workers


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
    plane=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(*[st.integers(0, 2)] * 4),
    channels=st.integers(1, 4),
    outputs=st.sampled_from([1, 16, 24, 150]),
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
    expected = (
        OPS["conv2d"].dense(node, [pixels], [weight, bias]) if min(rows, columns) > 0 else None
    )
    if expected is None:
        return
    synapse = prepare_products(node, [weight, bias], largest)
    sums = np.empty((rows * columns, outputs), wide)
    source = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    synapse.accumulate(source, only_sums(synapse.bias, sums), Workers(1))
    np.testing.assert_array_equal(sums.T.reshape(expected.shape), expected)
