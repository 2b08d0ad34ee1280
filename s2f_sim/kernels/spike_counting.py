"""How many neurons of each position spike in each timestep."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import kernel
from s2f_sim.kernels.spiking import LARGEST_COUNT, WINDOW, size_of, spiking


@kernel
def count_spikes(flat: NDArray[Any], channels: int, spikes: NDArray[Any]) -> None:
    """Write ``spikes[d - 1, p]``, how many counts of a position reach d.

    Args:
        flat: uint8[P * C] counts, at least 64 of them, see `events.flat_window`.
        channels: C.
        spikes: out, int32[K, P].
    """
    for position in range(spikes.shape[1]):
        end = (position + 1) * channels
        for level in range(spikes.shape[0]):
            reached = 0
            for at in range(end - channels, end if level < LARGEST_COUNT else 0, WINDOW):
                reached += size_of(spiking(flat, at, end, level + 1))
            spikes[level, position] = reached


def sum_spikes(spikes: NDArray[Any], sums: NDArray[Any]) -> None:
    """Write how many spikes there are in each timestep.

    Args:
        spikes: int32[K, P].
        sums: out, int64 for at least K timesteps.
    """
    timesteps, positions = spikes.shape
    sum_rows(spikes.reshape(-1), positions * np.arange(timesteps + 1), sums[:timesteps])


@kernel
def sum_rows(spikes: NDArray[Any], begins: NDArray[Any], sums: NDArray[Any]) -> None:
    """`sum_spikes` of many trains that lie one after the other.

    Args:
        spikes: int32[...], flat.
        begins: int64[R + 1], first element of every row, and one past the last.
        sums: out, int64[R].
    """
    for row in range(sums.size):
        arrived = 0
        for count in spikes[begins[row] : begins[row + 1]]:
            arrived += int(count)
        sums[row] = arrived


@kernel
def add_reached(spikes: NDArray[Any], reached: NDArray[Any], totals: NDArray[Any]) -> None:
    """Add up spikes, and the synapses they reach.

    Args:
        spikes: int32[K, P].
        reached: int64[P], synapses a spike reaches from each position.
        totals: int64[2, K or more], spikes and synaptic accumulations of each timestep, added to.
    """
    for timestep in range(spikes.shape[0]):
        arrived, accumulated = 0, 0
        for position in range(spikes.shape[1]):
            count = spikes[timestep, position]
            arrived += count
            accumulated += count * reached[position]
        totals[0, timestep] += arrived
        totals[1, timestep] += accumulated
