"""Adding weight rows to membranes because spikes came: the loop that decides the speed.

Every kernel is output-stationary: it holds a block of membranes in vector registers while the
rows of all its events are added, and stores it once. Rows and membranes are padded to whole
registers of 16 lanes. Kernels work on the output rows ``first_row <= row < last_row`` alone, so
that disjoint ranges may run in parallel; the order of each sum does not depend on the ranges.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import kernel, vector_ir

_LANES = 16
_REGISTERS = 8
_BLOCK = _LANES * _REGISTERS
_I64 = ir.IntType(64)
_Body = Callable[[Any, list[Any]], list[Any]]


def _emit_loop(
    builder: Any, begin: Any, end: Any, step: int, held: list[Any], body: _Body
) -> tuple[Any, list[Any]]:
    """Emit ``while begin + step <= end: held = body(begin, held); begin += step``."""
    entry = builder.block
    head, inside, done = (builder.append_basic_block(part) for part in ("head", "in", "out"))
    builder.branch(head)
    builder.position_at_end(head)
    at = builder.phi(_I64)
    at.add_incoming(begin, entry)
    phis = [builder.phi(value.type) for value in held]
    following = builder.add(at, _I64(step))
    builder.cbranch(builder.icmp_signed("<=", following, end), inside, done)
    builder.position_at_end(inside)
    updated = body(at, phis)
    at.add_incoming(following, builder.block)
    for phi, before, after in zip(phis, held, updated, strict=True):
        phi.add_incoming(before, entry)
        phi.add_incoming(after, builder.block)
    builder.branch(head)
    builder.position_at_end(done)
    return at, phis


def _emit_add(builder: Any, accumulator: Any, row: Any) -> Any:
    """Emit ``accumulator + row``, widening integer rows to the accumulator."""
    if isinstance(accumulator.type.element, ir.IntType):
        if row.type != accumulator.type:
            row = builder.sext(row, accumulator.type)
        return builder.add(accumulator, row)
    return builder.fadd(accumulator, row)


def _vector_at(builder: Any, pointer: Any, at: Any, register: int) -> Any:
    """Pointer to the ``register``-th vector of lanes after element ``at``."""
    vector = ir.VectorType(pointer.type.pointee, _LANES)
    start = builder.gep(pointer, [builder.add(at, _I64(register * _LANES))])
    return builder.bitcast(start, vector.as_pointer())


def _emit_rows(builder: Any, operands: tuple[Any, ...], registers: int) -> None:
    """Emit `add_rows` for one number of registers."""
    index, begin, end, rows, base, stride, target, at = operands
    slots = [_vector_at(builder, target, at, k) for k in range(registers)]
    held = [builder.load(slot, align=4) for slot in slots]
    # Narrow blocks take several events a round, each into registers of its own: one chain of
    # additions would wait for the adder at every event.
    rounds = max(1, _REGISTERS // registers)
    zero = ir.Constant(held[0].type, None)
    held += [zero] * (registers * (rounds - 1))

    def add_events(event: Any, held: list[Any]) -> list[Any]:
        added = list(held)
        for slot in range(len(held)):
            turn, register = divmod(slot, registers)
            source = builder.load(builder.gep(index, [builder.add(event, _I64(turn))]))
            row = builder.add(base, builder.mul(builder.zext(source, _I64), stride))
            lanes = builder.load(_vector_at(builder, rows, row, register), align=1)
            added[slot] = _emit_add(builder, held[slot], lanes)
        return added

    begin, held = _emit_loop(builder, begin, end, rounds, held, add_events)
    _, total = _emit_loop(builder, begin, end, 1, held[:registers], add_events)
    for slot in range(registers, len(held)):
        register = slot % registers
        total[register] = _emit_add(builder, total[register], held[slot])
    for slot, value in zip(slots, total, strict=True):
        builder.store(value, slot, align=4)


def _add_rows_intrinsic(
    _: Any,
    index: Any,
    begin: Any,
    end: Any,
    rows: Any,
    base: Any,
    stride: Any,
    target: Any,
    at: Any,
    registers: Any,
) -> Any:
    signature = types.void(index, begin, end, rows, base, stride, target, at, registers)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        operands = tuple(
            context.make_array(kind)(context, builder, value).data
            if isinstance(kind, types.Array)
            else value
            for kind, value in zip(signature.args, args, strict=True)
        )
        done = builder.append_basic_block("added")
        switch = builder.switch(operands[-1], done)
        for count in range(1, _REGISTERS + 1):
            case = builder.append_basic_block(f"registers{count}")
            switch.add_case(_I64(count), case)
            builder.position_at_end(case)
            _emit_rows(builder, operands[:-1], count)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, codegen


def add_rows_loop(
    index: NDArray[Any],
    begin: int,
    end: int,
    rows: NDArray[Any],
    base: int,
    stride: int,
    target: NDArray[Any],
    at: int,
    registers: int,
) -> None:
    """Plain twin: ``target[at:] += rows[base + index[e] * stride:]`` for ``begin <= e < end``.

    Offsets count elements of the flat arrays; ``registers`` vectors are added per event.
    """
    lanes = registers * _LANES
    flat_rows, membrane = rows.reshape(-1), target.reshape(-1)[at : at + lanes]
    for event in range(begin, end):
        row = base + int(index[event]) * stride
        assert 0 <= row <= flat_rows.size - lanes
        membrane += flat_rows[row : row + lanes]


def _copy_shifted_intrinsic(_: Any, index: Any, at: Any, shift: Any, to: Any, end: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, target = (
            context.make_array(signature.args[array])(context, builder, args[array]).data
            for array in (0, 3)
        )
        events = builder.load(_vector_at(builder, source, args[1], 0), align=4)
        undefined = ir.Constant(events.type, ir.Undefined)
        shift = builder.trunc(args[2], ir.IntType(32))
        one = builder.insert_element(undefined, shift, _I64(0))
        splat = builder.shuffle_vector(one, undefined, ir.Constant(events.type, None))
        shifted = builder.add(events, splat)
        builder.store(shifted, _vector_at(builder, target, args[4], 0), align=4)
        return context.get_dummy_value()

    return types.void(index, at, shift, to, end), codegen


def copy_shifted_loop(
    index: NDArray[Any], at: int, shift: int, merged: NDArray[Any], to: int
) -> None:
    """Plain twin: copy 16 events and add ``shift`` to each; the caller keeps those it needs."""
    assert at + _LANES <= index.size
    assert to + _LANES <= merged.size
    merged[to : to + _LANES] = index[at : at + _LANES] + np.uint32(shift)


_add_rows = vector_ir(_add_rows_intrinsic, twin=add_rows_loop)
_copy_shifted = vector_ir(_copy_shifted_intrinsic, twin=copy_shifted_loop)


@kernel
def accumulate_rows(
    first: NDArray[Any],
    index: NDArray[Any],
    rows: NDArray[Any],
    target: NDArray[Any],
    first_row: int,
    last_row: int,
) -> None:
    """Add ``rows[index[e]]`` to ``target[r]`` for all ``first[r, 0] <= e < first[r, 1]``.

    Serves linear layers, 1x1 convolutions and both products of attention.

    Args:
        first: int64[R, 2], from `build_events` of counts uint8[R, 1, M].
        index: uint32, the events, each the number of a row of ``rows``.
        rows: float32[M, W] or an integer type, W a multiple of 16.
        target: float32[R, W] or int32[R, W], accumulated in place.
        first_row: first target row to work on.
        last_row: one past the last.
    """
    width = target.shape[1]
    for block in range(0, width, _BLOCK):
        registers = min(_REGISTERS, (width - block) // _LANES)
        for row in range(first_row, last_row):
            begin, end = first[row, 0], first[row, 1]
            _add_rows(index, begin, end, rows, block, width, target, row * width + block, registers)


@kernel
def _merge_rows(
    first: NDArray[Any],
    index: NDArray[Any],
    top: int,
    taps: int,
    shift: int,
    begins: NDArray[Any],
) -> NDArray[Any]:
    """Events of ``taps`` image rows from ``top`` as one list ordered by column, then row.

    So an output position is one loop, whose end the branch predictor misses once and not once
    per kernel row. The events of the k-th row are listed ``shift * k`` larger.

    Returns:
        uint32 events; ``begins`` int64[W + 1] receives where each column's begin.
    """
    begin_y, end_y = max(top, 0), min(top + taps, first.shape[0])
    width = first.shape[1] - 1
    total = 0
    for y in range(begin_y, end_y):
        total += first[y, width] - first[y, 0]
    merged = np.empty(total + _LANES, np.uint32)
    length = 0
    for x in range(width):
        begins[x] = length
        for y in range(begin_y, end_y):
            begin, size = first[y, x], first[y, x + 1] - first[y, x]
            # Always sixteen copies, keeping ``size``: rarely does a branch depend on it.
            for copied in range(0, max(size, 1), _LANES):
                _copy_shifted(index, begin + copied, (y - top) * shift, merged, length + copied)
            length += size
    begins[width] = length
    return merged


@kernel
def accumulate_convolution(
    first: NDArray[Any],
    index: NDArray[Any],
    weight: NDArray[Any],
    membrane: NDArray[Any],
    stride: tuple[int, int],
    padding: tuple[int, int],
    first_row: int,
    last_row: int,
) -> None:
    """Add to each membrane the weight row of every event under its window.

    Args:
        first: int64[H, W + 1], where the events of each position begin, from `build_events`.
        index: uint32, the events ``x * C + c`` of each image row in order.
        weight: float32[KH, KW, C, O] or an integer type, O a multiple of 16.
        membrane: float32[Ho, Wo, O] or int32[Ho, Wo, O], accumulated in place.
        stride: vertical, horizontal.
        padding: rows above, columns to the left.
        first_row: first output row to work on.
        last_row: one past the last.
    """
    width = first.shape[1] - 1
    kernel_height, kernel_width, channels, outputs = weight.shape
    columns = membrane.shape[1]
    begins = np.empty(width + 1, np.int64)
    for block in range(0, outputs, _BLOCK):
        registers = min(_REGISTERS, (outputs - block) // _LANES)
        for oy in range(first_row, last_row):
            top = oy * stride[0] - padding[0]
            merged = _merge_rows(first, index, top, kernel_height, kernel_width * channels, begins)
            for ox in range(columns):
                left = ox * stride[1] - padding[1]
                begin_x, end_x = max(left, 0), min(left + kernel_width, width)
                if begin_x < end_x:
                    begin, end = begins[begin_x], begins[end_x]
                    # Weight rows follow the taps of a kernel row, as events follow columns.
                    base = block - left * channels * outputs
                    at = (oy * columns + ox) * outputs + block
                    _add_rows(merged, begin, end, weight, base, outputs, membrane, at, registers)
