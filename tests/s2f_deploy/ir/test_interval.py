"""Bounds in Python's integers: what they promise, and that they promise no more than needed."""

from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2f_deploy.ir.graph import DType
from s2f_deploy.ir.interval import Interval

ENDS = st.integers(-(2**70), 2**70)


def interval(*ends: tuple[int, int]) -> Interval:
    low, high = zip(*ends, strict=True)
    return Interval(np.array(low, object), np.array(high, object))


def pairs(bounds: Interval) -> list[tuple[int, int]]:
    return list(zip(bounds.low.tolist(), bounds.high.tolist(), strict=True))


@given(ENDS, ENDS)
def test_bits_are_the_fewest_that_hold_both_ends(a: int, b: int) -> None:
    low, high = min(a, b), max(a, b)
    fewest = next(n for n in count(1) if -(2 ** (n - 1)) <= low and high < 2 ** (n - 1))
    assert Interval.constant(low, high, 3).bits == fewest


@pytest.mark.parametrize(("dtype", "bits"), [(DType.INT32, 31), (DType.INT64, 63)])
def test_the_largest_value_of_a_type_stays_free(dtype: DType, bits: int) -> None:
    assert interval((-(2**bits), 2**bits - 2)).fits(dtype)
    assert not interval((0, 2**bits - 1)).fits(dtype)
    assert not interval((0, 0), (-(2**bits) - 1, 0)).fits(dtype)


def test_reach_is_the_largest_magnitude() -> None:
    assert interval((-3, 2), (1, 2)).reach == 3
    assert interval((2, 5)).reach == 5
    assert interval((-5, -2)).reach == 5
    assert interval((0, 0)).reach == 0


def test_sums_and_products_end_by_end() -> None:
    a, b = interval((-3, 2), (1, 2**62)), interval((-1, 1), (0, 2**62))
    assert pairs(a.plus(b)) == [(-4, 3), (1, 2**63)]
    assert pairs(a.times(4)) == [(-12, 8), (4, 2**64)]
    assert pairs(a.times(np.array([1, 8], object))) == [(-3, 2), (8, 2**65)]
    assert pairs(a.with_zero()) == [(-3, 2), (0, 2**62)]


def naive(ends: Interval, weight: NDArray[Any], bias: NDArray[Any], groups: int) -> list[Any]:
    """Every term at its lowest and its highest, or left out; Python integers only."""
    outputs, fan_in, taps = weight.shape
    found = []
    for o in range(outputs):
        first = o // (outputs // groups) * fan_in
        terms = [
            sorted((0, w * int(ends.low[first + i]), w * int(ends.high[first + i])))
            for i in range(fan_in)
            for w in weight[o, i].tolist()
        ]
        biases = [0, *bias[o].ravel().tolist()]
        assert len(terms) == fan_in * taps
        low = min(biases) + sum(term[0] for term in terms)
        found.append((low, max(biases) + sum(term[-1] for term in terms)))
    return found


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2**20, 2**55]),
    st.sampled_from([8, 127, 2**15 - 1, 2**31 - 1]),
)
def test_weighted_sums_reach_exactly_so_far(seed: int, groups: int, reach: int, limit: int) -> None:
    """Small ends are computed in int64, large ones in Python integers: the bounds are equal."""
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.integers(-reach, reach + 1, (2, 4)), axis=0).astype(object)
    weight = rng.integers(-limit, limit + 1, (6, 4 // groups, 3))
    bias = rng.integers(-limit, limit + 1, (6, 2, 2) if rng.random() < 0.5 else (6,))
    bounds = Interval(low, high)
    assert pairs(bounds.weighted(weight, bias, groups)) == naive(bounds, weight, bias, groups)


@given(st.integers(0, 2**32 - 1))
def test_every_partial_sum_in_every_order_is_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.integers(-9, 10, (2, 3)), axis=0)
    weight, bias = rng.integers(-7, 8, (2, 3, 4)), rng.integers(-20, 21, 2)
    bounds = Interval(low.astype(object), high.astype(object)).weighted(weight, bias, 1)
    inputs = rng.integers(low[:, None], high[:, None] + 1, (3, 4))
    for o in range(2):
        terms = rng.permutation([*(weight[o] * inputs).ravel(), bias[o]])
        partial = np.cumsum(terms)
        assert bounds.low[o] <= partial.min()
        assert partial.max() <= bounds.high[o]
