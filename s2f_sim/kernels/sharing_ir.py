"""The IR by which kernels are shared: see `sharing`."""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from s2f_sim.kernels.lanes import I64, declared, loop

LINE = 8
"""Cells of a line of the cache; what different threads write is kept apart."""
CALLS, FUNCTION, FRAME, SIZE, MORE = range(5)
TAKEN, FAILED, INSIDE = LINE, 2 * LINE, 3 * LINE
FRAME_BYTES, LONGEST_FRAME = TAKEN, 512
_PAUSE = "llvm.x86.sse2.pause"
# One cell counts pieces that were taken: from the start in its lower half, from the end above.
_HALF = 32
_Void = ir.VoidType()
BYTES = ir.IntType(8).as_pointer()
# What a board points at: does pieces of a frame's rows, as one member, until none is left.
SHARED = ir.FunctionType(_Void, [BYTES, I64.as_pointer(), I64])


def pause(builder: Any) -> None:
    """While a thread waits, the other half of its core works the faster."""
    if builder.module.triple.startswith(("x86_64", "i686")):
        builder.call(declared(builder, ir.FunctionType(_Void, []), _PAUSE), [])


def read(builder: Any, cells: Any, at: Any) -> Any:
    """Load a cell that others write; nothing is moved across it."""
    return builder.load_atomic(builder.gep(cells, [at]), "seq_cst", 8)


def write(builder: Any, value: Any, cells: Any, at: Any) -> None:
    """Store a cell for others to read; nothing is moved across it."""
    builder.store_atomic(value, builder.gep(cells, [at]), "seq_cst", 8)


def _until(builder: Any, condition: Callable[[], Any]) -> None:
    """Emit a loop that pauses until ``condition()`` holds."""
    head, done = (builder.append_basic_block(name) for name in ("wait", "go_on"))
    builder.branch(head)
    builder.position_at_end(head)
    pause(builder)
    builder.cbranch(condition(), done, head)
    builder.position_at_end(done)


def pieces_of(builder: Any, frame_kind: Any) -> Any:
    """Define the function that calls a kernel for pieces of the rows in a frame.

    Even members begin with the first piece, odd ones with the last: two threads then work on the
    same places of an image in one layer after the other, and find what they wrote in their caches.
    """
    called = builder.function
    function = ir.Function(builder.module, SHARED, f"{called.name}.pieces")
    function.linkage = "internal"
    frame, cells, member = function.args
    inside = ir.IRBuilder(function.append_basic_block("entry"))
    result = inside.alloca(called.args[0].type.pointee)
    raised = inside.alloca(called.args[1].type.pointee)
    frame = inside.bitcast(frame, frame_kind.as_pointer())
    held = [
        inside.load(inside.gep(frame, [ir.IntType(32)(0), ir.IntType(32)(at)]))
        for at in range(len(frame_kind.elements))
    ]
    *others, pieces, _, first, last = held
    rows = inside.sub(last, first)
    head, work, done = (function.append_basic_block(name) for name in ("take", "work", "done"))
    odd = inside.trunc(member, ir.IntType(1))
    one = inside.select(odd, I64(1 << _HALF), I64(1))
    inside.branch(head)
    inside.position_at_end(head)
    taken = inside.atomic_rmw("add", inside.gep(cells, [I64(TAKEN)]), one, "monotonic")
    from_end = inside.lshr(taken, I64(_HALF))
    from_start = inside.and_(taken, I64((1 << _HALF) - 1))
    left = inside.sub(pieces, from_start)
    inside.cbranch(inside.icmp_signed("<", from_end, left), work, done)
    inside.position_at_end(work)
    last_one = inside.sub(inside.sub(pieces, I64(1)), from_end)
    piece = inside.select(odd, last_one, from_start)
    ends = [
        inside.add(first, inside.sdiv(inside.mul(rows, number), pieces))
        for number in (piece, inside.add(piece, I64(1)))
    ]
    status = inside.call(called, [result, raised, *others, pieces, member, *ends])
    wrong = inside.icmp_signed("!=", status, status.type(0))
    with inside.if_then(wrong, likely=False):
        write(inside, I64(1), cells, I64(FAILED))
    inside.branch(head)
    inside.position_at_end(done)
    inside.ret_void()
    return function


def uncounted(given: Sequence[Any]) -> list[Any]:
    """Arguments of a kernel, with arrays whose references nobody counts.

    Of an array these are the address of its counter, that of its object, elements, bytes of one,
    its data, and so on: whoever passes the frame on keeps the array.
    """
    kinds, values = [value.type for value in given], list(given)
    for at in range(len(kinds) - 3):
        if kinds[at : at + 4] == [BYTES, BYTES, I64, I64]:
            values[at] = ir.Constant(BYTES, None)
    return values


def emit_record(builder: Any, function: Any, frame: Any, cells: Any) -> None:
    """Write down what would be called."""
    kind = frame.type.pointee
    end = builder.gep(ir.Constant(kind.as_pointer(), None), [ir.IntType(32)(1)])
    for value, at in ((function, FUNCTION), (end, FRAME_BYTES)):
        builder.store(builder.ptrtoint(value, I64), builder.gep(cells, [I64(at)]))
    place = builder.bitcast(builder.gep(cells, [I64(INSIDE)]), kind.as_pointer())
    builder.store(builder.load(frame), place)


def emit_call(builder: Any, function: Any, frame: Any, cells: Any) -> None:
    """Open the board, work, close it, and wait for those who are inside."""
    builder.store(I64(0), builder.gep(cells, [I64(TAKEN)]))
    for address, at in ((function, FUNCTION), (frame, FRAME)):
        builder.store(builder.ptrtoint(address, I64), builder.gep(cells, [I64(at)]))
    calls = builder.load(builder.gep(cells, [I64(CALLS)]))
    write(builder, builder.add(calls, I64(1)), cells, I64(CALLS))
    builder.call(function, [frame, cells, I64(0)])
    # Whoever says that he is inside after this sees it before he begins.
    write(builder, builder.add(calls, I64(2)), cells, I64(CALLS))

    def wait(at: Any, nothing: list[Any]) -> list[Any]:
        _until(builder, lambda: builder.icmp_signed("==", read(builder, cells, at), I64(0)))
        return nothing

    size = builder.load(builder.gep(cells, [I64(SIZE)]))
    loop(builder, I64(INSIDE), size, LINE, [], wait)
