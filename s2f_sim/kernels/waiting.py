"""Waiting for another thread without sleeping: a processor that has gone to sleep wakes slowly."""

from typing import Any

from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import kernel, part, vector_ir
from s2f_sim.kernels.lanes import declared, pointers

_PAUSE = "llvm.x86.sse2.pause"


def _look_intrinsic(_: Any, numbers: Any, at: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        cells, at = pointers(context, builder, signature, args)
        triple = builder.module.triple
        if triple.startswith(("x86_64", "i686")):
            # The other half of the core works the faster.
            builder.call(declared(builder, ir.FunctionType(ir.VoidType(), []), _PAUSE), [])
        return builder.load_atomic(builder.gep(cells, [at]), "acquire", 8)

    return types.int64(numbers, at), codegen


def look_loop(numbers: NDArray[Any], at: int) -> int:
    """Plain twin: what it holds now, whoever has written it."""
    return int(numbers[at])


def _tell_intrinsic(_: Any, numbers: Any, at: Any, number: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        cells, at, number = pointers(context, builder, signature, args)
        builder.store_atomic(number, builder.gep(cells, [at]), "release", 8)
        return context.get_dummy_value()

    return types.void(numbers, at, number), codegen


def tell_loop(numbers: NDArray[Any], at: int, number: int) -> None:
    """Plain twin: write a number for other threads to see."""
    numbers[at] = number


_look = vector_ir(_look_intrinsic, twin=look_loop)
_tell = vector_ir(_tell_intrinsic, twin=tell_loop)


@part
def _sum(numbers: NDArray[Any]) -> int:
    """What numbers add up to now."""
    found = 0
    for at in range(numbers.size):
        found += _look(numbers, at)
    return found


@kernel
def wait_for(
    numbers: NDArray[Any], total: int, looks: int, own: NDArray[Any], report: int, rest: int
) -> bool:
    """Say what has been done, then wait for numbers that other threads increase.

    The interpreter's lock is free meanwhile. Whoever wants it and finds it taken is put to sleep:
    so this thread has given it away when others see its report, and rests a while before it wants
    it back.

    Args:
        numbers: int64.
        total: that they add up to, at least.
        looks: at most so many; each takes some tens of nanoseconds.
        own: int64[1], where this thread reports; int64[0] if it does not.
        report: the number to write there.
        rest: looks to idle after the total has been reached.
    """
    for at in range(own.size):
        _tell(own, at, report)
    for _ in range(looks):
        if _sum(numbers) >= total:
            for _ in range(rest):
                _sum(numbers)
            return True
    return False
