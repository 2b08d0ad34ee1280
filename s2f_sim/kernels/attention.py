"""Products of spikes with what a network computes: rows are held, counts arrive as events.

Every spike of a matrix of counts A adds a row of R to a row of A R. Attention by its scores does so
twice for every head, B (A R): ((q kᵀ) v)ᵀ = vᵀ (k qᵀ), so A = k, R = qᵀ, B = vᵀ. For q (kᵀ v) see
`held_values`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from s2f_sim.kernels.add_rows import FLOAT_LANES
from s2f_sim.kernels.events import list_length, list_row
from s2f_sim.kernels.kernel import kernel
from s2f_sim.kernels.plain_rows import add_plain_rows, whole_registers
from s2f_sim.kernels.sharing import Share, share_rows
from s2f_sim.kernels.spiking import WINDOW


class _Events(NamedTuple):
    """A or B of every head, among the counts of all of them: elements, and how many."""

    begin: int
    per_head: int
    per_row: int
    row_length: int
    rows: int


class _Rows(NamedTuple):
    """The rows that A or B adds, and those it adds to, among all membranes."""

    begin: int
    per_head: int
    per_row: int
    target: int


@dataclass(frozen=True, eq=False, slots=True)
class Gathering:
    """Operands of `gather`, of all heads.

    Attributes:
        counts: flat uint8 of A and B, and 64 more.
        membranes: flat T: R, then what is added to, [heads, rows, lanes] of every side.
        sides: int64[S, 9], `_Events` and `_Rows` of A, and of B if there is one.
        lanes: of a row, whole registers.
        levels: largest count.
    """

    counts: NDArray[np.uint8]
    membranes: NDArray[Any]
    sides: NDArray[np.int64]
    lanes: int
    levels: int

    def run(self, size: int, share: Share) -> None:
        """Add up some heads, with room for so many members."""
        longest = int(self.sides[:, _Events._fields.index("row_length")].max())
        gather(
            self.counts, self.membranes, self.sides, self.lanes,
            np.empty((size, list_length(1, longest, self.levels)), np.uint32),
            np.empty((size, 2), np.int64), share,
        )  # fmt: skip

    def result(self, heads: int, width: int) -> NDArray[Any]:
        """T[heads, rows of the last side, width], a view."""
        sums = self.membranes[self.sides[-1, -1] :].reshape(heads, -1, self.lanes)
        return sums[:, :, :width]


def scores_first(
    query: NDArray[Any], key: NDArray[Any], value: NDArray[Any], heads: int, dtype: DTypeLike
) -> Gathering:
    """Of counts q uint8[N, C], k uint8[M, C], v uint8[M, V], (q kᵀ) v: [heads, V / heads, N]."""
    (queries, channels), (tokens, outputs) = query.shape, value.shape
    width, value_width = channels // heads, outputs // heads
    sides = [
        _Events(0, width, channels, width, tokens),
        _Events(key.size, value_width * tokens, tokens, tokens, value_width),
    ]
    rows = query.T.astype(dtype)
    return _gathering([key, value.T], sides, rows, (width * queries, queries), queries, heads)


def add_held(counts: NDArray[Any], held: NDArray[Any]) -> Gathering:
    """Of counts uint8[P, I] and T[I + 1, Q], ``held[I] + Σ held[i]`` for every spike: [P, 1, Q].

    Every position is a head.
    """
    positions, sources = counts.shape
    outputs = held.shape[1]
    side = _Events(0, sources, 0, sources, 1)
    gathering = _gathering([counts], [side], held, (0, outputs), outputs, positions)
    gathering.result(positions, outputs)[:] = held[sources]
    return gathering


def _gathering(
    counts: list[NDArray[Any]],
    events: list[_Events],
    rows: NDArray[Any],
    pitches: tuple[int, int],
    width: int,
    heads: int,
) -> Gathering:
    """Lay out A and B, and R, whose heads and rows are ``pitches`` apart, rows ``width`` long."""
    lanes = -(-width // FLOAT_LANES) * FLOAT_LANES
    # Whole registers are read of the last row, too.
    added, begin, target = [], (0, *pitches), rows.size + lanes
    for side in events:
        added.append(_Rows(*begin, target))
        begin = (target, side.rows * lanes, lanes)
        target += heads * side.rows * lanes
    membranes = np.zeros(target, rows.dtype)
    membranes[: rows.size] = rows.ravel()
    flat = np.concatenate([*(one.ravel() for one in counts), np.zeros(WINDOW, np.uint8)])
    sides = np.array([[*a, *b] for a, b in zip(events, added, strict=True)], np.int64)
    return Gathering(flat, membranes, sides, lanes, int(flat.max()))


@kernel
def gather(
    counts: NDArray[Any],
    membranes: NDArray[Any],
    sides: NDArray[Any],
    lanes: int,
    index: NDArray[Any],
    first: NDArray[Any],
    share: Share,
) -> None:
    """Add rows for the spikes of some heads, side by side: first A's, then B's.

    Args:
        counts: see `Gathering`.
        membranes: likewise; added to.
        sides: likewise.
        lanes: likewise.
        index: room for the events of one row of counts, uint32[members, ...], see
            `events.list_length`.
        first: room for int64[members, 2].
        share: of the heads.
    """
    if share_rows(share):
        return
    index, first = index[share.member], first[share.member]
    for head in range(share.first, share.last):
        for side in range(sides.shape[0]):
            begin = sides[side, 0] + head * sides[side, 1]
            rows = sides[side, 4]
            base = sides[side, 5] + head * sides[side, 6]
            pitch = sides[side, 7]
            target = sides[side, 8] + head * rows * lanes
            for row in range(rows):
                start = begin + row * sides[side, 2]
                list_row(counts, start, 1, sides[side, 3], index, 0, first, 0)
                lane = 0
                while lane < lanes:
                    registers = whole_registers((lanes - lane) // FLOAT_LANES)
                    at = target + row * lanes + lane
                    add_plain_rows(
                        index, 0, first[1], membranes, base + lane, pitch, membranes, at, registers
                    )
                    lane += registers * FLOAT_LANES
