"""Adding rows of the membranes' own type, for what is computed while the network runs."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.add_rows import FLOAT_LANES, emit_plain
from s2f_sim.kernels.kernel import part, vector_ir
from s2f_sim.kernels.lanes import pointers, switch

PLAIN_REGISTERS = (1, 2, 4, 8)
"""Registers that `add_plain_rows` adds at once."""


def _add_plain_rows_intrinsic(
    _: Any,
    index: Any,
    begin: Any,
    end: Any,
    rows: Any,
    base: Any,
    pitch: Any,
    target: Any,
    at: Any,
    registers: Any,
) -> Any:
    signature = types.void(index, begin, end, rows, base, pitch, target, at, registers)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        *operands, registers = pointers(context, builder, signature, args)

        def case(count: int) -> Callable[[], None]:
            return lambda: emit_plain(builder, operands, (FLOAT_LANES,) * count)

        # The powers of two, by their logarithm.
        number = builder.cttz(registers, ir.Constant(ir.IntType(1), 0))
        switch(builder, number, [case(count) for count in PLAIN_REGISTERS])
        return context.get_dummy_value()

    return signature, codegen


def add_plain_rows_loop(
    index: NDArray[Any],
    begin: int,
    end: int,
    rows: NDArray[Any],
    base: int,
    pitch: int,
    target: NDArray[Any],
    at: int,
    registers: int,
) -> None:
    """Plain twin: as `add_rows_loop`, of rows of the membranes' own type, of `PLAIN_REGISTERS`."""
    assert registers in PLAIN_REGISTERS
    lanes = registers * FLOAT_LANES
    for event in index[begin:end]:
        row = base + int(event) * pitch
        assert 0 <= row <= rows.size - lanes
        target[at : at + lanes] += rows[row : row + lanes]


add_plain_rows = vector_ir(_add_plain_rows_intrinsic, twin=add_plain_rows_loop)


@part
def whole_registers(left: int) -> int:
    """The most of `PLAIN_REGISTERS` that ``left`` registers fill.

    >>> whole_registers(7)
    4
    """
    registers = PLAIN_REGISTERS[-1]
    while registers > left:
        registers //= 2
    return registers
