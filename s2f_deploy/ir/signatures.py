"""What a node of an EVENT graph may be made of: operands, constants and arrays.

Kernels index by what a node says, and compiled code runs off the end of an array in silence; a
constant out of a file may ask for any amount of memory. So all of it is checked before anything
computes with it: here how many there are, their types and ranges, by each operation's
``infer_type`` and ``check_bounds`` how they fit together.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import IllegalGraphError
from s2f_deploy.ir.graph import WIRING, DType, Graph, Node, TensorType

Arrays = Sequence[NDArray[Any]]
_Fits = Callable[[Any], bool]
_ArraysFit = Callable[[Node, TensorType | None, Arrays], bool]

# Beyond any network that could be run in its time; they keep a made-up file from asking for it.
MOST_NODES, MOST_WIRING = 1 << 14, 64
MOST_CHANNELS, MOST_ELEMENTS, MOST_STEPS, MOST_LEVELS = 1 << 20, 1 << 28, 1 << 10, 255
_LARGEST_SIDE, _LARGEST_RANK, _IMAGE_RANK = 1 << 24, 4, 3
_INT32 = np.iinfo(np.int32)
_WEIGHTS = tuple(map(np.dtype, (np.int8, np.int16, np.int32, np.float32)))
_WEIGHT_BYTES = 2


def _whole(least: int, most: int) -> _Fits:
    return lambda value: type(value) is int and least <= value <= most


def _wholes(count: int, least: int, most: int) -> _Fits:
    fits = _whole(least, most)
    return lambda value: isinstance(value, tuple) and len(value) == count and all(map(fits, value))


@dataclass(frozen=True, slots=True)
class Signature:
    """Of one operation.

    Attributes:
        inputs: how many nodes it reads, at least and at most.
        arrays: the same of arrays.
        constants: its attributes, each with what it may be.
        optional: those of them that may be missing.
        arrays_fit: whether types and shapes of the arrays are those it computes with, given the
            type of the first input.
    """

    inputs: tuple[int, int] = (1, 1)
    arrays: tuple[int, int] = (0, 0)
    constants: Mapping[str, _Fits] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    arrays_fit: _ArraysFit = lambda _node, _source, _arrays: True


def _finite(*arrays: NDArray[Any]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays if array.dtype.kind == "f")


def _sums(weight: NDArray[Any], bias: NDArray[Any]) -> bool:
    """Weights and bias of one arithmetic, none of them empty."""
    whole = weight.dtype.kind == "i"
    wide = (np.int32, np.int64) if whole else (np.float32,)
    known = weight.dtype in _WEIGHTS and any(bias.dtype == kind for kind in wide)
    return known and min(weight.shape) > 0 and _finite(weight, bias)


def _padded(node: Node, source: TensorType) -> bool:
    top, left, bottom, right = node["padding"]
    height, width = source.plane
    padded = source.channels * (top + height + bottom) * (left + width + right)
    return bool(padded <= MOST_ELEMENTS)


def _convolves(output_axis: int) -> _ArraysFit:
    def fit(node: Node, source: TensorType | None, arrays: Arrays) -> bool:
        weight, bias = arrays
        if weight.ndim != 4 or source is None:  # noqa: PLR2004 (O, I, KH, KW in some order)
            return False
        outputs = (weight.shape[output_axis],)
        biases = (outputs, (*outputs, *node.output.plane))
        return _sums(weight, bias) and bias.shape in biases and _padded(node, source)

    return fit


def _connects(output_axis: int) -> _ArraysFit:
    def fit(_: Node, __: TensorType | None, arrays: Arrays) -> bool:
        weight, bias = arrays
        if weight.ndim != 2:  # noqa: PLR2004 (O, I)
            return False
        return _sums(weight, bias) and bias.shape == (weight.shape[output_axis],)

    return fit


def _scales(_: Node, __: TensorType | None, arrays: Arrays) -> bool:
    vectors = all(array.ndim == 1 and array.dtype.kind == "f" for array in arrays)
    return vectors and _finite(*arrays)


def _holds(node: Node, _: TensorType | None, arrays: Arrays) -> bool:
    (values,) = arrays
    known = values.dtype == node.output.dtype.array_type and _finite(values)
    return known and (node.output.dtype is not DType.COUNT or values.max() <= node.output.levels)


def _fires(node: Node, _: TensorType | None, arrays: Arrays) -> bool:
    comparators, *one_count = arrays
    remembers = "leak_shift" in dict(node.attributes) and node["leak_shift"] > 0
    return (
        comparators.ndim == 2  # noqa: PLR2004 (D, C)
        and len(comparators) == node["levels"] == node.output.levels
        and len(one_count) == remembers
        # Infinity is never reached; what is no number would be compared with.
        and not np.isnan(comparators).any()
        and _finite(*one_count)
    )


def _pools(node: Node, source: TensorType | None, _: Arrays) -> bool:
    return source is not None and len(source.shape) == _IMAGE_RANK and _padded(node, source)


def _of(kind: type[np.integer[Any]]) -> _ArraysFit:
    """A vector of one type of integer, if there is any."""
    return lambda _node, _source, arrays: all(
        array.ndim == 1 and array.size and array.dtype == kind for array in arrays
    )


def _keeps_type(node: Node, source: TensorType | None, _: Arrays) -> bool:
    """Integers may widen, nothing else."""
    if source is None:
        return False
    old, new = source.dtype, node.output.dtype
    return old is new or (old.is_integer and new is DType.INT64)


def _attends(node: Node, _: TensorType | None, __: Arrays) -> bool:
    return node.output.dtype is not DType.COUNT


_GEOMETRY: Mapping[str, _Fits] = {
    "stride": _wholes(2, 1, _LARGEST_SIDE),
    "padding": _wholes(4, 0, _LARGEST_SIDE),
}
_ENLARGING: Mapping[str, _Fits] = {
    "plane": _wholes(2, 1, _LARGEST_SIDE),
    "bits": _whole(0, 16),
}
_CONVOLUTION: Mapping[str, _Fits] = {**_GEOMETRY, "groups": _whole(1, MOST_CHANNELS)}
_WINDOW: Mapping[str, _Fits] = {**_GEOMETRY, "kernel": _wholes(2, 1, _LARGEST_SIDE)}
_HEADS: Mapping[str, _Fits] = {
    "heads": _whole(1, MOST_CHANNELS),
    "association": lambda value: value in ("qk_v", "q_kv"),
}
_NEURON: Mapping[str, _Fits] = {
    "levels": _whole(1, MOST_LEVELS),
    "window": _whole(1, MOST_NODES),
    "leak_shift": _whole(0, 62),
}
_SAMPLING: Mapping[str, _Fits] = {
    "groups": _whole(1, MOST_CHANNELS),
    "kernel": _whole(1, 1 << 10),
    "bits": _whole(0, 16),
}
_GRID: Mapping[str, _Fits] = {
    "exponent": _whole(-100, 100),
    "low": _whole(int(_INT32.min), 0),
    "high": _whole(0, int(_INT32.max)),
}

SIGNATURES: Mapping[str, Signature] = {
    "input": Signature((0, 0), arrays_fit=lambda node, *_: node.output.dtype is DType.FLOAT32),
    "constant": Signature((0, 0), (1, 1), arrays_fit=_holds),
    "output": Signature(),
    "conv2d": Signature((1, 1), (2, 2), _CONVOLUTION, arrays_fit=_convolves(0)),
    "event_conv2d": Signature((1, 1), (2, 2), _CONVOLUTION, arrays_fit=_convolves(3)),
    "linear": Signature((1, 1), (2, 2), arrays_fit=_connects(0)),
    "event_linear": Signature((1, 1), (2, 2), arrays_fit=_connects(1)),
    "attention": Signature((3, 3), (0, 0), _HEADS, arrays_fit=_attends),
    "product": Signature((2, 2), arrays_fit=_keeps_type),
    "add": Signature((2, 2)),
    "affine": Signature((1, 1), (2, 2), arrays_fit=_scales),
    "sum_pool": Signature(),
    "max_pool": Signature((1, 1), (0, 0), _WINDOW, arrays_fit=_pools),
    "reshape": Signature(),
    "rewire": Signature((1, 1), (1, 1), arrays_fit=_of(np.int32)),
    "concat": Signature((1, MOST_NODES)),
    "upsample": Signature((1, 1), (0, 0), {"factors": _wholes(2, 1, _LARGEST_SIDE)}),
    "bilinear_upsample": Signature((1, 1), (0, 0), _ENLARGING),
    "deformable_sample": Signature((3, 3), (0, 1), _SAMPLING, arrays_fit=_of(np.int8)),
    "repeat": Signature((1, 1), (0, 0), {"steps": _whole(1, MOST_STEPS)}),
    "time_sum": Signature(),
    "digitise": Signature((1, 1), (0, 0), _GRID),
    "align": Signature((1, 1), (1, 1), arrays_fit=_of(np.uint8)),
    "read_out": Signature((1, 1), (1, 1), arrays_fit=_of(np.int32)),
    "integrate_fire": Signature(
        (1, 1), (1, 2), _NEURON, frozenset({"leak_shift"}), arrays_fit=_fires
    ),
    "host": Signature(
        (1, MOST_NODES), (1, 1), {"macs": _whole(0, 1 << 62)}, arrays_fit=_of(np.uint8)
    ),
}


def check_node(node: Node, inputs: Sequence[TensorType], arrays: Arrays) -> None:
    """A node of an EVENT graph by itself.

    Raises:
        IllegalGraphError: saying what of it no lowering writes.
    """
    signature = SIGNATURES.get(node.op)
    if signature is None:
        raise _illegal(node, f"{node.op} has no signature")
    for kind, found, (least, most) in (
        ("inputs", inputs, signature.inputs),
        ("arrays", arrays, signature.arrays),
    ):
        if not least <= len(found) <= most:
            raise _illegal(node, f"{node.op} {node.name} has {len(found)} {kind}")
    _check_type(node)
    _check_constants(node, signature)
    if not signature.arrays_fit(node, inputs[0] if inputs else None, arrays):
        shown = ", ".join(f"{a.dtype}{list(a.shape)}" for a in arrays) or node.output.dtype.value
        raise _illegal(node, f"{node.op} {node.name} cannot compute with {shown}")


def _check_type(node: Node) -> None:
    output = node.output
    sides = 1 <= len(output.shape) <= _LARGEST_RANK and min(output.shape) > 0
    counts = 1 <= output.levels <= MOST_LEVELS if output.dtype is DType.COUNT else not output.levels
    if not sides or not counts or not 1 <= output.steps <= MOST_STEPS:
        raise _illegal(node, f"{node.name} cannot be {output}")
    large = output.steps * math.prod(output.shape) > MOST_ELEMENTS
    if large or output.channels > MOST_CHANNELS:
        raise _illegal(node, f"{node.name} is larger than any network's: {output}")


def _check_constants(node: Node, signature: Signature) -> None:
    said, known = dict(node.attributes), signature.constants
    missing = known.keys() - said.keys() - signature.optional
    wrong = [name for name, value in said.items() if name not in known or not known[name](value)]
    for name in (*sorted(missing), *wrong):
        raise _illegal(node, f"{node.op} {node.name} has no {name} that makes sense")


def check_wiring(graph: Graph) -> None:
    """An EVENT graph as a whole: what enters, what leaves, how long wiring is.

    Raises:
        IllegalGraphError: naming the node that no lowering writes.
    """
    inputs, outputs = (list(graph.select(op)) for op in ("input", "output"))
    if len(inputs) != 1 or not outputs:
        raise IllegalGraphError(
            "the graph has not one input and some outputs", where=graph.name, fix=_FIX
        )
    if len(graph.nodes) > MOST_NODES:
        raise _illegal(inputs[0], f"the graph has {len(graph.nodes):,} nodes")
    length: dict[str, int] = {}
    results = {node.name for node in outputs}
    for node in graph.nodes:
        if results.intersection(node.inputs):
            raise _illegal(node, f"{node.name} reads an output")
        before = max((length[name] for name in node.inputs), default=0)
        length[node.name] = before + 1 if node.op in WIRING else 0
        if length[node.name] > MOST_WIRING:
            raise _illegal(node, f"{node.name} is the end of {MOST_WIRING} wirings in a row")


def check_weights(graph: Graph) -> None:
    """Integer weights that spikes add are of 8 or 16 bits, others no wider than their sums.

    Raises:
        IllegalGraphError: naming the first node with wider ones.
    """
    for node in graph.select("conv2d", "event_conv2d", "linear", "event_linear"):
        weight, bias = graph.arrays(node)[:2]
        most = _WEIGHT_BYTES if node.op.startswith("event_") else bias.dtype.itemsize
        if weight.dtype.kind == "i" and weight.dtype.itemsize > most:
            raise _illegal(node, f"{node.op} {node.name} has weights of {weight.dtype}")


_FIX = "the artefact is damaged: export the network again"


def _illegal(node: Node, what: str) -> IllegalGraphError:
    return IllegalGraphError(what, where=node.origin, fix=_FIX)
