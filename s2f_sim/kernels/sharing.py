"""Threads that share the rows of one kernel, without the interpreter.

A kernel that is called to be shared tells a board where it is and what it was called with. Threads
that look at the board call it again, for one piece of the rows after the other; so does the one
that was asked. Nobody waits for who comes late: whoever has not begun when no piece is left finds
the board closed.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import kernel, vector_ir
from s2f_sim.kernels.lanes import I64, declared, loop, members, pointers

NOBODY, RECORDER = -1, -2
"""Members that work on no rows: one asks to share them, one to write the call down."""

_LINE = 8
"""Cells of a line of the cache; what different threads write is kept apart."""
_CALLS, _FUNCTION, _FRAME, _TAKEN, _FAILED, _INSIDE = 0, 1, 2, _LINE, 2 * _LINE, 3 * _LINE
_FRAME_BYTES, _LONGEST_FRAME = _TAKEN, 512
_PAUSE = "llvm.x86.sse2.pause"
_Void = ir.VoidType()
_Bytes = ir.IntType(8).as_pointer()
# What a board points at: does pieces of a frame's rows, as one member, until none is left.
_SHARED = ir.FunctionType(_Void, [_Bytes, I64.as_pointer(), I64])


class Share(NamedTuple):
    """The last argument of a kernel: which rows, and who works on them.

    Attributes:
        board: see `board`.
        pieces: into which the rows are cut, if they are shared.
        member: number of the thread, whose room the kernel uses; or `NOBODY`, or `RECORDER`.
        first: first row to work on.
        last: one past the last.
    """

    board: NDArray[np.int64]
    pieces: int
    member: int
    first: int
    last: int


def board(size: int) -> NDArray[np.int64]:
    """Where ``size`` members meet, int64.

    An odd number of calls says that a kernel is being shared; then come the address of its pieces'
    function and of its frame, pieces taken, failures, and for each member whether it is inside.
    """
    return np.zeros(_INSIDE + size * _LINE, np.int64)


def alone(last: int, first: int = 0) -> Share:
    """Rows ``first`` to ``last``, for the one thread there is."""
    return Share(_NO_BOARD, 1, 0, first, last)


_NO_BOARD = board(0)


def failed(cells: NDArray[np.int64]) -> bool:
    """Whether a kernel that was shared raised an error; asked once."""
    found = bool(cells[_FAILED])
    cells[_FAILED] = 0
    return found


def _pause(builder: Any) -> None:
    """While a thread waits, the other half of its core works the faster."""
    if builder.module.triple.startswith(("x86_64", "i686")):
        builder.call(declared(builder, ir.FunctionType(_Void, []), _PAUSE), [])


def _read(builder: Any, cells: Any, at: Any) -> Any:
    return builder.load_atomic(builder.gep(cells, [at]), "seq_cst", 8)


def _write(builder: Any, value: Any, cells: Any, at: Any) -> None:
    builder.store_atomic(value, builder.gep(cells, [at]), "seq_cst", 8)


def _until(builder: Any, condition: Callable[[], Any]) -> None:
    """Emit a loop that pauses until ``condition()`` holds."""
    head, done = (builder.append_basic_block(name) for name in ("wait", "go_on"))
    builder.branch(head)
    builder.position_at_end(head)
    _pause(builder)
    builder.cbranch(condition(), done, head)
    builder.position_at_end(done)


def _pieces_of(builder: Any, frame_kind: Any) -> Any:
    """Define the function that calls a kernel for pieces of the rows in a frame."""
    called = builder.function
    function = ir.Function(builder.module, _SHARED, f"{called.name}.pieces")
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
    inside.branch(head)
    inside.position_at_end(head)
    piece = inside.atomic_rmw("add", inside.gep(cells, [I64(_TAKEN)]), I64(1), "monotonic")
    inside.cbranch(inside.icmp_signed("<", piece, pieces), work, done)
    inside.position_at_end(work)
    ends = [
        inside.add(first, inside.sdiv(inside.mul(rows, number), pieces))
        for number in (piece, inside.add(piece, I64(1)))
    ]
    status = inside.call(called, [result, raised, *others, pieces, member, *ends])
    wrong = inside.icmp_signed("!=", status, status.type(0))
    with inside.if_then(wrong, likely=False):
        _write(inside, I64(1), cells, I64(_FAILED))
    inside.branch(head)
    inside.position_at_end(done)
    inside.ret_void()
    return function


def _share_intrinsic(_: Any, share: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        fields = members(context, builder, signature.args[0], args[0])
        cells = fields["board"].data
        # Arguments of the kernel itself, as its callers pass them: the share's numbers come last.
        *_, pieces, member, first, last = given = builder.function.args[2:]
        assert all(number.type == I64 for number in (pieces, member, first, last))
        kind = ir.LiteralStructType([value.type for value in given])
        asked = builder.icmp_signed("<", fields["member"], I64(0))
        with builder.if_then(asked):
            with builder.goto_entry_block():
                frame = builder.alloca(kind)
            for at, value in enumerate(_uncounted(given)):
                place = builder.gep(frame, [ir.IntType(32)(0), ir.IntType(32)(at)])
                builder.store(value, place)
            function = _pieces_of(builder, kind)
            written = builder.icmp_signed("==", fields["member"], I64(RECORDER))
            with builder.if_else(written) as (record, call):
                with record:
                    _emit_record(builder, function, frame, cells)
                with call:
                    frame = builder.bitcast(frame, _Bytes)
                    _emit_call(builder, function, frame, cells, fields["board"].nitems)
        return asked

    return types.boolean(share), codegen


def _uncounted(given: Sequence[Any]) -> list[Any]:
    """Arguments of a kernel, with arrays whose references nobody counts.

    Of an array these are the address of its counter, that of its object, elements, bytes of one,
    its data, and so on: whoever passes the frame on keeps the array.
    """
    kinds, values = [value.type for value in given], list(given)
    for at in range(len(kinds) - 3):
        if kinds[at : at + 4] == [_Bytes, _Bytes, I64, I64]:
            values[at] = ir.Constant(_Bytes, None)
    return values


def _emit_record(builder: Any, function: Any, frame: Any, cells: Any) -> None:
    """Write down what would be called."""
    kind = frame.type.pointee
    end = builder.gep(ir.Constant(kind.as_pointer(), None), [ir.IntType(32)(1)])
    for value, at in ((function, _FUNCTION), (end, _FRAME_BYTES)):
        builder.store(builder.ptrtoint(value, I64), builder.gep(cells, [I64(at)]))
    place = builder.bitcast(builder.gep(cells, [I64(_INSIDE)]), kind.as_pointer())
    builder.store(builder.load(frame), place)


def _emit_call(builder: Any, function: Any, frame: Any, cells: Any, size: Any) -> None:
    """Open the board, work, close it, and wait for those who are inside."""
    builder.store(I64(0), builder.gep(cells, [I64(_TAKEN)]))
    for address, at in ((function, _FUNCTION), (frame, _FRAME)):
        builder.store(builder.ptrtoint(address, I64), builder.gep(cells, [I64(at)]))
    calls = builder.load(builder.gep(cells, [I64(_CALLS)]))
    _write(builder, builder.add(calls, I64(1)), cells, I64(_CALLS))
    builder.call(function, [frame, cells, I64(0)])
    # Whoever says that he is inside after this sees it before he begins.
    _write(builder, builder.add(calls, I64(2)), cells, I64(_CALLS))

    def wait(at: Any, nothing: list[Any]) -> list[Any]:
        _until(builder, lambda: builder.icmp_signed("==", _read(builder, cells, at), I64(0)))
        return nothing

    loop(builder, I64(_INSIDE), size, _LINE, [], wait)


def share_loop(share: Share) -> bool:
    """Plain twin: share a kernel's rows if that is asked for; whether they are done with that.

    Args:
        share: the kernel's last argument.
    """
    assert share.first <= share.last
    # There is nobody to share with.
    return False


def _join_intrinsic(_: Any, cells: Any, member: Any, seen: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        cells, member, seen = pointers(context, builder, signature, args)
        _pause(builder)
        calls = _read(builder, cells, I64(_CALLS))
        with builder.goto_entry_block():
            found = builder.alloca(I64)
        builder.store(seen, found)
        new = builder.icmp_signed("!=", calls, seen)
        opened = builder.trunc(calls, ir.IntType(1))
        with builder.if_then(builder.and_(new, opened)):
            builder.store(calls, found)
            own = builder.add(I64(_INSIDE), builder.mul(member, I64(_LINE)))
            _write(builder, I64(1), cells, own)
            # Still open: now it stays so until this member has left, if maybe for another call.
            calls = _read(builder, cells, I64(_CALLS))
            with builder.if_then(builder.trunc(calls, ir.IntType(1))):
                builder.store(calls, found)
                address, frame = (
                    builder.load(builder.gep(cells, [I64(at)])) for at in (_FUNCTION, _FRAME)
                )
                function = builder.inttoptr(address, _SHARED.as_pointer())
                builder.call(function, [builder.inttoptr(frame, _Bytes), cells, member])
            _write(builder, I64(0), cells, own)
        return builder.load(found)

    return types.int64(cells, member, seen), codegen


def join_loop(cells: NDArray[np.int64], member: int, seen: int) -> int:
    """Plain twin: look at a board once, and do pieces of what is shared there.

    Args:
        cells: see `board`.
        member: who looks.
        seen: the call that was seen last.

    Returns:
        The call that has been seen now.
    """
    assert 0 < member < (len(cells) - _INSIDE) // _LINE
    return seen


def _call_intrinsic(_: Any, cells: Any, function: Any, frame: Any, shared: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = context.make_array(signature.args[0])(context, builder, args[0]).nitems
        cells, function, frame, shared = pointers(context, builder, signature, args)
        function = builder.inttoptr(function, _SHARED.as_pointer())
        frame = builder.inttoptr(frame, _Bytes)
        with builder.if_else(builder.icmp_signed("!=", shared, I64(0))) as (together, alone):
            with together:
                _emit_call(builder, function, frame, cells, size)
            with alone:
                builder.store(I64(0), builder.gep(cells, [I64(_TAKEN)]))
                builder.call(function, [frame, cells, I64(0)])
        return context.get_dummy_value()

    return types.void(cells, function, frame, shared), codegen


def call_loop(cells: NDArray[np.int64], function: int, frame: int, shared: int) -> None:
    """Plain twin: call a kernel that was written down.

    Args:
        cells: see `board`.
        function: address of what does its pieces.
        frame: address of what it was called with.
        shared: whether others may help.
    """
    raise NotImplementedError("where nothing is compiled nothing can be written down")


_call = vector_ir(_call_intrinsic, twin=call_loop)
share_rows = vector_ir(_share_intrinsic, twin=share_loop)
_join = vector_ir(_join_intrinsic, twin=join_loop)


@kernel
def serve(cells: NDArray[Any], member: int, looks: int) -> None:
    """Do pieces of whatever is shared at a board, until nothing has come for a while.

    Args:
        cells: see `board`.
        member: who serves.
        looks: so often nothing new was there; each takes some tens of nanoseconds.
    """
    seen, idle = 0, 0
    while idle < looks:
        before = seen
        seen = _join(cells, member, before)
        idle = idle + 1 if seen == before else 0


def written_down(ask: Callable[[Share], None], rows: int) -> tuple[int, NDArray[np.int64]] | None:
    """The address of what does a kernel's pieces, and its frame, for `replay`.

    The frame ends with the cells of the kernel's `Share`; all that it points to has to be kept.

    Args:
        ask: calls one kernel with a share.
        rows: of the share.
    """
    cells = np.zeros(_INSIDE + _LONGEST_FRAME, np.int64)
    ask(Share(cells, 1, RECORDER, 0, rows))
    length = int(cells[_FRAME_BYTES]) // cells.itemsize
    assert length <= _LONGEST_FRAME
    return (int(cells[_FUNCTION]), cells[_INSIDE : _INSIDE + length].copy()) if length else None


@kernel
def replay(cells: NDArray[Any], calls: NDArray[Any]) -> None:
    """Call one kernel after the other.

    Args:
        cells: see `board`.
        calls: int64[N, 3]: addresses of function and frame, and whether others may help.
    """
    for at in range(calls.shape[0]):
        _call(cells, calls[at, 0], calls[at, 1], calls[at, 2])
