"""Depthwise weights added under masks: of 64 channels at a time those whose counts have a bit set.

A count of n adds its channel's weight n times. Its bits say which of the weight, twice the weight,
four times the weight ... sum up to that: a masked addition each, for 64 channels at once, instead
of a walk from spike to spike.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import vector_ir
from s2f_sim.kernels.lanes import (
    I64,
    add,
    is_whole,
    load_lanes,
    loop,
    pointers,
    splat,
    store_lanes,
    switch,
    zeros,
)
from s2f_sim.kernels.spiking import WINDOW, emit_first

REGISTER_BYTES = 64
UNROLLED = 4
"""Bits of a count up to which a tap is one piece of code."""


def _bits_intrinsic(_: Any, flat: Any, at: Any, end: Any, power: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        counts, at, end, power = pointers(context, builder, signature, args)
        array = context.make_array(signature.args[0])(context, builder, args[0])
        last = builder.sub(array.nitems, I64(WINDOW))
        start = builder.select(builder.icmp_signed("<", at, last), at, last)
        window = load_lanes(builder, counts, start, WINDOW)
        wanted = splat(builder, builder.trunc(power, ir.IntType(8)), WINDOW)
        none = zeros(ir.IntType(8), WINDOW)
        found = builder.icmp_unsigned("!=", builder.and_(window, wanted), none)
        mask = builder.lshr(builder.bitcast(found, I64), builder.sub(at, start))
        return emit_first(builder, mask, builder.sub(end, at))

    return types.uint64(flat, at, end, power), codegen


def bits_loop(flat: NDArray[Any], at: int, end: int, power: int) -> int:
    """Plain twin: bit b is set where ``flat[at + b] & power`` and ``at + b < end``, for b < 64.

    Args:
        flat: uint8, at least 64 counts.
        at: the first of the window; it may reach beyond ``end`` and beyond the array.
        end: one past the last count asked for.
        power: a power of two up to 128.
    """
    assert flat.size >= WINDOW
    assert at < end <= flat.size
    assert power in [1 << bit for bit in range(8)]
    window = flat[at : min(at + WINDOW, end)]
    return sum(1 << bit for bit, count in enumerate(window) if count & power)


def _masked(builder: Any, masks: Any, at: Any, part: int, lanes: int) -> Any:
    """The ``part``-th run of ``lanes`` bits of the mask ``at``, as a vector of booleans."""
    kind = ir.IntType(lanes)
    pieces = builder.bitcast(masks, kind.as_pointer())
    place = builder.add(builder.mul(at, I64(WINDOW // lanes)), I64(part))
    bits = builder.load(builder.gep(pieces, [place]), align=1)
    return builder.bitcast(bits, ir.VectorType(ir.IntType(1), lanes))


class _Taps:
    """Emits the taps of 64 channels of one output position, its sums held in registers."""

    def __init__(self, builder: Any, operands: list[Any], bits: int) -> None:
        (
            self.masks, self.mask_at, self.slot, self.ring, self.row_pitch, self.column_pitch,
            self.weights, self.weight_at, self.pitch, self.depth,
            self.tap, self.rows, self.columns, self.tile, self.at,
        ) = operands  # fmt: skip
        self.builder, self.bits = builder, bits
        lane = self.weights.type.pointee
        self.lane = lane
        size = 4 if isinstance(lane, ir.FloatType) else lane.width // 8
        self.lanes = REGISTER_BYTES // size
        self.registers = WINDOW // self.lanes

    def emit(self) -> None:
        """Rows, columns, bits; then the sums are stored."""
        builder = self.builder
        held = [zeros(self.lane, self.lanes) for _ in range(self.registers)]
        _, held = loop(builder, I64(0), self.rows, 1, held, self._row)
        for k, value in enumerate(held):
            self._store(value, builder.add(self.at, I64(k * self.lanes)))

    def _row(self, row: Any, held: list[Any]) -> list[Any]:
        builder = self.builder
        slot = builder.add(self.slot, row)
        wrapped = builder.sub(slot, self.ring)
        slot = builder.select(builder.icmp_signed("<", slot, self.ring), slot, wrapped)
        base = builder.add(self.mask_at, builder.mul(slot, self.row_pitch))
        taps = builder.mul(row, self.columns)

        def column(number: Any, inner: list[Any]) -> list[Any]:
            place = builder.add(base, builder.mul(number, self.column_pitch))
            tap = builder.add(self.tap, builder.add(taps, number))
            source = builder.add(
                self.weight_at, builder.mul(tap, builder.mul(self.pitch, self.depth))
            )
            if self.bits:
                for bit in range(self.bits):
                    inner = self._add(inner, place, source, I64(bit))
                return inner

            def one(bit: Any, deeper: list[Any]) -> list[Any]:
                return self._add(deeper, place, source, bit)

            return loop(builder, I64(0), self.depth, 1, inner, one)[1]

        return loop(builder, I64(0), self.columns, 1, held, column)[1]

    def _add(self, held: list[Any], place: Any, source: Any, bit: Any) -> list[Any]:
        builder = self.builder
        mask_at = builder.add(place, bit)
        row = builder.add(source, builder.mul(bit, self.pitch))
        added = []
        for k, value in enumerate(held):
            chosen = _masked(builder, self.masks, mask_at, k, self.lanes)
            weight = load_lanes(
                builder, self.weights, builder.add(row, I64(k * self.lanes)), self.lanes
            )
            added.append(builder.select(chosen, add(builder, value, weight), value))
        return added

    def _store(self, value: Any, at: Any) -> None:
        builder, wide = self.builder, self.tile.type.pointee
        if is_whole(value) and value.type.element != wide:
            value = builder.sext(value, ir.VectorType(wide, self.lanes))
        store_lanes(builder, value, self.tile, at)


def _add_masked_intrinsic(
    _: Any,
    masks: Any,
    mask_at: Any,
    slot: Any,
    ring: Any,
    row_pitch: Any,
    column_pitch: Any,
    weights: Any,
    weight_at: Any,
    pitch: Any,
    depth: Any,
    tap: Any,
    rows: Any,
    columns: Any,
    tile: Any,
    at: Any,
) -> Any:
    signature = types.void(
        masks, mask_at, slot, ring, row_pitch, column_pitch, weights, weight_at, pitch, depth, tap,
        rows, columns, tile, at,
    )  # fmt: skip

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        operands = pointers(context, builder, signature, args)
        depth = operands[9]
        few = builder.icmp_signed("<=", depth, I64(UNROLLED))
        case = builder.select(few, depth, I64(0))

        def emitted(bits: int) -> Any:
            return lambda: _Taps(builder, operands, bits).emit()

        switch(builder, case, [emitted(bits) for bits in range(UNROLLED + 1)])
        return context.get_dummy_value()

    return signature, codegen


def add_masked_loop(
    masks: NDArray[Any],
    mask_at: int,
    slot: int,
    ring: int,
    row_pitch: int,
    column_pitch: int,
    weights: NDArray[Any],
    weight_at: int,
    pitch: int,
    depth: int,
    tap: int,
    rows: int,
    columns: int,
    tile: NDArray[Any],
    at: int,
) -> None:
    """Plain twin: the sums of 64 channels of one output position.

    Args:
        masks: flat uint64, a ring of image rows [ring, columns, ..., depth].
        mask_at: the masks of the window's first column, in the ring's first row.
        slot: row of the ring in which the window begins.
        ring: rows of it.
        row_pitch: masks from one row to the next.
        column_pitch: masks from one column to the next.
        weights: flat T[taps, depth, pitch], times 1, 2, 4, ...
        weight_at: first of the channels.
        pitch: channels of a tap's weights, whole windows.
        depth: bits of a count.
        tap: number of the window's first tap.
        rows: of the window.
        columns: of the window.
        tile: out, T or a wider type, 64 of them from ``at`` on.
        at: see ``tile``.
    """
    wide = np.float64 if weights.dtype.kind == "f" else np.int64
    assert 0 <= slot < ring >= rows
    assert 0 <= at <= tile.size - WINDOW
    total = np.zeros(WINDOW, wide)
    channels = np.arange(WINDOW, dtype=np.uint64)
    for row in range(rows):
        for column in range(columns):
            place = mask_at + (slot + row) % ring * row_pitch + column * column_pitch
            for bit in range(depth):
                source = weight_at + ((tap + row * columns + column) * depth + bit) * pitch
                assert 0 <= source <= weights.size - WINDOW
                chosen = (masks[place + bit] >> channels & np.uint64(1)).astype(bool)
                total[chosen] += weights[source : source + WINDOW][chosen]
                # Lanes must not overflow on the way either.
                assert (total == total.astype(weights.dtype)).all() or wide is np.float64
    tile[at : at + WINDOW] = total


bits_of = vector_ir(_bits_intrinsic, twin=bits_loop)
add_masked = vector_ir(_add_masked_intrinsic, twin=add_masked_loop)
