"""Threads that share the rows of one kernel, without the interpreter.

A kernel that is called to be shared tells a board where it is and what it was called with. Threads
that look at the board call it again, for one piece of the rows after the other; so does the one
that was asked. Nobody waits for who comes late: whoever has not begun when no piece is left finds
the board closed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.aligned import address_of
from s2f_sim.kernels.kernel import kernel, vector_ir
from s2f_sim.kernels.lanes import I64, members, pointers
from s2f_sim.kernels.sharing_ir import (
    BYTES,
    CALLS,
    FAILED,
    FRAME,
    FRAME_BYTES,
    FUNCTION,
    INSIDE,
    LINE,
    LONGEST_FRAME,
    MORE,
    SHARED,
    SIZE,
    TAKEN,
    emit_call,
    emit_record,
    pause,
    pieces_of,
    read,
    uncounted,
    write,
)

NOBODY, RECORDER = -1, -2
"""Members that work on no rows: one asks to share them, one to write the call down."""


class Share(NamedTuple):
    """The last argument of a kernel: which rows, and who works on them.

    Attributes:
        board: address of the first cell, see `board`; an array would take longer to hand over.
        pieces: into which the rows are cut, if they are shared.
        member: number of the thread, whose room the kernel uses; or `NOBODY`, or `RECORDER`.
        first: first row to work on.
        last: one past the last.
    """

    board: int
    pieces: int
    member: int
    first: int
    last: int


def board(size: int) -> NDArray[np.int64]:
    """Where ``size`` members meet, int64.

    An odd number of calls says that a kernel is being shared; then come the addresses of what does
    its pieces and of its frame, how many cells there are, whether more calls will follow, pieces
    taken, failures, and for each member whether it is inside.
    """
    cells = np.zeros(INSIDE + size * LINE, np.int64)
    cells[SIZE] = len(cells)
    return cells


def alone(last: int, first: int = 0) -> Share:
    """Rows ``first`` to ``last``, for the one thread there is."""
    return Share(0, 1, 0, first, last)


def failed(cells: NDArray[np.int64]) -> bool:
    """Whether a kernel that was shared raised an error; asked once."""
    found = bool(cells[FAILED])
    cells[FAILED] = 0
    return found


def _share_intrinsic(_: Any, share: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        fields = members(context, builder, signature.args[0], args[0])
        cells = builder.inttoptr(fields["board"], I64.as_pointer())
        # Arguments of the kernel itself, as its callers pass them: the share's numbers come last.
        *_, pieces, member, first, last = given = builder.function.args[2:]
        assert all(number.type == I64 for number in (pieces, member, first, last))
        kind = ir.LiteralStructType([value.type for value in given])
        # It has several callers; LLVM would compile it again in each of them.
        builder.function.attributes.add("noinline")
        asked = builder.icmp_signed("<", fields["member"], I64(0))
        with builder.if_then(asked):
            with builder.goto_entry_block():
                frame = builder.alloca(kind)
            for at, value in enumerate(uncounted(given)):
                place = builder.gep(frame, [ir.IntType(32)(0), ir.IntType(32)(at)])
                builder.store(value, place)
            function = pieces_of(builder, kind)
            written = builder.icmp_signed("==", fields["member"], I64(RECORDER))
            with builder.if_else(written) as (record, call):
                with record:
                    emit_record(builder, function, frame, cells)
                with call:
                    frame = builder.bitcast(frame, BYTES)
                    emit_call(builder, function, frame, cells)
        return asked

    return types.boolean(share), codegen


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
        pause(builder)
        calls = read(builder, cells, I64(CALLS))
        with builder.goto_entry_block():
            found = builder.alloca(I64)
        builder.store(seen, found)
        new = builder.icmp_signed("!=", calls, seen)
        opened = builder.trunc(calls, ir.IntType(1))
        with builder.if_then(builder.and_(new, opened)):
            builder.store(calls, found)
            own = builder.add(I64(INSIDE), builder.mul(member, I64(LINE)))
            write(builder, I64(1), cells, own)
            # Still open: now it stays so until this member has left, if maybe for another call.
            calls = read(builder, cells, I64(CALLS))
            with builder.if_then(builder.trunc(calls, ir.IntType(1))):
                builder.store(calls, found)
                address, frame = (
                    builder.load(builder.gep(cells, [I64(at)])) for at in (FUNCTION, FRAME)
                )
                function = builder.inttoptr(address, SHARED.as_pointer())
                builder.call(function, [builder.inttoptr(frame, BYTES), cells, member])
            write(builder, I64(0), cells, own)
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
    assert 0 < member < (len(cells) - INSIDE) // LINE
    return seen


def _expects_intrinsic(_: Any, cells: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (cells,) = pointers(context, builder, signature, args)
        opened = builder.trunc(read(builder, cells, I64(CALLS)), ir.IntType(1))
        more = builder.icmp_signed("!=", read(builder, cells, I64(MORE)), I64(0))
        return builder.or_(opened, more)

    return types.boolean(cells), codegen


def expects_loop(cells: NDArray[np.int64]) -> bool:
    """Plain twin: whether a kernel is at work at a board, or will be as soon as another is done."""
    return bool(cells[CALLS] % 2 or cells[MORE])


def _call_intrinsic(_: Any, cells: Any, function: Any, frame: Any, shared: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        cells, function, frame, shared = pointers(context, builder, signature, args)
        function = builder.inttoptr(function, SHARED.as_pointer())
        frame = builder.inttoptr(frame, BYTES)
        with builder.if_else(builder.icmp_signed("!=", shared, I64(0))) as (together, alone):
            with together:
                emit_call(builder, function, frame, cells)
            with alone:
                builder.store(I64(0), builder.gep(cells, [I64(TAKEN)]))
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
_expects = vector_ir(_expects_intrinsic, twin=expects_loop)


@kernel
def serve(cells: NDArray[Any], member: int, looks: int) -> None:
    """Do pieces of whatever is shared at a board, until nothing has come for a while.

    While kernels are at work nobody leaves, how long ever one of their pieces may take another.

    Args:
        cells: see `board`.
        member: who serves.
        looks: so often nothing new was there; each takes some tens of nanoseconds.
    """
    seen, idle = 0, 0
    while idle < looks:
        before = seen
        seen = _join(cells, member, before)
        idle = idle + 1 if seen == before and not _expects(cells) else 0


def written_down(
    ask: Callable[[Share], None], rows: int, pieces: int
) -> tuple[int, NDArray[np.int64]] | None:
    """The address of what does a kernel's pieces, and its frame, for `replay`.

    The frame ends with the cells of the kernel's `Share`; all that it points to has to be kept.

    Args:
        ask: calls one kernel with a share.
        rows: of the share.
        pieces: into which they are cut.
    """
    cells = np.zeros(INSIDE + LONGEST_FRAME, np.int64)
    ask(Share(address_of(cells), pieces, RECORDER, 0, rows))
    length = int(cells[FRAME_BYTES]) // cells.itemsize
    assert length <= LONGEST_FRAME
    return (int(cells[FUNCTION]), cells[INSIDE : INSIDE + length].copy()) if length else None


@kernel
def replay(cells: NDArray[Any], calls: NDArray[Any]) -> None:
    """Call one kernel after the other.

    Args:
        cells: see `board`.
        calls: int64[N, 3]: addresses of function and frame, and whether others may help.
    """
    cells[MORE] = 1
    for at in range(calls.shape[0]):
        _call(cells, calls[at, 0], calls[at, 1], calls[at, 2])
    cells[MORE] = 0
