"""Rows of membranes that have all their spikes leave the ring of `patches`, and leave zeros there.

A ring holds the rows of a column as neighbours, so the membranes of one row lie far apart: 16
channels are gathered at a time.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import vector_ir
from s2f_sim.kernels.lanes import (
    I64,
    element_bytes,
    gather_lanes,
    loop,
    pointers,
    splat,
    store_lanes,
    store_masked,
    zeros,
)
from s2f_sim.kernels.patches import CHUNK_BYTES

_TOGETHER = 16
_I16, _I32 = ir.IntType(16), ir.IntType(32)


class _Row:
    """Emits `take_row`: the values first, then the zeros."""

    def __init__(
        self, builder: Any, scratch: Any, pitch: Any, lane: Any, ring: Any, tile: Any, channels: Any
    ) -> None:
        self._builder, self._scratch, self._tile = builder, scratch, tile
        self._pitch, self._lane, self._ring, self._channels = pitch, lane, ring, channels
        self._element, self._wide = scratch.type.pointee, tile.type.pointee

    def _place(self, channel: Any, column: Any) -> Any:
        builder = self._builder
        first = builder.add(builder.mul(channel, self._pitch), self._lane)
        return builder.add(first, builder.mul(column, self._ring))

    def _each(self, end: Any, body: Callable[[Any], None], step: int = 1) -> None:
        def numbered(number: Any, nothing: list[Any]) -> list[Any]:
            body(number)
            return nothing

        loop(self._builder, I64(0), end, step, [], numbered)

    def take_single(self, before: Any, columns: Any) -> None:
        """Emit one value after the other."""
        builder = self._builder

        def take(channel: Any, column: Any) -> None:
            place = self._place(channel, builder.add(before, column))
            value = builder.load(builder.gep(self._scratch, [place]))
            if self._element != self._wide:
                value = builder.sext(value, self._wide)
            at = builder.add(builder.mul(column, self._channels), channel)
            builder.store(value, builder.gep(self._tile, [at]))

        self._each(
            self._channels,
            lambda channel: self._each(columns, lambda column: take(channel, column)),
        )

    def drop_single(self, end: Any) -> None:
        """Emit one zero after the other."""
        builder, zero = self._builder, ir.Constant(self._element, 0)

        def drop(channel: Any, column: Any) -> None:
            place = self._place(channel, column)
            builder.store(zero, builder.gep(self._scratch, [place]))

        self._each(
            self._channels, lambda channel: self._each(end, lambda column: drop(channel, column))
        )

    def take_together(self, before: Any, columns: Any) -> None:
        """Emit 16 channels of a column at a time."""
        builder = self._builder
        last = builder.sub(self._channels, I64(_TOGETHER))
        numbers = ir.Constant(ir.VectorType(I64, _TOGETHER), list(range(_TOGETHER)))
        apart = builder.mul(numbers, splat(builder, self._pitch, _TOGETHER))

        def block(start: Any) -> None:
            # The last block steps back: taking values twice is harmless.
            channel = builder.select(builder.icmp_signed("<", start, last), start, last)

            def take(column: Any) -> None:
                place = self._place(channel, builder.add(before, column))
                places = builder.add(apart, splat(builder, place, _TOGETHER))
                value = self._gathered(places)
                at = builder.add(builder.mul(column, self._channels), channel)
                store_lanes(builder, value, self._tile, at)

            self._each(columns, take)

        end = builder.add(self._channels, I64(_TOGETHER - 1))
        self._each(end, block, _TOGETHER)

    def _gathered(self, places: Any) -> Any:
        """Emit elements from 16 places, widened."""
        builder, wide = self._builder, ir.VectorType(self._wide, _TOGETHER)
        if self._element != _I16:
            value = gather_lanes(builder, self._scratch, places, self._element)
            return value if value.type == wide else builder.sext(value, wide)
        # Processors gather 32 bits: the upper half is another row's.
        pairs = gather_lanes(builder, self._scratch, places, _I32)
        half = ir.Constant(pairs.type, [16] * _TOGETHER)
        value = builder.ashr(builder.shl(pairs, half), half)
        return value if value.type == wide else builder.sext(value, wide)

    def drop_together(self, end: Any, lanes: int) -> None:
        """Emit zeros for one row of the ring, a chunk of columns at a time."""
        builder = self._builder
        numbers = ir.Constant(ir.VectorType(I64, lanes), list(range(lanes)))
        rows = builder.and_(numbers, splat(builder, builder.sub(self._ring, I64(1)), lanes))
        mask = builder.icmp_signed("==", rows, splat(builder, self._lane, lanes))
        nothing = zeros(self._element, lanes)
        # The ring is a power of two, and there is room for whole chunks.
        used = builder.add(builder.mul(end, self._ring), I64(lanes - 1))

        def channel(number: Any) -> None:
            first = builder.mul(number, self._pitch)

            def chunk(at: Any) -> None:
                store_masked(builder, nothing, self._scratch, builder.add(first, at), mask)

            self._each(used, chunk, lanes)

        self._each(self._channels, channel)


def _take_row_intrinsic(
    _: Any,
    scratch: Any,
    pitch: Any,
    lane: Any,
    ring: Any,
    before: Any,
    columns: Any,
    reached: Any,
    channels: Any,
    tile: Any,
) -> Any:
    signature = types.void(scratch, pitch, lane, ring, before, columns, reached, channels, tile)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        scratch, pitch, lane, ring, before, columns, reached, channels, tile = pointers(
            context, builder, signature, args
        )
        row = _Row(builder, scratch, pitch, lane, ring, tile, channels)
        inside, end = builder.add(before, columns), reached
        end = builder.select(builder.icmp_signed(">", inside, end), inside, end)
        lanes = CHUNK_BYTES // element_bytes(scratch.type.pointee)
        vectors = builder.icmp_signed(">=", channels, I64(_TOGETHER))
        vectors = builder.and_(vectors, builder.icmp_signed("<=", ring, I64(lanes)))
        with builder.if_else(vectors) as (together, single):
            with together:
                row.take_together(before, columns)
                row.drop_together(end, lanes)
            with single:
                row.take_single(before, columns)
                row.drop_single(end)
        return context.get_dummy_value()

    return signature, codegen


def take_row_loop(
    scratch: NDArray[Any],
    pitch: int,
    lane: int,
    ring: int,
    before: int,
    columns: int,
    reached: int,
    channels: int,
    tile: NDArray[Any],
) -> None:
    """Plain twin: move one output row from its lane of the ring, and leave zeros.

    Outputs beyond either border are never read, but must not overflow. Zeros fill whole chunks.

    Args:
        scratch: flat membranes, channel by channel, column by column, of ``ring`` rows each.
        pitch: elements from one channel to the next.
        lane: of the row.
        ring: rows of a column.
        before: columns left of the first output.
        columns: outputs of a row.
        reached: columns that spikes can reach.
        channels: how many.
        tile: out, flat T[columns * channels].
    """
    for channel in range(channels):
        first = channel * pitch + lane
        assert first + max(reached - 1, before + columns - 1) * ring < (channel + 1) * pitch
        for column in range(columns):
            tile[column * channels + channel] = scratch[first + (before + column) * ring]
        for column in range(max(reached, before + columns)):
            scratch[first + column * ring] = 0


take_row = vector_ir(_take_row_intrinsic, twin=take_row_loop)
