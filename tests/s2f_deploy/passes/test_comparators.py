from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2f_deploy import Node, TensorType
from s2f_deploy.ir.graph import DType, attributes
from s2f_deploy.passes.comparators import comparators


def neuron(levels: int, rounding: str) -> Node:
    output = TensorType((1,), DType.COUNT, levels)
    return Node(
        "n", "integer_fire", (), (), output, "test", attributes(levels=levels, rounding=rounding)
    )


def exact_count(value: Fraction, levels: int, rounding: str) -> int:
    clipped = min(max(value, Fraction(0)), Fraction(levels))
    # Python rounds a Fraction half to even.
    return round(clipped) if rounding == "half_even" else (clipped + Fraction(1, 2)).__floor__()


ROUNDINGS = st.sampled_from(["half_even", "half_up"])
SCALES = st.one_of(
    st.sampled_from([2.0**-k for k in range(8)]),
    st.floats(1e-3, 1e3, allow_subnormal=False),
)


@given(st.integers(1, 15), ROUNDINGS, SCALES, st.floats(-8, 8), st.data())
def test_float_comparators_are_exact_at_every_neighbour(
    levels: int, rounding: str, scale: float, shift: float, data: st.DataObject
) -> None:
    table = comparators(
        neuron(levels, rounding), DType.FLOAT32, np.array([scale]), np.array([shift])
    )
    assert table.dtype == np.float32
    near = np.float32(data.draw(st.sampled_from(table[:, 0].tolist())))
    for u in (
        near,
        np.nextafter(near, np.float32(-np.inf)),
        np.nextafter(near, np.float32(np.inf)),
    ):
        value = Fraction(float(u)) * Fraction(scale) + Fraction(shift)
        assert int((u >= table[:, 0]).sum()) == exact_count(value, levels, rounding)


@given(st.integers(1, 15), ROUNDINGS, SCALES, st.integers(-(2**20), 2**20))
def test_integer_comparators_are_exact(
    levels: int, rounding: str, scale: float, membrane: int
) -> None:
    table = comparators(neuron(levels, rounding), DType.INT32, np.array([scale]), np.zeros(1))
    assert table.dtype == np.int32
    tie = int(table[levels // 2, 0])
    for u in (membrane, tie, tie - 1, tie + 1):
        count = int((u >= table[:, 0]).sum())
        assert count == exact_count(u * Fraction(scale), levels, rounding)


def test_the_rule_at_exact_ties() -> None:
    even = comparators(neuron(4, "half_even"), DType.FLOAT32, np.ones(1), np.zeros(1))[:, 0]
    up = comparators(neuron(4, "half_up"), DType.FLOAT32, np.ones(1), np.zeros(1))[:, 0]
    ties = [0.5, 1.5, 2.5, 3.5]
    assert [(t >= even).sum() for t in ties] == [0, 2, 2, 4]
    assert [(t >= up).sum() for t in ties] == [1, 2, 3, 4]


@pytest.mark.parametrize("dtype", [DType.INT32, DType.INT64])
def test_a_comparator_beyond_the_type_is_never_reached_or_always(dtype: DType) -> None:
    """Bounds keep the type's largest value free; its smallest is reached by every membrane."""
    ends = np.iinfo(dtype.array_type)
    for shift, want in ((-1e30, ends.max), (1e30, ends.min)):
        table = comparators(neuron(4, "half_up"), dtype, np.array([1e-5]), np.array([shift]))
        assert table.dtype == dtype.array_type
        assert (table == want).all()


def test_one_comparator_set_per_channel() -> None:
    table = comparators(
        neuron(2, "half_up"), DType.FLOAT32, np.array([1.0, 2.0]), np.array([0.0, 0.5])
    )
    assert table.tolist() == [[0.5, 0.0], [1.5, 0.5]]
