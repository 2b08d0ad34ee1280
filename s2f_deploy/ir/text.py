"""The printed form of a graph, and its parser: ``parse(print_graph(g))`` has equal nodes.

graph net event
  %image: float32[3,32,32] = input()  # image
  %conv: float32[8,16,16] = conv2d(%image, @conv.weight) {stride=[2,2]}  # node_Conv_0
"""

import json
import re

from s2f_deploy.errors import ArtefactError
from s2f_deploy.ir.graph import Attribute, DType, Graph, Level, Node, TensorType

_NODE = re.compile(
    r"  %(?P<name>\S+): (?P<dtype>float32|int32|int64|count)(?P<levels>\d*)"
    r"(@(?P<steps>\d+))?\[(?P<shape>[\d,]*)\]"
    r" = (?P<op>\w+)\((?P<operands>[^)]*)\) (?P<attributes>\{.*\})  # (?P<origin>.*)"
)

_LEVELS = frozenset(level.value for level in Level)


def print_graph(graph: Graph) -> str:
    """One line per node; arrays are named, not printed."""
    lines = [f"graph {graph.name} {graph.level.value}"]
    for node in graph.nodes:
        operands = ", ".join([f"%{i}" for i in node.inputs] + [f"@{p}" for p in node.params])
        values = json.dumps(dict(node.attributes))
        lines.append(
            f"  %{node.name}: {node.output} = {node.op}({operands}) {values}  # {node.origin}"
        )
    return "\n".join(lines) + "\n"


def parse_graph(text: str) -> Graph:
    """A graph without arrays, from what ``print_graph`` wrote.

    Raises:
        ArtefactError: naming the first line that is not of that form.
    """
    first, *lines = text.splitlines() or [""]
    match first.split():
        case ["graph", name, level] if name.isprintable() and level in _LEVELS:
            nodes = tuple(_parse_node(line, number) for number, line in enumerate(lines, 2))
            return Graph(name, Level(level), nodes, {})
    raise _malformed(first, 1)


def _parse_node(line: str, number: int) -> Node:
    found = _NODE.fullmatch(line)
    # Names are printed: none of them may move a cursor.
    if not found or not line.isprintable():
        raise _malformed(line, number)
    try:
        values: dict[str, Attribute] = json.loads(found["attributes"], parse_constant=float)
        shape = tuple(int(side) for side in found["shape"].split(",") if side)
        levels, steps = int(found["levels"] or 0), int(found["steps"] or 1)
    # Nested too deep is a RecursionError.
    except (ValueError, RecursionError) as error:
        raise _malformed(line, number) from error
    operands = [operand for operand in found["operands"].split(", ") if operand]
    return Node(
        name=found["name"],
        op=found["op"],
        inputs=tuple(o[1:] for o in operands if o.startswith("%")),
        params=tuple(o[1:] for o in operands if o.startswith("@")),
        output=TensorType(shape, DType(found["dtype"]), levels, steps),
        origin=found["origin"],
        attributes=tuple(
            (key, tuple(value) if isinstance(value, list) else value)
            for key, value in values.items()
        ),
    )


def _malformed(line: str, number: int) -> ArtefactError:
    return ArtefactError(
        f"line {number} of the graph is not a node: {line[:80]!r}",
        where="graph.txt",
        fix="the file is damaged or was not written by this version: export it again",
    )
