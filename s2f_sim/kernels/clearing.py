"""Zeros for an array that is used again."""

from typing import Any

from numba import types
from numba.core import cgutils
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import vector_ir


def _clear_intrinsic(_: Any, array: Any, elements: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = context.make_array(signature.args[0])(context, builder, args[0])
        size_bytes = builder.mul(args[1], found.itemsize)
        fill: Any = cgutils.memset
        fill(builder, found.data, size_bytes, 0)
        return context.get_dummy_value()

    return types.void(array, elements), codegen


def clear_loop(array: NDArray[Any], elements: int) -> None:
    """Plain twin: make so many elements 0, from the first on."""
    assert 0 <= elements <= array.size
    array[:elements] = 0


clear = vector_ir(_clear_intrinsic, twin=clear_loop)
