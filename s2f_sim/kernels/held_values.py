"""q (kᵀ v) of counts: every key spike adds its token's values, every query spike a row of those.

Both scatter: the channel that spikes says which row is added where, so that all heads of a token
are one list of events, and what is added to stays in the cache.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.clearing import clear
from s2f_sim.kernels.events import list_row
from s2f_sim.kernels.finish import Finish, finish_row
from s2f_sim.kernels.kernel import kernel, vector_ir
from s2f_sim.kernels.lanes import I64, Body, add, load_lanes, load_some, loop, pointers, store_lanes
from s2f_sim.kernels.sharing import Share, share_rows

LANES = 16
_TOGETHER = 4


def _added_type(builder: Any, value: Any, element: Any) -> Any:
    """Emit counts as numbers of the type they are added to."""
    if value.type.element == element:
        return value
    kind = ir.VectorType(element, value.type.count)
    whole = isinstance(element, ir.IntType)
    return builder.zext(value, kind) if whole else builder.uitofp(value, kind)


def _scatter_intrinsic(
    _: Any,
    index: Any,
    begin: Any,
    end: Any,
    rows: Any,
    row: Any,
    row_of: Any,
    target: Any,
    at: Any,
    target_of: Any,
    width: Any,
) -> Any:
    signature = types.void(index, begin, end, rows, row, row_of, target, at, target_of, width)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        index, begin, end, rows, row, row_of, target, at, target_of, width = pointers(
            context, builder, signature, args
        )

        def event(number: Any, nothing: list[Any]) -> list[Any]:
            channel = builder.zext(builder.load(builder.gep(index, [number])), I64)
            source = builder.add(row, builder.load(builder.gep(row_of, [channel])))
            to = builder.add(at, builder.load(builder.gep(target_of, [channel])))

            def some(lane: Any, few: Any) -> None:
                place = builder.add(to, lane)
                more = load_some(builder, rows, builder.add(source, lane), LANES, few)
                more = _added_type(builder, more, target.type.pointee)
                # The last lanes add zeros to what follows: a masked store is slow to read again.
                held = load_lanes(builder, target, place, LANES)
                store_lanes(builder, add(builder, held, more), target, place)

            def several(groups: int) -> Body:
                def body(lane: Any, nothing: list[Any]) -> list[Any]:
                    for k in range(groups):
                        some(builder.add(lane, I64(k * LANES)), None)
                    return nothing

                return body

            lane, _ = loop(builder, I64(0), width, _TOGETHER * LANES, [], several(_TOGETHER))
            lane, _ = loop(builder, lane, width, LANES, [], several(1))
            with builder.if_then(builder.icmp_signed("<", lane, width)):
                some(lane, builder.sub(width, lane))
            return nothing

        loop(builder, begin, end, 1, [], event)
        return context.get_dummy_value()

    return signature, codegen


def scatter_loop(
    index: NDArray[Any],
    begin: int,
    end: int,
    rows: NDArray[Any],
    row: int,
    row_of: NDArray[Any],
    target: NDArray[Any],
    at: int,
    target_of: NDArray[Any],
    width: int,
) -> None:
    """Plain twin: ``target[at + target_of[c]:] += rows[row + row_of[c]:]`` for each event c.

    Args:
        index: uint32 events.
        begin: the first event.
        end: one past the last.
        rows: flat counts, or numbers of the target's type.
        row: element from which rows are counted.
        row_of: int64, by channel.
        target: flat T.
        at: element from which targets are counted.
        target_of: int64, by channel.
        width: numbers of a row; up to 15 more of the target are read and left as they are.
    """
    for event in index[begin:end]:
        source, to = row + int(row_of[event]), at + int(target_of[event])
        assert 0 <= source <= rows.size - width
        assert 0 <= to <= target.size - -(-width // LANES) * LANES
        target[to : to + width] += rows[source : source + width].astype(target.dtype)


_scatter = vector_ir(_scatter_intrinsic, twin=scatter_loop)


@kernel
def hold_values(
    keys: NDArray[Any],
    tokens: int,
    channels: int,
    values: NDArray[Any],
    value_of: NDArray[Any],
    held: NDArray[Any],
    held_of: NDArray[Any],
    width: int,
    index: NDArray[Any],
    first: NDArray[Any],
    share: Share,
) -> None:
    """kᵀ v of some channels of k: ``held[held_of[c]:]`` adds up what tokens have whose c spikes.

    Args:
        keys: uint8[M * C] counts, see `events.flat_window`.
        tokens: M.
        channels: C.
        values: flat uint8[M * V].
        value_of: int64[C], where in a token's values those of the channel's head begin.
        held: out, T.
        held_of: int64[C], the channels' rows in it, whole `LANES` apart, one after the other.
        width: V / heads.
        index: room for the events of a token, uint32[members, ...], see `events.list_length`.
        first: room for int64[members, 2].
        share: of the channels.
    """
    if share_rows(share):
        return
    index, first = index[share.member], first[share.member]
    first_channel, last_channel = share.first, share.last
    pitch = held.size // channels
    own = held[first_channel * pitch : last_channel * pitch]
    clear(own, own.size)
    outputs = values.size // tokens
    value_of, held_of = value_of[first_channel:], held_of[first_channel:]
    for token in range(tokens):
        start = token * channels + first_channel
        list_row(keys, start, 1, last_channel - first_channel, index, 0, first, 0)
        _scatter(
            index, 0, first[1], values, token * outputs, value_of, held, 0, held_of, width
        )  # fmt: skip


@kernel
def read_values(
    queries: NDArray[Any],
    channels: int,
    held: NDArray[Any],
    held_of: NDArray[Any],
    value_of: NDArray[Any],
    width: int,
    tile_positions: int,
    index: NDArray[Any],
    first: NDArray[Any],
    tile: NDArray[Any],
    finish: Finish,
    share: Share,
) -> None:
    """Q (kᵀ v) of some tokens: every spike of a query adds its channel's row.

    Args:
        queries: uint8[N * C] counts, see `events.flat_window`.
        channels: C.
        held: see `hold_values`.
        held_of: likewise.
        value_of: likewise; so is a row of sums laid out.
        width: likewise.
        tile_positions: tokens that are finished together.
        index: room for the events of a token, uint32[members, ...], see `events.list_length`.
        first: room for int64[members, 2].
        tile: room for T[members, tile_positions * V], and `LANES` more.
        finish: see `Finish`.
        share: of the tokens.
    """
    if share_rows(share):
        return
    index, first, tile = index[share.member], first[share.member], tile[share.member]
    outputs = finish.bias.shape[1]
    for start in range(share.first, share.last, tile_positions):
        left = share.last - start
        positions = tile_positions if tile_positions < left else left
        clear(tile, positions * outputs + LANES)
        for k in range(positions):
            list_row(queries, (start + k) * channels, 1, channels, index, 0, first, 0)
            _scatter(index, 0, first[1], held, 0, held_of, tile, k * outputs, value_of, width)
        finish_row(tile, 0, start, positions, finish)
