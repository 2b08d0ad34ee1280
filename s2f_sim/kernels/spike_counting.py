"""How many neurons of each position spike in each timestep."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import kernel
from s2f_sim.kernels.sharing import Share, alone, share_rows
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


@kernel
def add_up(
    spikes: NDArray[Any],
    trains: NDArray[Any],
    reached: NDArray[Any],
    totals: NDArray[Any],
    share: Share,
) -> None:
    """Add up the spikes of trains, and the synapses that they reach.

    Args:
        spikes: int32[...], flat.
        trains: int64[R, 3]: first element of a train in one timestep, one past its last, and where
            the synapses that its positions reach begin, or -1.
        reached: int64[...], synapses by position, flat.
        totals: out, int64[R, 2]: spikes, and synaptic accumulations, 0 if nothing is reached.
        share: of the trains.
    """
    if share_rows(share):
        return
    for row in range(share.first, share.last):
        begin, end, at = trains[row, 0], trains[row, 1], trains[row, 2]
        arrived, accumulated = 0, 0
        train = spikes[begin:end]
        if at < 0:
            for count in train:
                arrived += int(count)
        else:
            synapses = reached[at : at + end - begin]
            for position in range(train.size):
                count = int(train[position])
                arrived += count
                accumulated += count * synapses[position]
        totals[row, 0], totals[row, 1] = arrived, accumulated


def added_up(
    spikes: NDArray[np.int32], reached: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Spikes int32[K, P] of each timestep, and the synapses int64[P] they reach: int64[K, 2]."""
    timesteps, positions = spikes.shape
    trains = np.empty((timesteps, 3), np.int64)
    trains[:, 0] = positions * np.arange(timesteps)
    trains[:, 1] = trains[:, 0] + positions
    trains[:, 2] = -1 if reached is None else 0
    totals = np.empty((timesteps, 2), np.int64)
    nothing = trains[0, :0]
    flat = np.ascontiguousarray(spikes).reshape(-1)
    add_up(flat, trains, nothing if reached is None else reached, totals, alone(timesteps))
    return totals
