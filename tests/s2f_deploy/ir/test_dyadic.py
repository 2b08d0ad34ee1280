from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2f_deploy.ir import dyadic

FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(FLOATS)
def test_the_exponent_leaves_an_odd_integer(value: float) -> None:
    (exponent,) = dyadic.exponents(np.array([value])).tolist()
    if value == 0:
        assert exponent == dyadic.NO_EXPONENT
        return
    units = Fraction(value) / Fraction(2) ** exponent
    assert units.denominator == 1
    assert units.numerator % 2 == 1


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=4))
def test_a_row_has_the_smallest_exponent_of_its_values(rows: list[tuple[float, float]]) -> None:
    values = np.array(rows)
    want = dyadic.exponents(values).min(axis=1)
    assert dyadic.row_exponents(values.reshape(-1, 2, 1)).tolist() == want.tolist()


def test_a_row_of_nothing_lies_on_every_grid() -> None:
    assert dyadic.row_exponents(np.zeros((1, 0))).tolist() == [dyadic.NO_EXPONENT]


@given(st.lists(st.integers(-(2**53) + 1, 2**53 - 1), min_size=1), st.integers(-300, 300))
def test_units_are_the_integers_a_value_stands_for(whole: list[int], exponent: int) -> None:
    values = np.ldexp(np.array(whole, np.float64), exponent)
    exponents = np.full(len(whole), exponent)
    assert dyadic.units(values, exponents).tolist() == whole


@pytest.mark.parametrize(
    ("value", "exponent", "why"),
    [
        (0.75, -1, "no multiple"),
        (2.0**53, 0, "53 bits"),
        (-(2.0**70), 3, "53 bits"),
        (1e300, -900, "53 bits"),
        (2.0**-60, 0, "no multiple"),
    ],
)
def test_a_value_off_its_grid_is_an_error(value: float, exponent: int, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        dyadic.units(np.array([value]), np.array([exponent]))


@pytest.mark.parametrize(
    ("ends", "kind"),
    [
        ((-128, 127), np.int8),
        ((-129, 0), np.int16),
        ((0, 128), np.int16),
        ((0, 2**15), np.int32),
        ((-(2**31), 0), np.int32),
        ((0, 2**31), np.int64),
        ((), np.int8),
    ],
)
def test_the_smallest_type_that_holds_all(ends: tuple[int, ...], kind: Any) -> None:
    assert dyadic.smallest_type(np.array(ends, np.int64)) == kind
