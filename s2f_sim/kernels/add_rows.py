"""Adding weight rows to membranes because spikes came: the loop that decides the speed.

A block of membranes is held in vector registers while the rows of all its events are added.

Integer weights arrive in pairs, see `packing`: one lane holds ``256 * odd + (even + 128)`` of two
int8 weights (65536 and 32768 of int16). Added up, lanes wrap; a second register adds their upper
halves alone, the odd weights. After a burst of ``n`` events the even sums are the first register
less 256 times the second less ``128 n``, all modulo the lane. A register of 64 bytes so takes in
64 int8 weights with three instructions, where widening each weight would take four.
Bursts are short enough for both sums to fit a lane, then they are added to the wide membranes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import vector_ir
from s2f_sim.kernels.lanes import (
    I64,
    add,
    load_lanes,
    loop,
    pointers,
    splat,
    store_lanes,
    switch,
    zeros,
)

REGISTER_BYTES = 64
SHAPES = (
    (0.25,),
    (0.5,),
    (1.0,),
    (1.0, 0.5),
    (1.0, 1.0),
    (1.0, 1.0, 1.0),
    (1.0, 1.0, 1.0, 1.0),
)
"""Registers, in parts of 64 bytes, of which a block of pairs may be made."""

FLOAT_LANES = 16
_MOST_REGISTERS = 8
FLOAT_REGISTERS = (1, 2, 3, 4, 6, 8)
"""Registers of 16 lanes of which a block of float32 weights may be made."""


def shape_lanes(shape: int, itemsize: int) -> tuple[int, ...]:
    """Lanes of pairs in each register of one of `SHAPES`.

    >>> shape_lanes(3, 2)
    (32, 16)
    """
    return tuple(int(part * REGISTER_BYTES) // itemsize for part in SHAPES[shape])


def _row_of(
    builder: Any, operands: list[Any], event: Any, turn: int, registers: tuple[int, ...]
) -> list[Any]:
    """The registers of the row that the ``turn``-th event after ``event`` adds."""
    at = _row_at(builder, operands, builder.add(event, I64(turn)))
    return _loaded(builder, operands, at, registers)


def _row_at(builder: Any, operands: list[Any], event: Any) -> Any:
    index, _, _, _, base, pitch = operands[:6]
    source = builder.load(builder.gep(index, [event]))
    return builder.add(base, builder.mul(builder.zext(source, I64), pitch))


def _row_or_silence(
    builder: Any,
    operands: list[Any],
    event: Any,
    turn: int,
    registers: tuple[int, ...],
    last: Any,
    silence: Any,
) -> list[Any]:
    """`_row_of`, or a row of zeros if ``last`` comes before that event."""
    own = builder.add(event, I64(turn))
    there = builder.icmp_signed("<", own, last)
    at = _row_at(builder, operands, builder.select(there, own, event))
    return _loaded(builder, operands, builder.select(there, at, silence), registers)


def _loaded(builder: Any, operands: list[Any], at: Any, registers: tuple[int, ...]) -> list[Any]:
    rows, loaded, offset = operands[3], [], 0
    for lanes in registers:
        loaded.append(load_lanes(builder, rows, builder.add(at, I64(offset)), lanes))
        offset += lanes
    return loaded


def _emit_pairs(builder: Any, operands: list[Any], registers: tuple[int, ...]) -> None:
    """Emit `add_rows` of pairs for one shape of block: burst after burst."""
    _, begin, end, _, _, _, _, _, burst, _ = operands
    entry = builder.block
    head, inside, done = (builder.append_basic_block(part) for part in ("bursts", "burst", "end"))
    builder.branch(head)
    builder.position_at_end(head)
    first = builder.phi(I64)
    first.add_incoming(begin, entry)
    builder.cbranch(builder.icmp_signed("<", first, end), inside, done)
    builder.position_at_end(inside)
    limit = builder.add(first, burst)
    last = builder.select(builder.icmp_signed("<", limit, end), limit, end)
    _emit_burst(builder, operands, registers, first, last)
    first.add_incoming(last, builder.block)
    builder.branch(head)
    builder.position_at_end(done)


def _emit_burst(
    builder: Any, operands: list[Any], registers: tuple[int, ...], first: Any, last: Any
) -> None:
    _, _, _, rows, _, _, target, at, _, silence = operands
    lane = rows.type.pointee
    half = lane.width // 2
    shifts = [ir.Constant(ir.VectorType(lane, n), [half] * n) for n in registers]
    unrolled = 4 if len(registers) == 1 else 2

    def added(held: list[Any], row: list[Any]) -> list[Any]:
        sums = []
        for k, part in enumerate(row):
            sums.append(builder.add(held[2 * k], part))
            sums.append(builder.add(held[2 * k + 1], builder.ashr(part, shifts[k])))
        return sums

    def add_events(event: Any, held: list[Any]) -> list[Any]:
        for turn in range(unrolled):
            held = added(held, _row_of(builder, operands, event, turn, registers))
        return held

    held = [zeros(lane, n) for n in registers for _ in range(2)]
    event, held = loop(builder, first, builder.sub(last, I64(1)), unrolled, held, add_events)
    # One to ``unrolled`` events are left. Rows of zeros fill up the round: a loop over what is left
    # would end where the branch predictor does not expect it.
    held = added(held, _row_of(builder, operands, event, 0, registers))
    for turn in range(1, unrolled):
        row = _row_or_silence(builder, operands, event, turn, registers, last, silence)
        held = added(held, row)
    events = builder.add(builder.sub(event, first), I64(unrolled))
    excess = builder.shl(builder.trunc(events, lane), lane(half - 1))
    offset = 0
    for k, lanes in enumerate(registers):
        odd = held[2 * k + 1]
        even = builder.sub(held[2 * k], builder.shl(odd, shifts[k]))
        even = builder.sub(even, splat(builder, excess, lanes))
        for sums in (even, odd):
            _add_to(builder, sums, target, builder.add(at, I64(offset)))
            offset += lanes


def _add_to(builder: Any, sums: Any, target: Any, at: Any) -> None:
    """Emit ``target[at:] += sums``, widened to the target."""
    lanes = sums.type.count
    if target.type.pointee.width > sums.type.element.width:
        sums = builder.sext(sums, ir.VectorType(target.type.pointee, lanes))
    store_lanes(builder, builder.add(load_lanes(builder, target, at, lanes), sums), target, at)


def emit_plain(builder: Any, operands: list[Any], registers: tuple[int, ...]) -> None:
    """Emit rows of the membranes' own type, for one number of registers."""
    _, begin, end, _, _, _, target, at = operands[:8]
    count = len(registers)
    starts = [builder.add(at, I64(k * FLOAT_LANES)) for k in range(count)]
    held = [load_lanes(builder, target, start, FLOAT_LANES) for start in starts]
    # Narrow blocks take several events a round, each into registers of its own: one chain of
    # additions would wait for the adder at every event.
    rounds = max(1, _MOST_REGISTERS // count)
    held += [zeros(target.type.pointee, FLOAT_LANES)] * (count * (rounds - 1))

    def add_events(event: Any, held: list[Any]) -> list[Any]:
        added = []
        for turn in range(len(held) // count):
            row = _row_of(builder, operands, event, turn, registers)
            own = held[turn * count : (turn + 1) * count]
            added += [add(builder, sums, part) for sums, part in zip(own, row, strict=True)]
        return added

    event, held = loop(builder, begin, end, rounds, held, add_events)
    _, total = loop(builder, event, end, 1, held[:count], add_events)
    for slot in range(count, len(held)):
        total[slot % count] = add(builder, total[slot % count], held[slot])
    for start, sums in zip(starts, total, strict=True):
        store_lanes(builder, sums, target, start)


def _add_rows_intrinsic(
    _: Any,
    index: Any,
    begin: Any,
    end: Any,
    rows: Any,
    base: Any,
    pitch: Any,
    target: Any,
    at: Any,
    burst: Any,
    silence: Any,
    shape: Any,
) -> Any:
    signature = types.void(index, begin, end, rows, base, pitch, target, at, burst, silence, shape)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        *operands, shape = pointers(context, builder, signature, args)
        element = operands[3].type.pointee
        if isinstance(element, ir.IntType):
            lanes = [shape_lanes(k, element.width // 8) for k in range(len(SHAPES))]
            emit = _emit_pairs
        else:
            lanes = [(FLOAT_LANES,) * count for count in FLOAT_REGISTERS]
            emit = emit_plain

        def case(registers: tuple[int, ...]) -> Callable[[], None]:
            return lambda: emit(builder, operands, registers)

        switch(builder, shape, [case(registers) for registers in lanes])
        return context.get_dummy_value()

    return signature, codegen


def add_rows_loop(
    index: NDArray[Any],
    begin: int,
    end: int,
    rows: NDArray[Any],
    base: int,
    pitch: int,
    target: NDArray[Any],
    at: int,
    burst: int,
    silence: int,
    shape: int,
) -> None:
    """Plain twin: ``target[at:] += rows[base + index[e] * pitch:]`` for ``begin <= e < end``.

    Args:
        index: uint32 events.
        begin: the first event.
        end: one past the last.
        rows: flat pairs of `packing`, or float32.
        base: element from which rows are counted; negative where events count from further left.
        pitch: elements from one row to the next.
        target: flat membranes, in the natural order of the outputs.
        at: element of the block's first membrane.
        burst: most events whose sums fit a lane; float32 ignores it.
        silence: first element of a row of pairs of zeros; float32 ignores it.
        shape: which of `SHAPES` the block is; of float32, which of `FLOAT_REGISTERS`.
    """
    for first in range(begin, end, burst):
        taken = [base + int(event) * pitch for event in index[first : min(first + burst, end)]]
        assert all(0 <= row <= rows.size - pitch for row in taken)
        if rows.dtype == np.float32:
            lanes = FLOAT_REGISTERS[shape] * FLOAT_LANES
            for row in taken:
                target[at : at + lanes] += rows[row : row + lanes]
        else:
            registers = shape_lanes(shape, rows.itemsize)
            zeros = rows[silence : silence + sum(registers)]
            assert zeros.size == sum(registers)
            assert (zeros == 1 << (4 * rows.itemsize - 1)).all()
            _add_pairs(taken, rows, target, at, registers)


def _add_pairs(
    taken: list[int], rows: NDArray[Any], target: NDArray[Any], at: int, registers: tuple[int, ...]
) -> None:
    half, offset = rows.itemsize * 4, 0
    for lanes in registers:
        pairs = np.array([rows[row + offset : row + offset + lanes] for row in taken], np.int64)
        odd = pairs >> half
        even = pairs - (odd << half) - (1 << (half - 1))
        for part, sums in enumerate((even.sum(0), odd.sum(0))):
            assert np.abs(sums).max() <= np.iinfo(rows.dtype).max
            first = at + 2 * offset + part * lanes
            total = target[first : first + lanes].astype(object) + sums
            assert np.abs(total).max() <= np.iinfo(target.dtype).max
            target[first : first + lanes] = total
        offset += lanes


add_rows = vector_ir(_add_rows_intrinsic, twin=add_rows_loop)
