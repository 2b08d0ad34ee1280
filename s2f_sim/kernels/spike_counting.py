"""How many neurons of each position spike in each timestep."""

from typing import Any

from numpy.typing import NDArray

from s2f_sim.kernels.kernel import kernel
from s2f_sim.kernels.spiking import WINDOW, size_of, spiking


@kernel
def count_row(counts: NDArray[Any], first: int, positions: int, spikes: NDArray[Any]) -> None:
    """Write ``spikes[d - 1, p]``, how many counts of a position reach d.

    Args:
        counts: uint8[P, C].
        first: the first position.
        positions: how many.
        spikes: out, int32[K, P].
    """
    channels, levels = counts.shape[1], spikes.shape[0]
    flat = counts.reshape(-1)
    for position in range(first, first + positions):
        begin, end = position * channels, (position + 1) * channels
        for level in range(levels):
            reached, at = 0, begin
            if flat.size < WINDOW:
                while at < end:
                    reached += 1 if flat[at] > level else 0
                    at += 1
            while at < end:
                reached += size_of(spiking(flat, at, end, level + 1))
                at += WINDOW
            spikes[level, position] = reached


@kernel
def count_spikes(counts: NDArray[Any], spikes: NDArray[Any]) -> None:
    """`count_row` of counts uint8[P, C], for every position."""
    count_row(counts, 0, counts.shape[0], spikes)


@kernel
def add_reached(spikes: NDArray[Any], reached: NDArray[Any], totals: NDArray[Any]) -> None:
    """Add up spikes, and the synapses they reach.

    Args:
        spikes: integers[K, P].
        reached: int64[P], synapses a spike reaches from each position.
        totals: int64[2, K], spikes and synaptic accumulations of each timestep, added to.
    """
    for timestep in range(spikes.shape[0]):
        arrived, accumulated = 0, 0
        for position in range(spikes.shape[1]):
            count = int(spikes[timestep, position])
            arrived += count
            accumulated += count * reached[position]
        totals[0, timestep] += arrived
        totals[1, timestep] += accumulated
