"""The neuron of real time, T > 1: a leak hands what is left of a membrane to the next timestep.

u_t = (u_{t-1} − n_{t-1}) · β + x_t,  n_t = clip(round(u_t), 0, D),  β = 2**-s,  u_0 = n_0 = 0

In integers, x_t comes on a grid on which one count is 2**b units, b >= 0. The membrane is kept on a
grid of F = s · (T − 1) more fractional bits, and nothing is ever rounded: U_t is a multiple of
2**(F − s · (t − 1)). For U_1 = x_1 << F that is so. From then on a count, 2**(b + F) fine units,
and x_t << F are multiples of 2**F, hence U − n is a multiple of 2**(F − s · (t − 2)), which the
leak may divide by 2**s as long as t <= T.

Source: the I-LIF neuron of Luo et al. 2024, arXiv:2407.20708; design, section 2.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.elementwise import per_channel


def extra_bits(leak_shift: int, timesteps: int) -> int:
    """F: fractional bits that the membrane has and its input has not.

    >>> extra_bits(2, 4)
    6
    """
    return leak_shift * (timesteps - 1)


def counts_per_unit(count_bits: NDArray[Any], leak_shift: int, timesteps: int) -> NDArray[Any]:
    """float64[C]: one fine unit in counts, the scale by which `comparators` must see membranes.

    Args:
        count_bits: b of every channel, int[C] or [1].
        leak_shift: s, as in β = 2**-s.
        timesteps: T.
    """
    scale: NDArray[Any] = np.ldexp(1.0, -(count_bits + extra_bits(leak_shift, timesteps)))
    return scale


def next_membrane(
    membrane: NDArray[Any],
    counts: NDArray[Any],
    current: NDArray[Any],
    count_bits: NDArray[Any],
    leak_shift: int,
    timesteps: int,
) -> NDArray[Any]:
    """The membrane of timestep t: reset, leak and input, without a rounding for t <= T.

    Args:
        membrane: of timestep t − 1, integers[C, ...] in fine units; zeros for t = 1.
        counts: that it fired, uint8[C, ...].
        current: x_t, integers[C, ...] in its own units.
        count_bits: b of every channel, non-negative int[C] or [1].
        leak_shift: s, as in β = 2**-s.
        timesteps: T.

    Returns:
        Integers of the membrane's type, which must hold `membrane_interval`.
    """
    wide, fine = membrane.dtype, extra_bits(leak_shift, timesteps)
    spent = counts.astype(wide) << per_channel(count_bits + fine, membrane).astype(wide)
    carried = (membrane - spent) >> leak_shift
    result: NDArray[Any] = carried + (current.astype(wide) << fine)
    return result


def membrane_interval(
    current: Interval, levels: int, count_bits: NDArray[Any], leak_shift: int, timesteps: int
) -> Interval:
    """Bounds of the membrane before and after its reset, at every timestep, in fine units.

    What a reset leaves of u in [low, high] is at least min(low, −½): a neuron that fires has
    reached n − ½. It is at most max(min(high, ½), high − D): one that could fire once more is
    clipped. Both ends rise with u's, so that bounds of one timestep give bounds of the next.

    Args:
        current: of x_t, its partial sums included, in its own units.
        levels: D.
        count_bits: b of every channel, non-negative int[C] or [1].
        leak_shift: s, as in β = 2**-s.
        timesteps: T.
    """
    fine = extra_bits(leak_shift, timesteps)
    added = current.with_zero().times(1 << fine)
    count = np.array([1 << (int(bits) + fine) for bits in count_bits], object)
    half = count // 2
    low, high = added.low, added.high
    lowest, highest = low, high
    for timestep in range(1, timesteps + 1):
        left_low = np.minimum(low, -half)
        left_high = np.maximum(np.minimum(high, half), high - levels * count)
        lowest, highest = np.minimum(lowest, left_low), np.maximum(highest, high)
        if timestep < timesteps:
            low = (left_low >> leak_shift) + added.low
            high = -(-left_high >> leak_shift) + added.high
            lowest = np.minimum(lowest, low)
    return Interval(lowest, highest)
