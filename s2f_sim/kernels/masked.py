"""Masks of neighbouring counts: in which of them a bit is set."""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import vector_ir
from s2f_sim.kernels.lanes import (
    I64,
    Body,
    declared,
    load_lanes,
    loop,
    pointers,
    splat,
    store_lanes,
    switch,
    zeros,
)
from s2f_sim.kernels.spiking import LARGEST_COUNT, WINDOW

BITS = 4
"""Bits of a count that are looked at together."""

RUN = 16
"""Masks that are listed together."""

_I8 = ir.IntType(8)


class _Row:
    """Emits the masks of one image row."""

    def __init__(self, builder: Any, operands: list[Any], size: Any) -> None:
        (
            self.flat, self.start, self.width, self.channels, self.left, self.bit, self.bits,
            self.masks, self.place, self.pitch,
        ) = operands  # fmt: skip
        self.builder, self.kind = builder, self.masks.type.pointee
        self.lanes = self.kind.width
        # The last place from which a whole mask of counts can be read.
        self.last = builder.sub(size, I64(self.lanes))

    def emit(self) -> None:
        """Whole masks of counts can be read from all of the row, or perhaps from none of it."""
        builder = self.builder
        end = builder.mul(builder.sub(self.width, I64(1)), self.channels)
        safe = builder.icmp_signed("<=", builder.add(self.start, end), self.last)
        wanted = builder.sub(builder.shl(I64(1), self.left), I64(1))
        whole = builder.icmp_signed(">=", self.left, I64(self.lanes))
        used = builder.trunc(builder.select(whole, I64(-1), wanted), self.kind)
        with builder.if_else(safe) as (all_, none):
            with all_:
                cases = [self._unrolled(used, bits) for bits in range(BITS + 1)]
                switch(builder, self.bits, cases)
            with none:
                loop(builder, I64(0), self.bits, 1, [], lambda number, _: self._last(used, number))

    def _unrolled(self, used: Any, bits: int) -> Callable[[], None]:
        builder = self.builder

        def emit() -> None:
            wanted = [self._wanted(I64(number)) for number in range(bits)]

            def column(x: Any, held: list[Any]) -> list[Any]:
                at = builder.add(self.start, builder.mul(x, self.channels))
                window = load_lanes(builder, self.flat, at, self.lanes)
                for number, one in enumerate(wanted):
                    mask = builder.and_(self._having(window, one), used)
                    self._put(mask, I64(number), x)
                return held

            loop(builder, I64(0), self.width, 1, [], column)

        return emit

    def _last(self, used: Any, number: Any) -> list[Any]:
        builder, wanted = self.builder, self._wanted(number)

        def column(x: Any, held: list[Any]) -> list[Any]:
            at = builder.add(self.start, builder.mul(x, self.channels))
            start = builder.select(builder.icmp_signed("<", at, self.last), at, self.last)
            mask = self._having(load_lanes(builder, self.flat, start, self.lanes), wanted)
            mask = builder.lshr(mask, builder.trunc(builder.sub(at, start), self.kind))
            self._put(builder.and_(mask, used), number, x)
            return held

        loop(builder, I64(0), self.width, 1, [], column)
        return []

    def _wanted(self, number: Any) -> Any:
        power = self.builder.shl(I64(1), self.builder.add(self.bit, number))
        return splat(self.builder, self.builder.trunc(power, _I8), self.lanes)

    def _having(self, window: Any, wanted: Any) -> Any:
        """Which of the counts have the bit."""
        found = self.builder.and_(window, wanted)
        found = self.builder.icmp_unsigned("!=", found, zeros(_I8, self.lanes))
        return self.builder.bitcast(found, self.kind)

    def _put(self, mask: Any, number: Any, x: Any) -> None:
        builder = self.builder
        place = builder.add(builder.add(self.place, builder.mul(self.pitch, number)), x)
        builder.store(mask, builder.gep(self.masks, [place]))


def _put_masks_intrinsic(
    _: Any,
    flat: Any,
    start: Any,
    width: Any,
    channels: Any,
    left: Any,
    bit: Any,
    bits: Any,
    masks: Any,
    place: Any,
    pitch: Any,
) -> Any:
    signature = types.void(flat, start, width, channels, left, bit, bits, masks, place, pitch)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        operands = pointers(context, builder, signature, args)
        _Row(builder, operands, array.nitems).emit()
        return context.get_dummy_value()

    return signature, codegen


