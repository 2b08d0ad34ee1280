"""Depthwise weights added under masks, one image column at a time, to sums in memory.

A count of n adds its channel's weight n times. Its bits say which of the weight, twice the weight,
four times the weight ... sum up to that: a masked addition each, for a register of channels at
once, instead of a walk from spike to spike.
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
    declared,
    is_whole,
    load_lanes,
    loop,
    pointers,
    store_lanes,
)


def load_mask(builder: Any, masks: Any, at: Any) -> Any:
    """Emit the mask at an element, as a vector of booleans."""
    bits = builder.load(builder.gep(masks, [at]), align=1)
    return builder.bitcast(bits, ir.VectorType(ir.IntType(1), bits.type.width))


def add_where(builder: Any, mask: Any, total: Any, weight: Any) -> Any:
    """Emit the sum of two vectors where the mask is set, elsewhere the first one.

    Not as a selection: LLVM would add the selection of the second vector and zeros, and that is
    two instructions where the first one comes out of a loop.
    """
    kind = total.type
    element = f"i{kind.element.width}" if is_whole(total) else "f32"
    types = [mask.type, kind, kind, ir.IntType(32)]
    merge = declared(builder, ir.FunctionType(kind, types), f"llvm.vp.merge.v{kind.count}{element}")
    whole = ir.IntType(32)(kind.count)
    return builder.call(merge, [mask, add(builder, total, weight), total, whole])


class _Listed:
    """Emits the additions of single masks to sums that lie in memory."""

    def __init__(self, builder: Any, operands: list[Any]) -> None:
        (
            self.masks, self.mask_at, self.listed, self.found, self.weights, self.source,
            self.width, self.stride, self.sums, self.outputs,
        ) = operands  # fmt: skip
        self.builder = builder
        self.lanes = self.masks.type.pointee.width

    def emit(self) -> None:
        """Mask by mask, output by output."""
        loop(self.builder, I64(0), self.found, 1, [], self._one)

    def _one(self, number: Any, held: list[Any]) -> list[Any]:
        builder = self.builder
        place = builder.add(self.mask_at, number)
        column = builder.zext(builder.load(builder.gep(self.listed, [place])), I64)
        mask = load_mask(builder, self.masks, builder.add(self.mask_at, column))
        # Of the outputs whose windows end, or begin, at the column or before it.
        first = self._outputs(builder.sub(column, self.width))
        end = self._outputs(column)

        def one(output: Any, inner: list[Any]) -> list[Any]:
            at = builder.mul(output, I64(self.lanes))
            tap = builder.sub(column, builder.mul(output, self.stride))
            source = builder.add(self.source, builder.mul(tap, I64(self.lanes)))
            total = load_lanes(builder, self.sums, at, self.lanes)
            weight = load_lanes(builder, self.weights, source, self.lanes)
            store_lanes(builder, add_where(builder, mask, total, weight), self.sums, at)
            return inner

        loop(builder, first, end, 1, [], one)
        return held

    def _outputs(self, column: Any) -> Any:
        """How many outputs there are whose windows begin at that column or before it."""
        builder, narrow = self.builder, ir.IntType(32)
        none = builder.icmp_signed("<", column, I64(0))
        # Narrow divisions cost less.
        small = builder.trunc(builder.select(none, I64(0), column), narrow)
        many = builder.zext(builder.udiv(small, builder.trunc(self.stride, narrow)), I64)
        many = builder.select(none, I64(0), builder.add(many, I64(1)))
        less = builder.icmp_signed("<", many, self.outputs)
        return builder.select(less, many, self.outputs)


def _add_listed_intrinsic(
    _: Any,
    masks: Any,
    mask_at: Any,
    listed: Any,
    found: Any,
    weights: Any,
    source: Any,
    width: Any,
    stride: Any,
    sums: Any,
    outputs: Any,
) -> Any:
    signature = types.void(
        masks, mask_at, listed, found, weights, source, width, stride, sums, outputs
    )

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _Listed(builder, pointers(context, builder, signature, args)).emit()
        return context.get_dummy_value()

    return signature, codegen


def add_listed_loop(
    masks: NDArray[Any],
    mask_at: int,
    listed: NDArray[Any],
    found: int,
    weights: NDArray[Any],
    source: int,
    width: int,
    stride: int,
    sums: NDArray[Any],
    outputs: int,
) -> None:
    """Plain twin: add some masks of one image row and bit to all sums they reach.

    Args:
        masks: flat, uint of L bits.
        mask_at: mask of the row's first column.
        listed: flat int32; from ``mask_at`` on the columns whose masks are added.
        found: how many of them.
        weights: flat T.
        source: element of the weights of the first tap; L of each.
        width: taps.
        stride: input columns from one output to the next.
        sums: T[..., L], flat.
        outputs: how many have sums.
    """
    lanes = 8 * masks.itemsize
    assert outputs * lanes <= sums.size
    assert 0 <= source <= weights.size - width * lanes
    for column in listed[mask_at : mask_at + found]:
        under = chosen(masks[mask_at + column])
        for output, tap in enumerate(range(column, column - outputs * stride, -stride)):
            if 0 <= tap < width:
                total = sums[output * lanes : (output + 1) * lanes]
                add_checked(total, weights[source + tap * lanes :][:lanes], under)


def chosen(mask: Any) -> NDArray[np.bool_]:
    """The bits of a mask, from the lowest on, for a plain twin."""
    bits: NDArray[np.bool_] = np.array([int(mask) >> bit & 1 for bit in range(8 * mask.itemsize)])
    return bits.astype(np.bool_)


def add_checked(total: NDArray[Any], weight: NDArray[Any], under: NDArray[np.bool_]) -> None:
    """Add in lanes that must not overflow on the way either, for a plain twin."""
    wide = np.float64 if total.dtype.kind == "f" else np.int64
    exact = total[under].astype(wide) + weight[under]
    total[under] += weight[under]
    assert wide is np.float64 or (total[under] == exact).all()


add_listed = vector_ir(_add_listed_intrinsic, twin=add_listed_loop)
