from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s2f_models.assignment import assign


@st.composite
def costs(draw: st.DrawFn) -> np.ndarray:
    rows = draw(st.integers(0, 5))
    columns = draw(st.integers(max(rows, 1), 6))
    # Few different values: ties, negative ones and zeros are what goes wrong.
    values = st.integers(-3, 3).map(float) | st.floats(-1e3, 1e3)
    return draw(arrays(np.float64, (rows, columns), elements=values))


@settings(deadline=None)
@given(costs())
def test_no_other_assignment_costs_less(cost: np.ndarray) -> None:
    rows, columns = cost.shape
    chosen = assign(cost)
    assert len(set(chosen.tolist())) == rows
    cheapest = min(
        sum(cost[row, column] for row, column in enumerate(order))
        for order in permutations(range(columns), rows)
    )
    assert cost[np.arange(rows), chosen].sum() == pytest.approx(cheapest, rel=1e-9, abs=1e-9)


def test_rows_move_on_for_a_later_one() -> None:
    cost = np.array([[0.0, 1.0, 9.0], [0.0, 2.0, 9.0], [0.0, 9.0, 9.0]])
    assert assign(cost).tolist() == [1, 0, 2]
    assert assign(cost[[0, 2]]).tolist() == [1, 0]


@pytest.mark.parametrize("cost", [np.zeros((3, 2)), np.array([[np.nan]]), np.array([[np.inf]])])
def test_what_cannot_be_assigned_is_a_bug(cost: np.ndarray) -> None:
    with pytest.raises(AssertionError):
        assign(cost)
