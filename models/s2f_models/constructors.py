"""What calling a class or function would give, for the few of them checkpoints need."""

from collections.abc import Callable
from types import NoneType

from s2f_models.stand_in import Named, RefusedError, StandIn, never_runs
from s2f_models.stored_tensor import rebuild_tensor

_ATOMS = (str, bytes, int, float, NoneType, Named, StandIn)
_MAX_KEY_PARTS = 16


def hashable(value: object) -> object:
    """A dictionary key or set member whose hash costs nothing.

    Tuples may be short and hold atoms only: hashing a deeply nested one overruns the
    interpreter's stack.

    Raises:
        RefusedError: anything else.
    """
    parts = value if isinstance(value, tuple) else (value,)
    if len(parts) > _MAX_KEY_PARTS or not all(isinstance(part, _ATOMS) for part in parts):
        raise RefusedError("the file uses a container as a dictionary key or set member")
    return value


def _as_set(_: Named, args: tuple[object, ...]) -> object:
    match args:
        case ():
            return set()
        case (list(listed),):
            members = {hashable(member) for member in listed}
            # Used up, or a small file could have a long list copied over and over.
            listed.clear()
            return members
        case _:
            raise RefusedError("a set is not described the way pickle does it")


def _as_dict(callee: Named, args: tuple[object, ...]) -> object:
    """Ordered, default and plain dictionaries; the factory of a default is dropped."""
    match args:
        case () | (Named(),) | (None,):
            return {}
        case (dict() as counts,) if callee.name == "Counter":
            return counts
        case _:
            raise RefusedError(f"a {callee} is not described the way pickle does it")


def _as_size(_: Named, args: tuple[object, ...]) -> object:
    match args:
        case (tuple(size),):
            return size
        case _:
            raise RefusedError("a torch.Size is not described the way torch does it")


def _as_parameter(_: Named, args: tuple[object, ...]) -> object:
    """A parameter is its tensor."""
    return args[0]


def _as_attribute(callee: Named, args: tuple[object, ...]) -> object:
    """``getattr(class, name)``, how older protocols say a method; nothing is looked up."""
    match args:
        case (Named(), str(name)) if name.isidentifier() and not name.startswith("_"):
            return StandIn(callee, args)
        case _:
            raise never_runs(callee)


def _typed(_: Named, args: tuple[object, ...]) -> object:
    """``_rebuild_from_type_v2(function, type, args, state)``: a tensor with attributes."""
    match args:
        case (Named() as function, Named(), tuple(inner), _) if (
            function.name != "_rebuild_from_type_v2"
        ):
            return construct(function, inner)
        case _:
            raise RefusedError("a tensor is not described the way torch.save does it")


_BUILDERS: dict[str, Callable[[Named, tuple[object, ...]], object]] = {
    "builtins.getattr": _as_attribute,
    "builtins.set": _as_set,
    "collections.Counter": _as_dict,
    "collections.OrderedDict": _as_dict,
    "collections.defaultdict": _as_dict,
    "torch.Size": _as_size,
    "torch._tensor._rebuild_from_type_v2": _typed,
    "torch._utils._rebuild_parameter": _as_parameter,
    "torch._utils._rebuild_parameter_with_state": _as_parameter,
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
}


def construct(callee: object, args: object) -> object:
    """What calling ``callee`` would give if it is in the table, else a stand-in.

    Raises:
        RefusedError: ``callee`` is nothing the file named, or the arguments are not what the
            writer of such an object stores.
    """
    if not isinstance(callee, Named) or not isinstance(args, tuple):
        raise RefusedError("the file calls something that is no class or function")
    builder = _BUILDERS.get(f"{callee.module}.{callee.name}", StandIn)
    return builder(callee, args)
