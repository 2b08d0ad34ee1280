"""What follows the spikes of a row of positions while its sums are still in the cache.

Bias, shift onto the grid of a residual sum, the sum itself, firing: every sum is touched once. A
membrane's count is the number of comparators it reaches; a NaN membrane reaches none.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import kernel, vector_ir
from s2f_sim.kernels.lanes import (
    I64,
    add,
    is_whole,
    load_lanes,
    loop,
    multiply,
    pointers,
    store_lanes,
    zeros,
)
from s2f_sim.kernels.spike_counting import count_row

LANES = 16
_USUAL_LEVELS = 4
_I8, _I32 = ir.IntType(8), ir.IntType(32)


class Finish(NamedTuple):
    """What `finish_row` makes of sums T[P, C], position by position.

    Attributes:
        bias: T[1 or P, C], added first.
        scaled: whether ``scale`` and ``other_scale`` are anything but ones.
        scale: T[C], powers of two: shifts the sum onto the residual's grid.
        added: whether there is a residual.
        other: T[P, C], the residual, or empty.
        other_scale: T[C], as ``scale``.
        membrane: out, T[P, C]; empty if nobody reads membranes.
        comparators: T[D, C], ascending in d; empty if nothing fires.
        timesteps: only so many comparators are asked.
        counts: out, uint8[P, C]; empty if nothing fires.
        spikes: out, int32[K, P]; row d - 1 counts a position's neurons with ``n >= d``.
    """

    bias: NDArray[Any]
    scaled: bool
    scale: NDArray[Any]
    added: bool
    other: NDArray[Any]
    other_scale: NDArray[Any]
    membrane: NDArray[Any]
    comparators: NDArray[Any]
    timesteps: int
    counts: NDArray[np.uint8]
    spikes: NDArray[np.int32]


def _emit_fire(builder: Any, operands: dict[str, Any], value: Any, c: Any, usual: bool) -> None:
    """Emit the counts of some lanes, from channel ``c`` on; ``usual`` of the usual D alone."""
    size = value.type.count
    compare = partial(builder.icmp_signed if is_whole(value) else builder.fcmp_ordered, ">=")

    def asking(levels: int) -> Any:
        def ask(level: Any, held: list[Any]) -> list[Any]:
            (count,) = held
            for more in range(levels):
                row = builder.mul(builder.add(level, I64(more)), operands["channels"])
                comparator = load_lanes(builder, operands["comparators"], builder.add(row, c), size)
                reached = builder.zext(compare(value, comparator), ir.VectorType(_I32, size))
                count = builder.add(count, reached)
            return [count]

        return ask

    levels = operands["levels"]
    none = zeros(_I32, size)
    if usual:
        (total,) = asking(_USUAL_LEVELS)(I64(0), [none])
    else:
        _, (total,) = loop(builder, I64(0), levels, 1, [none], asking(1))
    to = builder.add(operands["counts_at"], c)
    store_lanes(builder, builder.trunc(total, ir.VectorType(_I8, size)), operands["counts"], to)


def _emit_position(builder: Any, operands: dict[str, Any]) -> None:
    """Emit the loop over the channels of one position."""

    def lanes(array: str, start: Any) -> Any:
        return load_lanes(builder, operands[array], start, LANES)

    def at(array: str, c: Any) -> Any:
        return builder.add(operands[f"{array}_at"], c)

    def chosen(condition: str, value: Any, other: Any) -> Any:
        """``other()`` where the condition holds, else the value; the branch is the same for all."""
        before = builder.block
        with builder.if_then(operands[condition]):
            changed = other()
            inside = builder.block
        result = builder.phi(value.type)
        result.add_incoming(value, before)
        result.add_incoming(changed, inside)
        return result

    last = builder.sub(operands["channels"], I64(LANES))

    def summed(start: Any) -> tuple[Any, Any]:
        # The last block steps back, not beyond the position: doing lanes twice is harmless.
        c = builder.select(builder.icmp_signed("<", start, last), start, last)
        return c, add(builder, lanes("tile", at("tile", c)), lanes("bias", at("bias", c)))

    def usual_block(start: Any, held: list[Any]) -> list[Any]:
        c, value = summed(start)
        store_lanes(builder, value, operands["total"], at("total", c))
        _emit_fire(builder, operands, value, c, usual=True)
        return held

    def block(start: Any, held: list[Any]) -> list[Any]:
        c, value = summed(start)
        value = chosen("scaled", value, lambda: multiply(builder, value, lanes("scale", c)))

        def with_other() -> Any:
            other = lanes("other", at("other", c))
            scale = partial(lanes, "other_scale", c)
            other = chosen("scaled", other, lambda: multiply(builder, other, scale()))
            return add(builder, other, value)

        value = chosen("added", value, with_other)
        store_lanes(builder, value, operands["total"], at("total", c))
        with builder.if_then(builder.icmp_signed(">", operands["levels"], I64(0))):
            _emit_fire(builder, operands, value, c, usual=False)
        return held

    end = builder.add(operands["channels"], I64(LANES - 1))
    four = builder.icmp_signed("==", operands["levels"], I64(_USUAL_LEVELS))
    more = builder.or_(operands["scaled"], operands["added"])
    # Most neurons fire the sums of one layer as they are: no branches, then.
    with builder.if_else(builder.and_(four, builder.not_(more))) as (usual, other):
        with usual:
            loop(builder, I64(0), end, LANES, [], usual_block)
        with other:
            loop(builder, I64(0), end, LANES, [], block)


_OPERANDS = (
    *("channels", "tile", "tile_at", "bias", "bias_at", "scaled", "scale", "added", "other"),
    *("other_at", "other_scale", "total", "total_at", "comparators", "levels", "counts"),
    "counts_at",
)


def _finish_lanes_intrinsic(
    _: Any,
    channels: Any,
    tile: Any,
    tile_at: Any,
    bias: Any,
    bias_at: Any,
    scaled: Any,
    scale: Any,
    added: Any,
    other: Any,
    other_at: Any,
    other_scale: Any,
    total: Any,
    total_at: Any,
    comparators: Any,
    levels: Any,
    counts: Any,
    counts_at: Any,
) -> Any:
    signature = types.void(
        channels, tile, tile_at, bias, bias_at, scaled, scale, added, other, other_at, other_scale,
        total, total_at, comparators, levels, counts, counts_at,
    )  # fmt: skip

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = pointers(context, builder, signature, args)
        _emit_position(builder, dict(zip(_OPERANDS, values, strict=True)))
        return context.get_dummy_value()

    return signature, codegen


def finish_lanes_loop(
    channels: int,
    tile: NDArray[Any],
    tile_at: int,
    bias: NDArray[Any],
    bias_at: int,
    scaled: bool,
    scale: NDArray[Any],
    added: bool,
    other: NDArray[Any],
    other_at: int,
    other_scale: NDArray[Any],
    total: NDArray[Any],
    total_at: int,
    comparators: NDArray[Any],
    levels: int,
    counts: NDArray[Any],
    counts_at: int,
) -> None:
    """Plain twin: one position, whose arrays are flat and begin at these elements; see `Finish`."""
    exact: Any = object if tile.dtype.kind == "i" else tile.dtype

    def part(array: NDArray[Any], at: int) -> NDArray[Any]:
        found = array.reshape(-1)[at : at + channels]
        assert found.size == channels
        return found

    value = part(tile, tile_at).astype(exact) + part(bias, bias_at)
    value = value * scale.astype(exact) if scaled else value
    if added:
        held = part(other, other_at).astype(exact)
        value = value + (held * other_scale.astype(exact) if scaled else held)
    membrane = part(total, total_at)
    membrane[:] = value
    assert exact is not object or (membrane == value).all()
    if levels:
        part(counts, counts_at)[:] = (membrane >= comparators[:levels]).sum(0)


_finish_lanes = vector_ir(_finish_lanes_intrinsic, twin=finish_lanes_loop)


@kernel
def _finish_few(
    tile: NDArray[Any], tile_at: int, position: int, finish: Finish, total: NDArray[Any], at: int
) -> None:
    """One position with fewer channels than a register has lanes."""
    levels = min(finish.timesteps, finish.comparators.shape[0])
    shared = position if finish.bias.shape[0] > 1 else 0
    for c in range(finish.bias.shape[1]):
        value = tile[tile_at + c] + finish.bias[shared, c]
        if finish.scaled:
            value *= finish.scale[c]
        if finish.added:
            held = finish.other[position, c]
            value = (held * finish.other_scale[c] if finish.scaled else held) + value
        total[at + c] = value
        if levels:
            count = 0
            for level in range(levels):
                count += 1 if total[at + c] >= finish.comparators[level, c] else 0
            finish.counts[position, c] = count


@kernel
def finish_row(
    tile: NDArray[Any],
    tile_row: int,
    first: int,
    positions: int,
    finish: Finish,
    scratch: NDArray[Any],
) -> None:
    """Make membranes of the accumulated sums of some positions, and fire them.

    Args:
        tile: sums T[..., C], flat.
        tile_row: which of its rows is the first position's.
        first: number of the first position.
        positions: how many.
        finish: what to do.
        scratch: flat T[C] at least, for membranes nobody reads.
    """
    channels = finish.bias.shape[1]
    levels = min(finish.timesteps, finish.comparators.shape[0])
    kept = finish.membrane.size > 0
    total = finish.membrane.reshape(-1) if kept else scratch
    for position in range(first, first + positions):
        tile_at = (tile_row + position - first) * channels
        own = position * channels
        at = own if kept else 0
        if channels < LANES:
            _finish_few(tile, tile_at, position, finish, total, at)
        else:
            _finish_lanes(
                channels, tile, tile_at, finish.bias, own if finish.bias.shape[0] > 1 else 0,
                finish.scaled, finish.scale, finish.added, finish.other, own, finish.other_scale,
                total, at, finish.comparators, levels, finish.counts, own,
            )  # fmt: skip
    if levels:
        count_row(finish.counts, first, positions, finish.spikes)


@kernel
def finish_positions(sums: NDArray[Any], finish: Finish, first: int, last: int) -> None:
    """`finish_row` of sums T[P, C], for positions ``first <= p < last``."""
    scratch = np.empty(sums.shape[1], sums.dtype)
    finish_row(sums.reshape(-1), first, first, last - first, finish, scratch)
