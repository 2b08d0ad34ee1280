"""Sums leave the engine as real values, rounded once, and lie channel by channel."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2f_deploy.ir.graph import DType, Node, TensorType
from s2f_deploy.ops.fixed_point import dense_read_out
from s2f_sim.reading_out import read_out
from s2f_sim.workers import Workers


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("few", [0, 1 << 16])
@given(
    steps=st.sampled_from([1, 1, 3]),
    channels=st.integers(1, 40),
    plane=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    exponents=st.lists(st.integers(-30, 3), min_size=1, max_size=40),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_its_definition_bit_for_bit(
    dtype: type[np.signedinteger],
    threads: int,
    few: int,
    steps: int,
    channels: int,
    plane: tuple[int, int],
    exponents: Sequence[int],
    seed: int,
) -> None:
    limits = np.iinfo(dtype)
    shape = (steps, *plane, channels) if steps > 1 else (*plane, channels)
    # Most of these have more digits than float32.
    sums = np.random.default_rng(seed).integers(limits.min, limits.max, shape, dtype, endpoint=True)
    array = np.array(exponents if len(exponents) == channels else exponents[:1], np.int32)
    output = TensorType((channels, *plane), DType.FLOAT32, steps=steps)
    node = Node("real", "read_out", ("x",), (), output, "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("s2f_sim.workers.WORTHWHILE_NS", 0)
        patch.setattr("s2f_sim.reading_out._FEW", few)
        real = read_out(node, sums, array, Workers(threads))
    by_step = np.moveaxis(sums.reshape(steps, *plane, channels), -1, 1)
    expected = np.stack([dense_read_out(node, [now], [array]) for now in by_step])
    first = np.moveaxis(real.reshape(steps, *plane, channels), -1, 1)
    np.testing.assert_array_equal(first.view(np.uint32), expected.view(np.uint32))
    assert real.shape == sums.shape


def test_is_turned_over_without_another_copy() -> None:
    node = Node("real", "read_out", ("x",), (), TensorType((5, 3, 7), DType.FLOAT32), "")
    real = read_out(node, np.ones((3, 7, 5), np.int32), np.zeros(1, np.int32), Workers(1))
    assert np.moveaxis(real, -1, 0).flags.c_contiguous
