"""A whole pickled ``nn.Module``, walked without being one: stand-ins inside stand-ins."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from s2f_models.errors import shown
from s2f_models.stand_in import RefusedError, StandIn
from s2f_models.stored_tensor import StoredTensor

_WORD = re.compile(r"[A-Za-z0-9_]+")
# The largest published network has under 2,000 modules, seven deep.
_MAX_MODULES, _MAX_ENTRIES, _MAX_DEPTH, _MAX_NAME = 20_000, 100_000, 32, 100


@dataclass(frozen=True, eq=False, slots=True)
class PickledModule:
    """A network as a file describes it.

    Attributes:
        root: its outermost module.
        entries: parameters and buffers in the order and by the names of its state dict.
        modules: of the whole tree; one that hangs in two places is there twice.
    """

    root: StandIn
    entries: dict[object, object]
    modules: tuple[StandIn, ...]


def attributes(module: StandIn) -> dict[object, object]:
    """What was to become the ``__dict__`` of a module; empty if it has none."""
    return module.state if isinstance(module.state, dict) else {}


def children(module: StandIn) -> dict[object, object]:
    """Its direct submodules by name."""
    named = attributes(module).get("_modules")
    return named if isinstance(named, dict) else {}


def _groups(module: StandIn) -> Iterator[dict[object, object]]:
    """Its dictionaries of submodules, parameters and buffers, absent ones included."""
    found = (attributes(module).get(name) for name in ("_modules", "_parameters", "_buffers"))
    return (group for group in found if isinstance(group, dict))


def read_module(root: StandIn) -> PickledModule:
    """Walk a module and everything inside.

    Raises:
        RefusedError: something in it is no module, or it contains itself.
    """
    entries: dict[object, object] = {}
    modules: list[StandIn] = []
    named = 0
    for prefix, module in _walk(root):
        modules.append(module)
        named += sum(len(group) for group in _groups(module))
        # One object in many places multiplies: the size of the file is no bound.
        if len(modules) > _MAX_MODULES or named > _MAX_ENTRIES:
            raise RefusedError("the file's network has more layers than any that was published")
        entries |= {f"{prefix}{name}": tensor for name, tensor in _tensors(module)}
    return PickledModule(root, entries, tuple(modules))


def _walk(root: StandIn) -> Iterator[tuple[str, StandIn]]:
    """Modules with the prefix of their names, parents first, in the order of registration."""
    waiting = [("", root, 0)]
    while waiting:
        prefix, module, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise RefusedError("the file's network contains itself, or is nested absurdly deep")
        yield prefix, module
        inner, named = [], children(module)
        if len(waiting) + len(named) > _MAX_MODULES:
            raise RefusedError("the file's network has more layers than any that was published")
        for name, child in named.items():
            if isinstance(child, StandIn):
                inner.append((f"{prefix}{_plain(name)}.", child, depth + 1))
            elif child is not None:
                raise RefusedError(f"the layer {shown(prefix)}{_plain(name)} is no module")
        waiting.extend(reversed(inner))


def _tensors(module: StandIn) -> Iterator[tuple[str, StoredTensor]]:
    state = attributes(module)
    hidden = state.get("_non_persistent_buffers_set")
    left_out = hidden if isinstance(hidden, set) else set()
    for group in ("_parameters", "_buffers"):
        named = state.get(group)
        for name, value in named.items() if isinstance(named, dict) else ():
            if value is None or (group == "_buffers" and name in left_out):
                continue
            if not isinstance(value, StoredTensor):
                raise RefusedError(f"the parameter {_plain(name)} of a layer is no tensor")
            yield _plain(name), value


def _plain(name: object) -> str:
    """A name inside a module, which cannot pretend to be a path."""
    if not isinstance(name, str) or len(name) > _MAX_NAME or not _WORD.fullmatch(name):
        raise RefusedError("a layer of the file's network has a name that is no plain word")
    return name
