"""Immutable graph: nodes in topological order, arrays beside them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import IllegalGraphError

Attribute = int | float | str | tuple[int, ...]


class Level(Enum):
    """How far a graph has been lowered; ``ir.verify`` says what is legal at each."""

    FLOAT = "float"
    INTEGER = "integer"
    EVENT = "event"


class DType(Enum):
    """What an element is: a real value, an exact integer sum, or a spike count."""

    FLOAT32 = "float32"
    INT32 = "int32"
    INT64 = "int64"
    COUNT = "count"

    @property
    def is_integer(self) -> bool:
        """Whether it is an integer sum: a membrane in units of its grid."""
        return self in (DType.INT32, DType.INT64)

    @property
    def array_type(self) -> np.dtype[Any]:
        """NumPy's type for arrays of it."""
        return np.dtype(np.uint8 if self is DType.COUNT else self.value)


@dataclass(frozen=True, slots=True)
class TensorType:
    """Type of one value for one sample: no batch axis.

    Attributes:
        shape: channels first, then positions: ``(C,)``, ``(C, N)`` or ``(C, H, W)``.
        levels: largest count, ``D``; 0 unless the element is a count.
        steps: real timesteps, ``T``. Arrays of more than one have them on an axis in front.
    """

    shape: tuple[int, ...]
    dtype: DType
    levels: int = 0
    steps: int = 1

    def __str__(self) -> str:
        levels, steps = self.levels or "", f"@{self.steps}" if self.steps > 1 else ""
        return f"{self.dtype.value}{levels}{steps}[{','.join(map(str, self.shape))}]"

    @property
    def array_shape(self) -> tuple[int, ...]:
        """Of arrays that hold the value: ``shape``, behind T where there are several steps."""
        return (self.steps, *self.shape) if self.steps > 1 else self.shape

    @property
    def channels(self) -> int:
        """Length of the first axis."""
        return self.shape[0]

    @property
    def positions(self) -> int:
        """Product of all axes but the first; 1 for a vector."""
        return prod(self.shape[1:])

    @property
    def plane(self) -> tuple[int, int]:
        """Height and width; tokens are one row, a vector is one position."""
        axes = (1, 1, *self.shape[1:])
        return axes[-2], axes[-1]


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. Immutable: a pass builds a new node with ``dataclasses.replace``.

    Attributes:
        name: unique in the graph; the path of the PyTorch module where one is known.
        op: key into ``OPS``.
        inputs: names of the nodes it reads.
        params: names of the arrays it reads from ``Graph.params``.
        output: type of its result.
        origin: the ONNX node it came from; errors and reports cite it.
        attributes: constants of the operation, sorted by name.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    params: tuple[str, ...]
    output: TensorType
    origin: str
    attributes: tuple[tuple[str, Attribute], ...] = ()

    def __getitem__(self, name: str) -> Any:
        """The attribute called ``name``.

        Raises:
            KeyError: the node has no such attribute.
        """
        return dict(self.attributes)[name]

    def with_attributes(self, **changed: Attribute) -> "Node":
        """The same node with some attributes set."""
        merged = dict(self.attributes) | changed
        return replace(self, attributes=attributes(**merged))


def attributes(**values: Attribute) -> tuple[tuple[str, Attribute], ...]:
    """Attributes in the order ``Node`` keeps them.

    >>> attributes(stride=(1, 1), groups=1)
    (('groups', 1), ('stride', (1, 1)))
    """
    return tuple(sorted(values.items()))


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Graph:
    """A whole network at one level of lowering.

    Attributes:
        nodes: in topological order.
        params: read-only arrays, by name.
        reference: the float network as ONNX, which every equivalence is checked against.
        deployed: the same network with its weights on integer grids, in plain float operators,
            as ONNX; empty where weights stay as trained.
        calibration: pictures by which integer weights are chosen, uint8[N, H, W, 3].
        metadata: what travels with the network: task, classes, preprocessing, digests.
    """

    name: str
    level: Level
    nodes: tuple[Node, ...]
    params: Mapping[str, NDArray[Any]]
    reference: bytes = b""
    deployed: bytes = b""
    calibration: NDArray[np.uint8] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def node(self, name: str) -> Node:
        """The node called ``name``.

        Raises:
            KeyError: there is none.
        """
        return next((n for n in self.nodes if n.name == name), None) or _missing(name)

    def select(self, *ops: str) -> Iterator[Node]:
        """Yield the nodes of some operations, in topological order."""
        return (node for node in self.nodes if node.op in ops)

    def by_name(self) -> dict[str, Node]:
        """All nodes, by name, in topological order."""
        return {node.name: node for node in self.nodes}

    def consumers(self) -> dict[str, list[Node]]:
        """For every node the nodes that read it, once per input they read it by."""
        readers: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for source in node.inputs:
                readers[source].append(node)
        return readers

    def arrays(self, node: Node) -> list[NDArray[Any]]:
        """The arrays ``node`` reads, in its own order."""
        return [self.params[name] for name in node.params]

    def rebuilt(
        self,
        nodes: Mapping[str, Node] | tuple[Node, ...],
        params: Mapping[str, NDArray[Any]] | None = None,
        level: Level | None = None,
    ) -> "Graph":
        """The graph with other nodes; parameters that no node reads any more are dropped."""
        kept = tuple(nodes.values()) if isinstance(nodes, Mapping) else nodes
        source = self.params if params is None else params
        read = {name for node in kept for name in node.params}
        arrays = {name: frozen_array(a) for name, a in source.items() if name in read}
        return replace(self, nodes=kept, params=arrays, level=level or self.level)


def _missing(name: str) -> Node:
    raise KeyError(name)


def frozen_array(values: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only view.

    >>> frozen_array(np.zeros(2)).flags.writeable
    False
    """
    view = values.view()
    view.flags.writeable = False
    return view


def through_wiring(nodes: Mapping[str, Node], name: str) -> Node:
    """The node that computes what ``name`` shows: itself, or what its reshapes rearrange."""
    node = nodes[name]
    while node.op == "reshape":
        node = nodes[node.inputs[0]]
    return node


WIRING = frozenset({"reshape", "rewire", "concat", "upsample", "max_pool"})
"""Operations that move spikes and membranes, and whose type follows from what they read."""


def wired_sources(nodes: Mapping[str, Node], name: str) -> list[Node]:
    """The nodes that compute what ``name`` shows, through wiring of every kind; each once."""
    found: dict[str, Node] = {}
    waiting, seen = [name], set[str]()
    while waiting:
        node = nodes[waiting.pop()]
        if node.op not in WIRING:
            found[node.name] = node
        elif node.name not in seen:
            seen.add(node.name)
            waiting.extend(reversed(node.inputs))
    return list(found.values())


def check_topological(graph: Graph) -> None:
    """Names are unique and every node reads only nodes before it and arrays that exist.

    Raises:
        IllegalGraphError: naming the first node that breaks this.
    """
    seen: set[str] = set()
    for node in graph.nodes:
        unknown = [name for name in node.inputs if name not in seen]
        absent = [name for name in node.params if name not in graph.params]
        if node.name in seen or unknown or absent:
            wrong = f"reads {', '.join(unknown + absent)}, which is not there before it"
            raise IllegalGraphError(
                f"{node.name} is defined twice" if node.name in seen else f"{node.name} {wrong}",
                where=node.origin,
                fix="a pass or the artefact is damaged: export the network again",
            )
        seen.add(node.name)