def put_masks_loop(
    flat: NDArray[Any],
    start: int,
    width: int,
    channels: int,
    left: int,
    bit: int,
    bits: int,
    masks: NDArray[Any],
    place: int,
    pitch: int,
) -> None:
    """Plain twin: masks of one image row and window of channels, a bit for every count.

    Args:
        flat: uint8 counts, at least 64.
        start: element of the window's first count, in the row's first column.
        width: columns of the image.
        channels: counts from one column to the next.
        left: channels that are left from the window's first on; lanes beyond them are 0.
        bit: the first bit of a count that is looked at.
        bits: how many of them, from 1 to `BITS`.
        masks: out, flat, uint of 8 to 32 bits.
        place: element of the first bit's first mask.
        pitch: elements from one bit to the next.
    """
    lanes = 8 * masks.itemsize
    assert flat.size >= WINDOW
    assert 0 < left <= channels
    assert 0 <= start <= flat.size - (width - 1) * channels - left
    assert 0 <= bit < bit + bits <= LARGEST_COUNT.bit_length()
    assert 1 <= bits <= BITS
    assert 0 <= place <= masks.size - (bits - 1) * pitch - width
    for x in range(width):
        counts = flat[start + x * channels :][: min(lanes, left)] >> bit
        for k in range(bits):
            mask = sum(1 << lane for lane, count in enumerate(counts) if count >> k & 1)
            masks[place + k * pitch + x] = mask


def _list_masks_intrinsic(_: Any, masks: Any, place: Any, columns: Any, listed: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        masks, place, columns, listed = pointers(context, builder, signature, args)
        number = listed.type.pointee
        vector = ir.VectorType(number, RUN)
        bits = ir.VectorType(ir.IntType(1), RUN)
        kind = ir.FunctionType(ir.VoidType(), [vector, listed.type, bits])
        compress = declared(builder, kind, f"llvm.masked.compressstore.v{RUN}i{number.width}")

        def run(column: Any, held: list[Any]) -> list[Any]:
            (found,) = held
            some = load_lanes(builder, masks, builder.add(place, column), RUN)
            spiking = builder.icmp_unsigned("!=", some, zeros(masks.type.pointee, RUN))
            numbers = splat(builder, builder.trunc(column, number), RUN)
            numbers = builder.add(numbers, ir.Constant(vector, list(range(RUN))))
            at = builder.gep(listed, [builder.add(place, found)])
            builder.call(compress, [numbers, at, spiking])
            many = builder.ctpop(builder.bitcast(spiking, ir.IntType(RUN)))
            return [builder.add(found, builder.zext(many, I64))]

        return loop(builder, I64(0), columns, RUN, [I64(0)], run)[1][0]

    return types.int64(masks, place, columns, listed), codegen


def list_masks_loop(
    masks: NDArray[Any], place: int, columns: int, listed: NDArray[np.int32]
) -> int:
    """Plain twin: list the columns of one image row whose masks are not silent, in ascending order.

    Args:
        masks: flat uint.
        place: element of the first mask.
        columns: of the row, whole runs of `RUN`.
        listed: out, flat int32, from ``place`` on.

    Returns:
        How many they are.
    """
    assert columns % RUN == 0
    assert 0 <= place <= min(masks.size, listed.size) - columns
    (found,) = masks[place : place + columns].nonzero()
    listed[place : place + len(found)] = found
    return len(found)


def _join_masks_intrinsic(
    _: Any, masks: Any, row: Any, columns: Any, together: Any, stride: Any, left: Any
) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        masks, row, columns, together, stride, left = pointers(context, builder, signature, args)

        def run(lanes: int) -> Body:
            def emit(column: Any, held: list[Any]) -> list[Any]:
                place = builder.add(row, column)

                def another(output: Any, joined: list[Any]) -> list[Any]:
                    further = builder.add(place, builder.mul(output, stride))
                    shift = builder.trunc(builder.mul(output, left), masks.type.pointee)
                    mask = load_lanes(builder, masks, further, lanes)
                    mask = builder.shl(mask, splat(builder, shift, lanes))
                    return [builder.or_(joined[0], mask)]

                first = load_lanes(builder, masks, place, lanes)
                _, (joined,) = loop(builder, I64(1), together, 1, [first], another)
                store_lanes(builder, joined, masks, place)
                return held

            return emit

        further = builder.mul(builder.sub(together, I64(1)), stride)
        end = builder.sub(columns, further)
        column, _ = loop(builder, I64(0), end, RUN, [], run(RUN))
        loop(builder, column, end, 1, [], run(1))
        return context.get_dummy_value()

    return types.void(masks, row, columns, together, stride, left), codegen


def join_masks_loop(
    masks: NDArray[Any], row: int, columns: int, together: int, stride: int, left: int
) -> None:
    """Plain twin: let each mask of an image row tell of several outputs, side by side.

    Args:
        masks: flat, uint.
        row: element of the row's first mask.
        columns: of the row; the last ones, too near its end, are left as they are.
        together: outputs in a mask.
        stride: columns from one output to the next.
        left: bits of each.
    """
    assert together * left <= 8 * masks.itemsize
    assert 0 <= row <= masks.size - columns
    assert (together - 1) * stride < columns
    for place in range(row, row + columns - (together - 1) * stride):
        mask = int(masks[place])
        for output in range(1, together):
            mask |= int(masks[place + output * stride]) << output * left
        masks[place] = mask


put_masks = vector_ir(_put_masks_intrinsic, twin=put_masks_loop)
list_masks = vector_ir(_list_masks_intrinsic, twin=list_masks_loop)
join_masks = vector_ir(_join_masks_intrinsic, twin=join_masks_loop)
