"""What follows the spikes of a row of positions while its sums are still in the cache.

Bias, shift onto the grid of a residual sum, the sum itself, what is left of the timestep before,
firing: every sum is touched once. A membrane's count is the number of comparators it reaches; a NaN
membrane reaches none.
"""

from math import gcd
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.finishing_ir import RowEmitter
from s2f_sim.kernels.finishing_windows import COMPARATORS, USUAL_LEVELS, WindowEmitter
from s2f_sim.kernels.kernel import kernel, vector_ir
from s2f_sim.kernels.lanes import I64, members, pointers
from s2f_sim.kernels.sharing import Share, share_rows
from s2f_sim.kernels.spiking import WINDOW

OVERHANG = WINDOW
"""Counts by which `Finish.counts` is longer than there are neurons: they are read in windows."""

_LONGEST_PATTERN = 4096
_LANE_BYTES = 4


class Finish(NamedTuple):
    """What `finish_row` makes of sums T[P, C], position by position.

    A neuron that remembers has membranes W, float32 or integers that hold whatever it may remember:
    ``u = before + fine · sum``, ``after = (u − n · one count) · leak``; see `s2f_deploy.ops`.

    Attributes:
        bias: T[1 or P, C], added first.
        scaled: whether ``scale`` and ``other_scale`` are anything but ones.
        scale: T[C], powers of two: shifts the sum onto the residual's grid.
        other_scale: T[C], as ``scale``, of the residual.
        comparators: W[D, C], ascending in d; empty if nothing fires. W is T where nothing is
            remembered.
        one_count: W[C], what a spike takes from a membrane that remembers.
        leak: W[2], of integers the shift to the right, of float32 the factor; and ``fine``, units
            of the membrane in one unit of the sums.
        added: whether there is a residual.
        timesteps: only so many comparators are asked.
        patterns: T[7, period * C], see `patterns_of`; empty where they do not serve.
        other: T[P, C], the residual, or empty.
        membrane: out, T[P, C]; empty if nobody reads membranes.
        counts: out, uint8[P * C + OVERHANG]; empty if nothing fires.
        spikes: out, int32[K, P]; row d - 1 counts a position's neurons with ``n >= d``.
        before: W[P, C], what the last real timestep left; empty if nothing is remembered.
        after: out, W[P, C], what this one leaves.
    """

    bias: NDArray[Any]
    scaled: bool
    scale: NDArray[Any]
    other_scale: NDArray[Any]
    comparators: NDArray[Any]
    one_count: NDArray[Any]
    leak: NDArray[Any]
    added: bool
    timesteps: int
    patterns: NDArray[Any]
    other: NDArray[Any]
    membrane: NDArray[Any]
    counts: NDArray[np.uint8]
    spikes: NDArray[np.int32]
    before: NDArray[Any]
    after: NDArray[Any]


def patterns_of(finish: Finish) -> NDArray[Any]:
    """What belongs to a channel, again and again until it fills whole windows.

    Bias, scale, other scale and four comparators, for sums that are fired by so many in as many
    timesteps; nothing if there is a rest to remember, or if the pattern would be long.
    """
    channels = finish.bias.shape[1]
    times = WINDOW // gcd(channels, WINDOW)
    usual = len(finish.comparators) == finish.timesteps == USUAL_LEVELS
    same = finish.comparators.dtype == finish.bias.dtype and finish.bias.itemsize == _LANE_BYTES
    if not usual or not same or finish.one_count.size or times * channels > _LONGEST_PATTERN:
        return finish.bias[:0]
    ones = np.ones(channels, finish.bias.dtype)
    scales = (finish.scale, finish.other_scale) if finish.scaled else (ones, ones)
    rows = np.stack([finish.bias[0], *scales, *finish.comparators])
    assert len(rows) == COMPARATORS + USUAL_LEVELS
    return np.tile(rows, times)


def only_sums(bias: NDArray[Any], membrane: NDArray[Any]) -> Finish:
    """Nothing follows the sums: they are the membranes."""
    none, nothing = bias[:0], bias[:0, 0]
    return Finish(
        bias=bias,
        scaled=False,
        scale=nothing,
        other_scale=nothing,
        comparators=none,
        one_count=nothing,
        leak=nothing,
        added=False,
        timesteps=0,
        patterns=none,
        other=none,
        membrane=membrane,
        counts=np.empty(0, np.uint8),
        spikes=np.empty((0, 0), np.int32),
        before=none,
        after=none,
    )


def _finish_row_intrinsic(
    _: Any, tile: Any, tile_at: Any, first: Any, positions: Any, finish: Any
) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        tile, *place, value = pointers(context, builder, signature, args)
        fields = members(context, builder, signature.args[-1], value)
        usual = builder.icmp_signed(">", fields["patterns"].nitems, I64(0))
        *_, features = context.codegen().magic_tuple()
        with builder.if_else(usual) as (windows, rows):
            with windows:
                WindowEmitter(builder, tile, fields, features).emit(*place)
            with rows:
                RowEmitter(builder, tile, fields).emit(*place)
        return context.get_dummy_value()

    return types.void(tile, tile_at, first, positions, finish), codegen


def finish_row_loop(
    tile: NDArray[Any], tile_at: int, first: int, positions: int, finish: Finish
) -> None:
    """Plain twin: make membranes of the accumulated sums of some positions, and fire them.

    Args:
        tile: sums T[..., C], flat.
        tile_at: element of the first position's first sum.
        first: number of the first position.
        positions: how many.
        finish: what to do.
    """
    channels = finish.bias.shape[1]
    rows = slice(first, first + positions)
    exact: Any = object if tile.dtype.kind == "i" else tile.dtype
    value = tile[tile_at : tile_at + positions * channels].reshape(positions, channels)
    value = value.astype(exact) + (finish.bias if len(finish.bias) == 1 else finish.bias[rows])
    value = value * finish.scale.astype(exact) if finish.scaled else value
    if finish.added:
        held = finish.other[rows].astype(exact)
        value = value + (held * finish.other_scale.astype(exact) if finish.scaled else held)
    sums = value.astype(tile.dtype)
    assert exact is not object or (sums == value).all()
    if finish.membrane.size:
        finish.membrane[rows] = sums
    levels = min(finish.timesteps, len(finish.comparators))
    if levels:
        _fire(sums.astype(finish.comparators.dtype), levels, rows, finish)


def _fire(sums: NDArray[Any], levels: int, rows: slice, finish: Finish) -> None:
    channels, remembers = sums.shape[1], finish.before.size > 0
    shift, fine = finish.leak if remembers else (None, None)
    membrane = finish.before[rows] + sums * fine if remembers else sums
    reached = (membrane >= finish.comparators[:levels, None]).sum(0)
    finish.counts[:-OVERHANG].reshape(-1, channels)[rows] = reached
    for timestep, spikes in enumerate(finish.spikes):
        spikes[rows] = (reached > timestep).sum(1)
    if remembers:
        left = membrane - reached.astype(membrane.dtype) * finish.one_count
        finish.after[rows] = left >> shift if left.dtype.kind == "i" else left * shift


finish_row = vector_ir(_finish_row_intrinsic, twin=finish_row_loop)


@kernel
def finish_positions(sums: NDArray[Any], finish: Finish, share: Share) -> None:
    """`finish_row` of sums T[P * C], for positions of the share."""
    if share_rows(share):
        return
    first = share.first
    finish_row(sums, first * finish.bias.shape[1], first, share.last - first, finish)
