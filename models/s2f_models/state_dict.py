"""Finding the weights inside what a training script saved."""

import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from s2f_models.errors import shown
from s2f_models.pickled_module import PickledModule, read_module
from s2f_models.stand_in import Named, RefusedError, StandIn
from s2f_models.stored_tensor import StoredTensor

# In order of preference: upstream's evaluation loads "model", so published accuracies are those
# of its weights and not of averaged ones.
_CONTAINERS = ("model", "state_dict", "model_ema")
# What wrappers put around a state dict, for instance timm's ModelEma around a parallel model.
_INNER = (*_CONTAINERS, "module", "ema")
# Where the official SpikeYOLO code puts a whole network; it deploys the averaged one.
_MODULES = ("ema", "model")
_DETECTOR = Named("ultralytics.nn.tasks", "DetectionModel")
_PREFIX = re.compile(r"(?:module\.|backbone\.|model\.)*")
_SAVE = "save model.state_dict(), alone or in a dictionary under 'model'"
# Tied weights share values. A file made to fill the memory has all its tensors share one storage.
_MOST_SHARED = 8
# Counters that the profiler thop leaves behind as buffers.
_LEFT_BEHIND = re.compile(r"(?:.*\.)?total_(?:ops|params)")


@dataclass(frozen=True, slots=True)
class StateDict:
    """Weights as the file names them, wrappers' prefixes removed.

    Attributes:
        container: keys that lead to them, joined by dots; empty if they are the whole file.
        unused: other containers of the file that hold weights too.
        module: the whole network, if the file holds one instead of a state dict.
    """

    tensors: dict[str, StoredTensor]
    container: str
    unused: tuple[str, ...]
    module: PickledModule | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of all tensors, by name."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}


def find_state_dict(root: object) -> StateDict:
    """Find the weights: under ``model``, ``state_dict`` or ``model_ema``, else the whole file.

    A file without any may hold whole pickled detectors instead, under ``ema`` or ``model``.

    Raises:
        RefusedError: there are none, or an entry is no tensor or has the name of another.
    """
    found = list(_candidates(root))
    if not found and (detectors := list(_detectors(root))):
        container, outermost = detectors[0]
        module = read_module(outermost)
        unused = tuple(name for name, _ in detectors[1:])
        return StateDict(_cleaned(module.entries), container, unused, module)
    if not found:
        raise RefusedError(f"no state dict in here, but {_described(root)}", _SAVE)
    container, weights = found[0]
    unused = tuple(name for name, _ in found[1:])
    return StateDict(_cleaned(weights), container, unused)


def _candidates(root: object) -> Iterator[tuple[str, dict[object, object]]]:
    if not isinstance(root, dict):
        return
    for name in _CONTAINERS:
        outer = root.get(name)
        if not isinstance(outer, dict):
            continue
        if _holds_weights(outer):
            yield name, outer
        else:
            inner = ((f"{name}.{key}", outer.get(key)) for key in _INNER)
            yield from ((n, x) for n, x in inner if isinstance(x, dict) and _holds_weights(x))
    if _holds_weights(root):
        yield "", root


def _detectors(root: object) -> Iterator[tuple[str, StandIn]]:
    entries = root if isinstance(root, dict) else {}
    for name, value in ("", root), *((name, entries.get(name)) for name in _MODULES):
        if isinstance(value, StandIn) and value.named == _DETECTOR:
            yield name, value


def _holds_weights(entries: dict[object, object]) -> bool:
    """A state dict names each tensor by the path of its layer: ``head.weight``."""
    return any(
        isinstance(name, str) and "." in name and isinstance(value, StoredTensor)
        for name, value in entries.items()
    )


def _described(root: object) -> str:
    if isinstance(root, StandIn):
        return f"a whole pickled object of class {root.named}"
    if isinstance(root, dict):
        for value in root.values():
            if isinstance(value, StandIn) and value.named.name != "Namespace":
                return f"a whole pickled object of class {value.named}"
        keys = ", ".join(shown(key) for key in list(root)[:8] if isinstance(key, str))
        return f"a dictionary with the keys {keys or '(none)'}"
    return f"an object of type {type(root).__name__}"


def bare_name(name: str) -> str:
    """The name of an entry without what wrappers put before it.

    >>> bare_name("module.model.1.encode_conv.weight")
    '1.encode_conv.weight'
    """
    prefix = _PREFIX.match(name)
    return name[prefix.end() :] if prefix else name


def _cleaned(weights: dict[object, object]) -> dict[str, StoredTensor]:
    tensors: dict[str, StoredTensor] = {}
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, StoredTensor):
            text = name if isinstance(name, str) else type(name).__name__
            raise RefusedError(f"the entry {shown(text)} of the state dict is no tensor", _SAVE)
        if _LEFT_BEHIND.fullmatch(name):
            continue
        bare = bare_name(name)
        if bare in tensors:
            raise RefusedError(
                f"two entries are called {shown(bare)} once their prefixes are removed",
                "save the state dict of one network",
            )
        tensors[bare] = value
    _check_sharing(tensors.values())
    return tensors


def _check_sharing(tensors: Collection[StoredTensor]) -> None:
    stored = {tensor.storage.key: tensor.storage.size_bytes for tensor in tensors}
    held = sum(stored.values())
    wanted = sum(math.prod(t.shape) * t.storage.dtype.itemsize for t in tensors)
    if wanted > _MOST_SHARED * held:
        raise RefusedError(
            f"the weights would take {wanted:,} bytes, but the file holds {held:,} for them",
            "save the state dict of the network itself, with a value for every weight",
        )
