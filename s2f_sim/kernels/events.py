"""From spike counts to event lists: which channels spike where, and how often."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import part, vector_ir
from s2f_sim.kernels.lanes import I64, declared, load_lanes, pointers, splat, store_lanes
from s2f_sim.kernels.spiking import LARGEST_COUNT, WINDOW, size_of, spiking

_COMPRESS = f"llvm.x86.avx512.mask.compress.v{WINDOW}i8"
_GROUP = 8
_PIECE = 16
_USUAL = 32
_I8, _I32 = ir.IntType(8), ir.IntType(32)


def list_length(width: int, channels: int, levels: int) -> int:
    """Length of the uint32 list that `list_row` needs for counts ``<= levels``.

    Room for every spike there could be, and for the overhang of vector stores.
    """
    return width * channels * levels + WINDOW


def list_bytes(width: int, channels: int, levels: int) -> int:
    """Memory of the list (uint32) and the offsets (int64) of one image row.

    >>> list_bytes(3, 4, 5) == 4 * (3 * 4 * 5 + 64) + 8 * (3 + 1)
    True
    """
    return 4 * list_length(width, channels, levels) + 8 * (width + 1)


def _append_by_table(builder: Any, operands: list[Any]) -> None:
    """Emit the events of 64 channels, 8 at a time: no branch depends on the spikes."""
    index, at, mask, base, table = operands
    for group in range(0, WINDOW, _GROUP):
        bits = builder.and_(builder.lshr(mask, I64(group)), I64((1 << _GROUP) - 1))
        entry = load_lanes(builder, table, builder.mul(bits, I64(_GROUP)), _GROUP)
        start = builder.trunc(builder.add(base, I64(group)), _I32)
        listed = builder.zext(entry, ir.VectorType(_I32, _GROUP))
        store_lanes(builder, builder.add(listed, splat(builder, start, _GROUP)), index, at)
        at = builder.add(at, builder.ctpop(bits))


def _append_compressed(builder: Any, operands: list[Any]) -> None:
    """Emit the events of 64 channels by AVX-512's byte compression."""
    index, at, mask, base, _ = operands
    window = ir.VectorType(_I8, WINDOW)
    bits = ir.VectorType(ir.IntType(1), WINDOW)
    kind = ir.FunctionType(window, [window, window, bits])
    compress = declared(builder, kind, _COMPRESS)
    numbers, none = ir.Constant(window, list(range(WINDOW))), ir.Constant(window, None)
    packed = builder.call(compress, [numbers, none, builder.bitcast(mask, bits)])
    start = splat(builder, builder.trunc(base, _I32), _PIECE)

    def pieces(begin: int, end: int) -> None:
        for first in range(begin, end, _PIECE):
            lanes = ir.Constant(ir.VectorType(_I32, _PIECE), list(range(first, first + _PIECE)))
            piece = builder.shuffle_vector(packed, none, lanes)
            listed = builder.add(builder.zext(piece, ir.VectorType(_I32, _PIECE)), start)
            store_lanes(builder, listed, index, builder.add(at, I64(first)))

    pieces(0, _USUAL)
    with builder.if_then(builder.icmp_signed(">", builder.ctpop(mask), I64(_USUAL))):
        pieces(_USUAL, WINDOW)


