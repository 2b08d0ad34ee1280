"""The vector IR of the usual `finish.finish_row`: four comparators, nothing remembered.

Sums of neighbouring positions follow one another, and what belongs to a channel comes again after
a *period*: as many positions as fill whole windows of 64 sums. So windows are full however few
channels there are, and the constants of a window stay in registers while positions go by.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from s2f_sim.kernels.lanes import (
    I64,
    add,
    chosen,
    declared,
    extent,
    is_whole,
    load_lanes,
    load_some,
    loop,
    multiply,
    store_some,
)
from s2f_sim.kernels.spiking import WINDOW, emit_first, emit_reached

USUAL_LEVELS = 4
BIAS, SCALE, OTHER_SCALE, COMPARATORS = range(4)
"""Rows of `Finish.patterns`; the comparators are the last ones."""

_LANES = 16
_GROUPS = WINDOW // _LANES
_I8, _I16, _I32 = (ir.IntType(bits) for bits in (8, 16, 32))


class WindowEmitter:
    """Emits code into one function.

    Args:
        builder: of the function.
        tile: pointer to the sums.
        finish: members of a `finish.Finish`.
        features: of the processor.
    """

    def __init__(self, builder: Any, tile: Any, finish: dict[str, Any], features: str) -> None:
        self._builder, self._tile, self._finish = builder, tile, finish
        self._packs = "+avx512bw" in features.split(",")
        self._channels = extent(builder, finish["bias"], 1)
        self._period = extent(builder, finish["patterns"], 1)
        self._mapped = builder.icmp_signed("!=", extent(builder, finish["bias"], 0), I64(1))
        self._kept = builder.icmp_signed(">", finish["membrane"].nitems, I64(0))

    def emit(self, tile_at: Any, first: Any, positions: Any) -> None:
        """Emit the loops over windows and periods, then the one that counts spikes."""
        builder = self._builder
        own = builder.mul(first, self._channels)
        sums = builder.mul(positions, self._channels)
        more = builder.or_(self._mapped, self._kept)
        for field in ("scaled", "added"):
            more = builder.or_(more, self._finish[field])
        self._windows(tile_at, own, sums, more)
        self._count(first, positions)

    def _windows(self, tile_at: Any, own: Any, sums: Any, more: Any) -> None:
        builder, period = self._builder, self._period
        periods = builder.udiv(sums, period)
        whole = builder.mul(periods, period)

        def window(begin: Any, nothing: list[Any]) -> list[Any]:
            bias, *comparators = self._constants(begin)

            def fire(at: Any, left: Any, value: Callable[..., Any]) -> None:
                tile, target = builder.add(tile_at, at), builder.add(own, at)
                counts = []
                for k in range(_GROUPS):
                    offset = I64(k * _LANES)
                    place = [builder.add(base, offset) for base in (tile, target, begin)]
                    few = None if left is None else builder.sub(left, offset)
                    asked = [level[k] for level in comparators]
                    counts.append(self._reached(value(*place, bias[k], few), asked))
                found = self._packed(counts)
                store_some(builder, found, self._finish["counts"].data, target, left)

            def each(value: Callable[..., Any]) -> None:
                def one(number: Any, held: list[Any]) -> list[Any]:
                    fire(builder.add(builder.mul(number, period), begin), None, value)
                    return held

                loop(builder, I64(0), periods, 1, [], one)

            # Most neurons fire the sums of one layer as they are: no branches, then.
            with builder.if_else(more) as (other, alone):
                with other:
                    each(self._finished)
                with alone:
                    each(self._sum)
            rest = builder.add(whole, begin)
            with builder.if_then(builder.icmp_signed("<", rest, sums)):
                fire(rest, builder.sub(sums, rest), self._finished)
            return nothing

        loop(builder, I64(0), period, WINDOW, [], window)

    def _pattern(self, row: int, at: Any) -> Any:
        at = self._builder.add(self._builder.mul(I64(row), self._period), at)
        return load_lanes(self._builder, self._finish["patterns"].data, at, _LANES)

    def _constants(self, begin: Any) -> list[list[Any]]:
        """Bias, then comparators of every level, of the groups of a window."""
        starts = [self._builder.add(begin, I64(k * _LANES)) for k in range(_GROUPS)]
        rows = BIAS, *range(COMPARATORS, COMPARATORS + USUAL_LEVELS)
        return [[self._pattern(row, start) for start in starts] for row in rows]

    def _sum(self, tile: Any, _own: Any, _pattern: Any, bias: Any, _few: Any) -> Any:
        """Emit whole windows of sums that nothing is added to and nobody reads."""
        return add(self._builder, load_lanes(self._builder, self._tile, tile, _LANES), bias)

    def _finished(self, tile: Any, own: Any, pattern: Any, bias: Any, few: Any) -> Any:
        """Emit whatever sums may become before they fire."""
        builder, finish = self._builder, self._finish

        def flat(name: str) -> Any:
            return load_some(builder, finish[name].data, own, _LANES, few)

        def scaled(value: Any, row: int) -> Any:
            scale = lambda: multiply(builder, value, self._pattern(row, pattern))  # noqa: E731
            return chosen(builder, finish["scaled"], value, scale)

        def with_other() -> Any:
            return add(builder, scaled(flat("other"), OTHER_SCALE), value)

        bias = chosen(builder, self._mapped, bias, lambda: flat("bias"))
        sums = load_some(builder, self._tile, tile, _LANES, few)
        value = scaled(add(builder, sums, bias), SCALE)
        value = chosen(builder, finish["added"], value, with_other)
        with builder.if_then(self._kept):
            store_some(builder, value, finish["membrane"].data, own, few)
        return value

    def _reached(self, value: Any, comparators: list[Any]) -> Any:
        """Emit how many comparators are reached."""
        builder = self._builder
        compare = builder.icmp_signed if is_whole(value) else builder.fcmp_ordered
        kind = ir.VectorType(_I32, _LANES)
        ones = [builder.zext(compare(">=", value, asked), kind) for asked in comparators]
        count = ones[0]
        for one in ones[1:]:
            count = builder.add(count, one)
        return count

    def _packed(self, groups: list[Any]) -> Any:
        """Emit small numbers in 32 bits, 16 by 16, as 64 bytes."""
        builder = self._builder
        if not self._packs:
            while len(groups) > 1:
                size = 2 * groups[0].type.count
                order = ir.Constant(ir.VectorType(_I32, size), list(range(size)))
                pairs = zip(groups[::2], groups[1::2], strict=True)
                groups = [builder.shuffle_vector(a, b, order) for a, b in pairs]
            return builder.trunc(groups[0], ir.VectorType(_I8, WINDOW))
        wide, short = ir.VectorType(_I32, _LANES), ir.VectorType(_I16, 2 * _LANES)
        narrow = ir.VectorType(_I8, WINDOW)
        to_short = declared(
            builder, ir.FunctionType(short, [wide, wide]), "llvm.x86.avx512.packssdw.512"
        )
        to_bytes = declared(
            builder, ir.FunctionType(narrow, [short, short]), "llvm.x86.avx512.packuswb.512"
        )
        halves = [builder.call(to_short, groups[k : k + 2]) for k in (0, 2)]
        mixed = builder.bitcast(builder.call(to_bytes, halves), wide)
        # Both work in quarters of a register: a quarter now holds 4 counts of every group.
        order = [4 * quarter + group for group in range(_GROUPS) for quarter in range(4)]
        lanes = ir.Constant(ir.VectorType(_I32, _LANES), order)
        return builder.bitcast(builder.shuffle_vector(mixed, mixed, lanes), narrow)

    def _count(self, first: Any, positions: Any) -> None:
        """Emit how many neurons of each position spike in each timestep."""
        builder, channels = self._builder, self._channels
        counts, spikes = self._finish["counts"].data, self._finish["spikes"]
        pitch = extent(builder, spikes, 1)
        levels = [I64(level) for level in range(1, USUAL_LEVELS + 1)]

        def position(number: Any, nothing: list[Any]) -> list[Any]:
            here = builder.add(first, number)
            own = builder.mul(here, channels)

            def window(at: Any, totals: list[Any]) -> list[Any]:
                left = builder.sub(channels, at)
                start = builder.add(own, at)
                masks = [emit_reached(builder, counts, start, level) for level in levels]
                masks = [emit_first(builder, mask, left) for mask in masks]
                found = [builder.ctpop(mask) for mask in masks]
                return [builder.add(*pair) for pair in zip(totals, found, strict=True)]

            end = builder.add(channels, I64(WINDOW - 1))
            _, totals = loop(builder, I64(0), end, WINDOW, [I64(0)] * USUAL_LEVELS, window)
            for level, total in enumerate(totals):
                at = builder.add(builder.mul(I64(level), pitch), here)
                builder.store(builder.trunc(total, _I32), builder.gep(spikes.data, [at]))
            return nothing

        loop(builder, I64(0), positions, 1, [], position)
