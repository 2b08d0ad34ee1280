"""Bilinear upsampling row by row against the dense definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2f_deploy.ir.graph import DType, Node, TensorType
from s2f_deploy.ops import evaluate
from s2f_sim.sampling import read_between
from s2f_sim.workers import Workers


@pytest.mark.parametrize("threads", [1, 2])
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 6), st.integers(1, 6)),
    dtype=st.sampled_from([DType.INT32, DType.INT64, DType.FLOAT32]),
    steps=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**16),
)
def test_rows_are_mixed_as_the_definition_says(
    threads: int, shape: tuple[int, int, int], dtype: DType, steps: int, seed: int
) -> None:
    channels, height, width = shape
    output = TensorType((channels, 2 * height, 2 * width), dtype, steps=steps)
    node = Node("n", "bilinear_upsample", ("x",), (), output, "n")
    values = np.random.default_rng(seed).standard_normal((steps, *shape)) * 1e6
    values = values.astype(np.int32 if dtype.is_integer else np.float32)
    image = values if steps > 1 else values[0]
    want = np.moveaxis(evaluate(node, [image], []), -3, -1)
    last = np.ascontiguousarray(np.moveaxis(image, -3, -1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("s2f_sim.workers.WORTHWHILE_NS", 0)
        found = read_between(node, [last], [], Workers(threads))
    assert found.dtype == want.dtype
    np.testing.assert_array_equal(found, want)