def _append_intrinsic(_: Any, index: Any, at: Any, mask: Any, base: Any, table: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        operands = pointers(context, builder, signature, args)
        *_, features = context.codegen().magic_tuple()
        compresses = "+avx512vbmi2" in features.split(",")
        (_append_compressed if compresses else _append_by_table)(builder, operands)
        return context.get_dummy_value()

    return types.void(index, at, mask, base, table), codegen


def append_loop(index: NDArray[Any], at: int, mask: int, base: int, table: NDArray[Any]) -> None:
    """Plain twin: write ``base + b`` for every bit b set in ``mask``, ascending.

    ``table`` serves processors that cannot compress bytes. Up to 64 numbers from ``at`` on are
    overwritten, however few are wanted.
    """
    del table
    assert 0 <= at <= index.size - WINDOW
    numbers = [base + bit for bit in range(WINDOW) if mask >> bit & 1]
    index[at : at + len(numbers)] = numbers


_append = vector_ir(_append_intrinsic, twin=append_loop)

_SET_BITS = np.array(
    [[*(b for b in range(_GROUP) if bits >> b & 1), *[0] * _GROUP][:_GROUP] for bits in range(256)],
    np.uint8,
)
"""uint8[256, 8]: the numbers of the bits set in each byte, ascending."""


def flat_window(counts: NDArray[Any]) -> NDArray[Any]:
    """The counts flat, followed by zeros if they fill no window."""
    flat = counts.reshape(-1)
    if flat.size < WINDOW:
        return np.concatenate([flat, np.zeros(WINDOW, np.uint8)])
    # Kernels are compiled once more for arrays that are read-only.
    return flat if flat.flags.writeable else flat.copy()


@part
def list_row(
    flat: NDArray[Any],
    start: int,
    width: int,
    channels: int,
    index: NDArray[Any],
    index_at: int,
    first: NDArray[Any],
    first_at: int,
) -> None:
    """List the spikes of one image row, or of any run of neighbouring positions.

    A channel c with count n at column x is listed n times as ``x * C + c``. Columns ascend, so
    that the events of neighbouring positions are neighbours; within a position each 64 channels
    are listed by timestep, then channel.

    Args:
        flat: uint8 counts from `flat_window`.
        start: element of the row's first count.
        width: W.
        channels: C.
        index: out, flat uint32, list_length(W, C, D) of them.
        index_at: element of its first event, number 0.
        first: out, flat int64, W + 1 of them; column x owns the events from ``first[x]`` on and
            before ``first[x + 1]``.
        first_at: element of column 0.
    """
    length = 0
    for x in range(width):
        first[first_at + x] = length
        end = start + (x + 1) * channels
        for at in range(end - channels, end, WINDOW):
            for level in range(1, LARGEST_COUNT + 1):
                mask = spiking(flat, at, end, level)
                if mask == 0:
                    break
                _append(index, index_at + length, mask, at - start, _SET_BITS)
                length += size_of(mask)
    first[first_at + width] = length


def _copy_shifted_intrinsic(_: Any, index: Any, at: Any, shift: Any, merged: Any, to: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, at, shift, target, to = pointers(context, builder, signature, args)
        more = splat(builder, builder.trunc(shift, _I32), _PIECE)
        events = load_lanes(builder, source, at, _PIECE)
        store_lanes(builder, builder.add(events, more), target, to)
        return context.get_dummy_value()

    return types.void(index, at, shift, merged, to), codegen


def copy_shifted_loop(
    index: NDArray[Any], at: int, shift: int, merged: NDArray[Any], to: int
) -> None:
    """Plain twin: copy 16 events and add ``shift`` to each; the caller keeps those it needs."""
    assert at + _PIECE <= index.size
    assert to + _PIECE <= merged.size
    merged[to : to + _PIECE] = index[at : at + _PIECE] + np.uint32(shift)


_copy_shifted = vector_ir(_copy_shifted_intrinsic, twin=copy_shifted_loop)


@part
def merge_rows(
    index: NDArray[Any],
    first: NDArray[Any],
    taps: int,
    width: int,
    top: int,
    height: int,
    shift: int,
    merged: NDArray[Any],
    begins: NDArray[Any],
) -> None:
    """Lists of neighbouring image rows as one list ordered by column, then row.

    So an output position is one loop, whose end the branch predictor misses once and not once
    per kernel row. The events of the k-th row from ``top`` are listed ``shift * k`` larger.

    Args:
        index: uint32[K * list_length(W, C, D)]; row y is listed in the ``y % K``-th part.
        first: int64[K * (W + 1)], likewise.
        taps: K.
        width: W.
        top: the first of K rows; rows beyond the image are silent.
        height: H of the image.
        shift: see above.
        merged: out, uint32, as long as ``index``.
        begins: out, int64[W + 1]; where the events of each column begin.
    """
    begin_y = top if top > 0 else 0
    end_y = top + taps if top + taps < height else height
    pitch = index.size // taps
    length = 0
    for x in range(width):
        begins[x] = length
        for y in range(begin_y, end_y):
            slot = y % taps
            at = slot * (width + 1) + x
            begin = first[at]
            size = first[at + 1] - begin
            begin += slot * pitch
            # Always sixteen copies, keeping ``size``: rarely does a branch depend on it.
            copied = 0
            while True:
                _copy_shifted(index, begin + copied, (y - top) * shift, merged, length + copied)
                copied += _PIECE
                if copied >= size:
                    break
            length += size
    begins[width] = length
