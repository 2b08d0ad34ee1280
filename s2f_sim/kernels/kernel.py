"""How event kernels are compiled: the only module that sets Numba options."""

import hashlib
from collections.abc import Callable
from functools import cache, update_wrapper
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from numba import config, njit, types
from numba.core import caching
from numba.core.errors import TypingError
from numba.core.runtime.nrt import rtsys
from numba.extending import intrinsic

P = ParamSpec("P")
R = TypeVar("R")


@cache
def _digest_of_kernels() -> str:
    """Of every source file of this package."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


class KernelCacheLocator(caching._CacheLocator):
    """Where compiled kernels are kept, and what makes them stale: an edit to any kernel's file.

    Numba's own locators look at the file of the function alone, so that a kernel would go on
    running what a kernel or an intrinsic of another file was when it was compiled.
    """

    def __init__(self, place: Any) -> None:
        self._place = place

    def get_cache_path(self) -> str:
        """The directory Numba itself would choose."""
        return cast("str", self._place.get_cache_path())

    def get_source_stamp(self) -> str:
        """Compared with the stamp of the compiled file; any difference compiles again."""
        return _digest_of_kernels()

    def get_disambiguator(self) -> str:
        """Tells functions of one name apart."""
        return cast("str", self._place.get_disambiguator())

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> "KernelCacheLocator | None":
        """The first of Numba's places that can be written."""
        places: list[Any] = caching.CacheImpl._locator_classes
        for locator in places:
            if (place := locator.from_function(py_func, py_file)) is not None:
                return cls(place)
        return None


class _KernelCache(caching.FunctionCache):
    """Compiled kernels on disk, loaded without what only compiling needs.

    Numba's own cache first imports all that it can compile, SciPy among it: half a second.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The kernel as compiled for these types, or None; compiling then imports what it needs."""
        rtsys.initialize(target_context)
        numbas: Any = self
        with numbas._guard_against_spurious_io_errors():
            return numbas._load_overload(sig, target_context)


def _cache_of(function: Callable[..., Any]) -> Any:
    settings: Any = config
    cache: Any = _KernelCache
    before = settings.CACHE_LOCATOR_CLASSES
    settings.CACHE_LOCATOR_CLASSES = f"{__name__}.{KernelCacheLocator.__name__}"
    try:
        return cache(function)
    finally:
        settings.CACHE_LOCATOR_CLASSES = before


def _compiled(function: Callable[P, R], **flags: Any) -> Callable[P, R]:
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return function
    # Nobody calls kernels from C, and nobody divides by zero: less to compile.
    compiler: Any = njit
    frugal = {"no_cfunc_wrapper": True, "error_model": "numpy"}
    dispatcher: Any = compiler(nogil=True, **frugal, **flags)(function)
    dispatcher._cache = _cache_of(function)
    return cast("Callable[P, R]", dispatcher)


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile an event kernel.

    ``nogil`` lets the engine spread row ranges over a thread pool. There is no fastmath: the
    order of a float sum is part of the result.
    """
    return _compiled(function)


def part(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a part of kernels into each of them.

    A kernel that calls another compiles both, and the other one again as its own.
    """
    return _compiled(function, inline="always")


def vector_ir(typing_function: Callable[..., Any], *, twin: Callable[P, R]) -> Callable[P, R]:
    """An intrinsic that emits vector IR, or its plain ``twin`` under NUMBA_DISABLE_JIT=1.

    Numba seldom vectorises a loop over arrays, so the few loops that decide the speed are
    spelled out for LLVM. The twin says in Python what they do and checks its bounds.

    Args:
        typing_function: what `numba.extending.intrinsic` takes.
        twin: takes the same arguments by the same names.
    """
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return twin

    def typed(context: Any, *kinds: Any) -> Any:
        # Vector IR counts elements from the first byte; it would ignore strides in silence.
        if any(one.layout != "C" for kind in kinds for one in _arrays(kind)):
            raise TypingError("kernels take C-contiguous arrays only")
        return typing_function(context, *kinds)

    return cast("Callable[P, R]", intrinsic(update_wrapper(typed, typing_function)))


def _arrays(kind: Any) -> list[Any]:
    """An array, or those of a NamedTuple."""
    return [one for one in getattr(kind, "types", [kind]) if isinstance(one, types.Array)]
