"""The vector IR of `finish.finish_row` for any neuron: position by position."""

from functools import partial
from typing import Any

from llvmlite import ir

from s2f_sim.kernels.lanes import (
    I64,
    add,
    chosen,
    extent,
    is_whole,
    load_lanes,
    loop,
    multiply,
    splat,
    store_lanes,
    subtract,
    zeros,
)
from s2f_sim.kernels.spiking import LARGEST_COUNT, WINDOW, emit_first, emit_reached

LANES = 16
_I8, _I32 = ir.IntType(8), ir.IntType(32)


class RowEmitter:
    """Emits code into one function.

    Args:
        builder: of the function.
        tile: pointer to the sums.
        finish: members of a `finish.Finish`.
    """

    def __init__(self, builder: Any, tile: Any, finish: dict[str, Any]) -> None:
        self._builder, self._tile, self._finish = builder, tile, finish
        self._channels = extent(builder, finish["bias"], 1)
        levels = extent(builder, finish["comparators"], 0)
        fewer = builder.icmp_signed("<", finish["timesteps"], levels)
        self._levels = builder.select(fewer, finish["timesteps"], levels)
        self._fires = builder.icmp_signed(">", self._levels, I64(0))
        self._kept = builder.icmp_signed(">", finish["membrane"].nitems, I64(0))
        self._remembers = builder.icmp_signed(">", finish["before"].nitems, I64(0))

    def emit(self, tile_at: Any, first: Any, positions: Any) -> None:
        """Emit the loop over positions, whose sums begin at element ``tile_at`` of the tile."""
        builder, channels = self._builder, self._channels
        shared = builder.icmp_signed("==", extent(builder, self._finish["bias"], 0), I64(1))
        few = builder.icmp_signed("<", channels, I64(LANES))

        def position(number: Any, held: list[Any]) -> list[Any]:
            own = builder.mul(builder.add(first, number), channels)
            sums = builder.add(tile_at, builder.mul(number, channels))
            bias = builder.select(shared, I64(0), own)
            with builder.if_else(few) as (narrow, wide):
                with narrow:
                    self._blocks(1, partial(self._finished, sums, bias, own))
                with wide:
                    self._blocks(LANES, partial(self._finished, sums, bias, own))
            with builder.if_then(self._fires):
                self._count(builder.add(first, number), own)
            return held

        loop(builder, I64(0), positions, 1, [], position)

    def _blocks(self, lanes: int, emit: Any) -> None:
        """Emit a position's channels in blocks of lanes."""
        builder, channels = self._builder, self._channels
        last = builder.sub(channels, I64(lanes))

        def block(start: Any, held: list[Any]) -> list[Any]:
            # The last block steps back, not beyond the position: doing lanes twice is harmless.
            begin = builder.select(builder.icmp_signed("<", start, last), start, last)
            emit(begin, lanes)
            return held

        loop(builder, I64(0), builder.add(channels, I64(lanes - 1)), lanes, [], block)

    def _lanes(self, name: str, at: Any, lanes: int) -> Any:
        return load_lanes(self._builder, self._finish[name].data, at, lanes)

    def _sums(self, sums: Any, bias: Any, c: Any, lanes: int) -> Any:
        builder = self._builder
        value = load_lanes(builder, self._tile, builder.add(sums, c), lanes)
        return add(builder, value, self._lanes("bias", builder.add(bias, c), lanes))

    def _finished(self, sums: Any, bias: Any, own: Any, c: Any, lanes: int) -> None:
        """Emit whatever the sums of some lanes may become."""
        builder, finish = self._builder, self._finish
        at = builder.add(own, c)
        scaled = finish["scaled"]

        def shifted(value: Any, scale: str) -> Any:
            return chosen(
                builder,
                scaled,
                value,
                lambda: multiply(builder, value, self._lanes(scale, c, lanes)),
            )

        def with_other() -> Any:
            other = shifted(self._lanes("other", at, lanes), "other_scale")
            return add(builder, other, value)

        value = shifted(self._sums(sums, bias, c, lanes), "scale")
        value = chosen(builder, finish["added"], value, with_other)
        with builder.if_then(self._kept):
            store_lanes(builder, value, finish["membrane"].data, at)
        with builder.if_then(self._fires):
            self._fire(self._widened(value), own, c)

    def _fire(self, value: Any, own: Any, c: Any) -> None:
        """Emit the firing of membranes, or of what has come to membranes that remember."""
        builder, lanes = self._builder, value.type.count
        at = builder.add(own, c)

        def leak(number: int) -> Any:
            place = builder.gep(self._finish["leak"].data, [I64(number)])
            return splat(builder, builder.load(place), lanes)

        def with_rest() -> Any:
            arrived = multiply(builder, value, leak(1))
            return add(builder, self._lanes("before", at, lanes), arrived)

        membrane = chosen(builder, self._remembers, value, with_rest)
        none = zeros(_I32, lanes)
        ask = partial(self._ask, membrane, c, 1)
        _, (count,) = loop(builder, I64(0), self._levels, 1, [none], ask)
        self._store_count(count, own, c)
        with builder.if_then(self._remembers):
            kind = value.type
            whole = is_whole(value)
            spikes = self._widened(count) if whole else builder.sitofp(count, kind)
            spent = multiply(builder, spikes, self._lanes("one_count", c, lanes))
            left = subtract(builder, membrane, spent)
            weaken = builder.ashr if whole else builder.fmul
            store_lanes(builder, weaken(left, leak(0)), self._finish["after"].data, at)

    def _widened(self, value: Any) -> Any:
        """Emit values of the comparators' type."""
        element = self._finish["comparators"].data.type.pointee
        if value.type.element == element:
            return value
        kind = ir.VectorType(element, value.type.count)
        wider = element.width > value.type.element.width
        return self._builder.sext(value, kind) if wider else self._builder.trunc(value, kind)

    def _ask(self, value: Any, c: Any, levels: int, level: Any, held: list[Any]) -> list[Any]:
        """Emit how many of some comparators are reached."""
        builder, lanes = self._builder, value.type.count
        compare = builder.icmp_signed if is_whole(value) else builder.fcmp_ordered
        (count,) = held
        for more in range(levels):
            row = builder.mul(builder.add(level, I64(more)), self._channels)
            comparator = self._lanes("comparators", builder.add(row, c), lanes)
            reached = builder.zext(compare(">=", value, comparator), count.type)
            count = builder.add(count, reached)
        return [count]

    def _store_count(self, count: Any, own: Any, c: Any) -> None:
        narrow = self._builder.trunc(count, ir.VectorType(_I8, count.type.count))
        at = self._builder.add(own, c)
        store_lanes(self._builder, narrow, self._finish["counts"].data, at)

    def _count(self, position: Any, own: Any) -> None:
        """Emit how many neurons of a position spike in each timestep."""
        builder, channels = self._builder, self._channels
        counts, spikes = self._finish["counts"].data, self._finish["spikes"]
        timesteps, positions = (extent(builder, spikes, axis) for axis in range(2))

        def timestep(number: Any, held: list[Any]) -> list[Any]:
            def window(at: Any, total: list[Any]) -> list[Any]:
                level = builder.add(number, I64(1))
                mask = emit_reached(builder, counts, builder.add(own, at), level)
                mask = emit_first(builder, mask, builder.sub(channels, at))
                return [builder.add(total[0], builder.ctpop(mask))]

            end = builder.add(channels, I64(WINDOW - 1))
            _, (total,) = loop(builder, I64(0), end, WINDOW, [I64(0)], window)
            fires = builder.icmp_signed("<", number, I64(LARGEST_COUNT))
            total = builder.select(fires, total, I64(0))
            at = builder.add(builder.mul(number, positions), position)
            builder.store(builder.trunc(total, _I32), builder.gep(spikes.data, [at]))
            return held

        loop(builder, I64(0), timesteps, 1, [], timestep)
