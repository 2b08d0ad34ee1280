"""Which target each query is compared with: the cheapest assignment, one query for each target.

Source: the Hungarian method by shortest augmenting paths, Jonker and Volgenant 1987.
"""

import numpy as np
from numpy.typing import NDArray


def assign(cost: NDArray[np.float64]) -> NDArray[np.intp]:
    """The column of every row, all different, for which the sum of costs is smallest.

    Args:
        cost: float64[R, C], finite, ``R <= C``.

    Returns:
        intp[R].

    >>> assign(np.array([[1.0, 2.0, 9.0], [1.0, 9.0, 9.0]])).tolist()
    [1, 0]
    """
    rows, columns = cost.shape
    assert rows <= columns
    assert np.isfinite(cost).all()
    # Prices: a cost minus its row's and its column's is never negative, and 0 where assigned.
    of_row, of_column = np.zeros(rows), np.zeros(columns)
    owner = np.full(columns, -1)
    for row in range(rows):
        _add_row(cost, row, of_row, of_column, owner)
    result = np.empty(rows, np.intp)
    taken = np.flatnonzero(owner >= 0)
    result[owner[taken]] = taken
    return result


def _add_row(
    cost: NDArray[np.float64],
    row: int,
    of_row: NDArray[np.float64],
    of_column: NDArray[np.float64],
    owner: NDArray[np.intp],
) -> None:
    """Assign one more row, in place: the rows on the cheapest path to a free column move on."""
    columns = len(owner)
    distance, before = np.full(columns, np.inf), np.full(columns, -1)
    seen = np.zeros(columns, bool)
    current, last, reached = row, -1, 0.0
    while True:
        through = reached + cost[current] - of_row[current] - of_column
        closer = ~seen & (through < distance)
        distance[closer], before[closer] = through[closer], last
        last = int(np.where(seen, np.inf, distance).argmin())
        reached, seen[last] = float(distance[last]), True
        if owner[last] < 0:
            break
        current = int(owner[last])
    passed = np.flatnonzero(seen)
    slack = reached - distance[passed]
    owned = owner[passed] >= 0
    of_row[owner[passed[owned]]] += slack[owned]
    of_row[row] += reached
    of_column[passed] -= slack
    while before[last] >= 0:
        owner[last] = owner[before[last]]
        last = int(before[last])
    owner[last] = row
