"""Weights on their way into the cache before the first spike asks for them."""

from typing import Any

from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import vector_ir
from s2f_sim.kernels.lanes import I64, declared, loop

_LINE_BYTES = 64
_LOCALITY = 2


def _prefetch_intrinsic(_: Any, array: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = context.make_array(signature.args[0])(context, builder, args[0])
        size = builder.mul(found.nitems, found.itemsize)
        byte = ir.IntType(8).as_pointer()
        start = builder.bitcast(found.data, byte)
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        fetch = declared(builder, kind, "llvm.prefetch.p0")

        def line(at: Any, held: list[Any]) -> list[Any]:
            builder.call(fetch, [builder.gep(start, [at]), i32(0), i32(_LOCALITY), i32(1)])
            return held

        loop(builder, I64(0), size, _LINE_BYTES, [], line)
        return context.get_dummy_value()

    return types.void(array), codegen


def prefetch_loop(array: NDArray[Any]) -> None:
    """Plain twin: nothing that could be seen."""
    del array


prefetch = vector_ir(_prefetch_intrinsic, twin=prefetch_loop)
