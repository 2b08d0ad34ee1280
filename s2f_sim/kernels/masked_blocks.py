"""Depthwise weights added under masks: sums of several neighbouring outputs in registers.

A mask serves all outputs of a block whose windows it lies in, and a weight all of them, so that
most instructions are additions.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import vector_ir
from s2f_sim.kernels.lanes import I64, load_lanes, loop, pointers, store_lanes, switch, zeros
from s2f_sim.kernels.masked_columns import add_checked, add_where, chosen, load_mask

BLOCK = 7
"""Outputs whose sums are held in registers together; it divides the planes of most networks."""

_UNROLLED = ((3, 1), (5, 1), (7, 1), (3, 2), (5, 2), (7, 2))
"""Width and stride of kernels that are one piece of code."""


class _Block:
    """Emits the sums of the channels of one register, of `BLOCK` outputs."""

    def __init__(self, builder: Any, operands: list[Any]) -> None:
        (
            self.masks, self.mask_at, self.weights, self.passes, self.dense, self.width,
            self.stride, self.sums, self.sum_at, self.tile, self.tile_at, self.pitch, self.copies,
            self.step,
        ) = operands  # fmt: skip
        self.builder = builder
        self.lanes = self.masks.type.pointee.width

    def emit(self) -> None:
        """Add what is dense to what has been added already, and store it."""
        builder, lane = self.builder, self.weights.type.pointee
        places = [builder.add(self.sum_at, I64(column * self.lanes)) for column in range(BLOCK)]
        held = [load_lanes(builder, self.sums, place, self.lanes) for place in places]
        cases = [self._case(held, shape) for shape in (*_UNROLLED, None)]
        held = switch(builder, self._number(), cases)
        wide = self.tile.type.pointee
        if isinstance(lane, ir.IntType) and lane != wide:
            held = [builder.sext(total, ir.VectorType(wide, self.lanes)) for total in held]
        for place in places:
            store_lanes(builder, zeros(lane, self.lanes), self.sums, place)

        def copy(number: Any, _: list[Any]) -> list[Any]:
            at = builder.add(self.tile_at, builder.mul(self.step, number))
            for total in held:
                store_lanes(builder, total, self.tile, at)
                at = builder.add(at, self.pitch)
            return []

        loop(builder, I64(0), self.copies, 1, [], copy)

    def _number(self) -> Any:
        """Of the case for this width and stride; the last one is for any."""
        builder, number = self.builder, I64(len(_UNROLLED))
        for known, (width, stride) in enumerate(_UNROLLED):
            same = builder.and_(
                builder.icmp_signed("==", self.width, I64(width)),
                builder.icmp_signed("==", self.stride, I64(stride)),
            )
            number = builder.select(same, I64(known), number)
        return number

    def _case(self, held: list[Any], shape: tuple[int, int] | None) -> Callable[[], list[Any]]:
        builder = self.builder

        def one(number: Any, inner: list[Any]) -> list[Any]:
            pair = builder.mul(number, I64(2))
            place, source = (
                builder.load(builder.gep(self.passes, [builder.add(pair, I64(k))]))
                for k in range(2)
            )
            place = builder.add(place, self.mask_at)
            if shape is None:
                return self._any(place, source, inner)
            return self._unrolled(place, source, inner, *shape)

        return lambda: loop(builder, I64(0), self.dense, 1, held, one)[1]

    def _unrolled(
        self, place: Any, source: Any, held: list[Any], width: int, stride: int
    ) -> list[Any]:
        builder, held = self.builder, list(held)
        weights = [self._weight(source, I64(tap)) for tap in range(width)]
        for column in range((BLOCK - 1) * stride + width):
            mask = load_mask(builder, self.masks, builder.add(place, I64(column)))
            for output in range(BLOCK):
                if 0 <= (tap := column - output * stride) < width:
                    held[output] = add_where(builder, mask, held[output], weights[tap])
        return held

    def _any(self, place: Any, source: Any, held: list[Any]) -> list[Any]:
        builder = self.builder

        def one(tap: Any, inner: list[Any]) -> list[Any]:
            weight, at, added = self._weight(source, tap), builder.add(place, tap), []
            for total in inner:
                mask = load_mask(builder, self.masks, at)
                added.append(add_where(builder, mask, total, weight))
                at = builder.add(at, self.stride)
            return added

        return loop(builder, I64(0), self.width, 1, held, one)[1]

    def _weight(self, source: Any, tap: Any) -> Any:
        at = self.builder.add(source, self.builder.mul(tap, I64(self.lanes)))
        return load_lanes(self.builder, self.weights, at, self.lanes)


def _add_block_intrinsic(
    _: Any,
    masks: Any,
    mask_at: Any,
    weights: Any,
    passes: Any,
    dense: Any,
    width: Any,
    stride: Any,
    sums: Any,
    sum_at: Any,
    tile: Any,
    tile_at: Any,
    pitch: Any,
    copies: Any,
    step: Any,
) -> Any:
    signature = types.void(
        masks, mask_at, weights, passes, dense, width, stride, sums, sum_at, tile, tile_at, pitch,
        copies, step,
    )  # fmt: skip

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _Block(builder, pointers(context, builder, signature, args)).emit()
        return context.get_dummy_value()

    return signature, codegen


def add_block_loop(
    masks: NDArray[Any],
    mask_at: int,
    weights: NDArray[Any],
    passes: NDArray[Any],
    dense: int,
    width: int,
    stride: int,
    sums: NDArray[Any],
    sum_at: int,
    tile: NDArray[Any],
    tile_at: int,
    pitch: int,
    copies: int,
    step: int,
) -> None:
    """Plain twin: finish the sums of `BLOCK` outputs, of as many channels as a mask has bits.

    Args:
        masks: flat, uint of L bits.
        mask_at: first input column that the block looks at.
        weights: flat T, L of them for every tap.
        passes: int64[..., 2], flat: masks of the first column of an image row, and weights of the
            first tap, for every row under the window and every bit.
        dense: how many passes.
        width: taps of one pass.
        stride: input columns from one output to the next.
        sums: flat T[..., L], zero or what has been added already; zero afterwards.
        sum_at: element of the block's first sum.
        tile: out, T or a wider type; L of each output, the channels in the mask's bits.
        tile_at: element of the first output's first channel.
        pitch: elements from one output to the next.
        copies: how often an output is stored, at least once.
        step: elements from one copy to the next, of which the later ones prevail.
    """
    lanes = 8 * masks.itemsize
    for output in range(BLOCK):
        at = sum_at + output * lanes
        assert 0 <= at <= sums.size - lanes
        total = sums[at : at + lanes].copy()
        for place, source in passes[: 2 * dense].reshape(-1, 2):
            for tap in range(width):
                assert 0 <= source + tap * lanes <= weights.size - lanes
                mask = masks[place + mask_at + output * stride + tap]
                weight = weights[source + tap * lanes :][:lanes]
                add_checked(total, weight, chosen(mask))
        sums[at : at + lanes] = 0
        for copy in range(copies):
            to = tile_at + output * pitch + copy * step
            assert 0 <= to <= tile.size - lanes
            tile[to : to + lanes] = total


add_block = vector_ir(_add_block_intrinsic, twin=add_block_loop)
