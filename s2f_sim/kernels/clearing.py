"""Zeros for an array that is used again."""

from typing import Any

from numba import types
from numba.core import cgutils
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import vector_ir


def _clear_intrinsic(_: Any, array: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = context.make_array(signature.args[0])(context, builder, args[0])
        size_bytes = builder.mul(found.nitems, found.itemsize)
        fill: Any = cgutils.memset
        fill(builder, found.data, size_bytes, 0)
        return context.get_dummy_value()

    return types.void(array), codegen


def clear_loop(array: NDArray[Any]) -> None:
    """Plain twin: make every element 0."""
    array[:] = 0


clear = vector_ir(_clear_intrinsic, twin=clear_loop)
