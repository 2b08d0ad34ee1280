"""How event kernels are compiled: the only module that sets Numba options.

A kernel may call kernels and intrinsics and read constants of its own module only, because
Numba's on-disk cache does not notice an edit in another file.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from numba import config, njit, types
from numba.core.errors import TypingError
from numba.extending import intrinsic

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile an event kernel.

    ``nogil`` lets the engine spread row ranges over a thread pool. There is no fastmath: the
    order of a float sum is part of the result.
    """
    return cast("Callable[P, R]", njit(cache=True, nogil=True)(function))


def vector_ir(typing_function: Callable[..., Any], *, twin: Callable[P, R]) -> Callable[P, R]:
    """An intrinsic that emits vector IR, or its plain ``twin`` under NUMBA_DISABLE_JIT=1.

    Numba seldom vectorises a loop over arrays, so the few loops that decide the speed are
    spelled out for LLVM. The twin says in Python what they do and checks its bounds.
    """
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return twin

    @wraps(typing_function)
    def typed(context: Any, *kinds: Any) -> Any:
        # Vector IR counts elements from the first byte; it would ignore strides in silence.
        if any(isinstance(kind, types.Array) and kind.layout != "C" for kind in kinds):
            raise TypingError("kernels take C-contiguous arrays only")
        return typing_function(context, *kinds)

    return cast("Callable[P, R]", intrinsic(typed))
