"""What is legal at each level, checked after every pass."""

from collections.abc import Sequence

from s2f_deploy.errors import IllegalGraphError
from s2f_deploy.ir.bounds import check_bounds
from s2f_deploy.ir.graph import (
    WIRING,
    DType,
    Graph,
    Level,
    Node,
    TensorType,
    check_topological,
)
from s2f_deploy.ir.signatures import check_node, check_weights, check_wiring
from s2f_deploy.ops import OPS, infer_type

# Operations that take counts and give membranes, by accumulation alone.
ACCUMULATING = frozenset({"event_conv2d", "event_linear", "attention"})
# Operations that multiply: legal in an EVENT graph on real values only, and counted as MAC.
MULTIPLYING = frozenset({"conv2d", "linear", "affine"})
# Operations in which spikes read what is held: membranes first, counts last.
READING = frozenset({"product", "deformable_sample"})


def verify(graph: Graph) -> None:
    """Check names, operations, types and the rules of the graph's level.

    Raises:
        IllegalGraphError: naming the first node that breaks a rule, or whose integers could wrap.
        ShapeMismatchError: two operands do not fit.
    """
    check_topological(graph)
    types: dict[str, TensorType] = {}
    for node in graph.nodes:
        op = OPS.get(node.op)
        if op is None or graph.level not in op.levels:
            raise _illegal(node, f"{node.op} is no operation of a {graph.level.value} graph")
        inputs = [types[name] for name in node.inputs]
        if graph.level is Level.EVENT:
            check_node(node, inputs, graph.arrays(node))
        inferred = infer_type(node, inputs, graph.arrays(node))
        if inferred != node.output:
            raise _illegal(node, f"{node.name} is {inferred} but declared {node.output}")
        if graph.level is not Level.FLOAT:
            _verify_operands(node, inputs, graph.level)
        types[node.name] = node.output
    if graph.level is Level.EVENT:
        check_wiring(graph)
        check_bounds(graph)
        check_weights(graph)


def _verify_operands(node: Node, inputs: Sequence[TensorType], level: Level) -> None:
    """From INTEGER down, counts feed synapses only, and synapses feed neurons only currents."""
    counts = [source.dtype is DType.COUNT for source in inputs]
    if node.op in ACCUMULATING and not all(counts):
        raise _illegal(node, f"{node.op} {node.name} reads real values")
    if node.op in MULTIPLYING and level is Level.EVENT and any(counts):
        raise _illegal(node, f"{node.op} {node.name} would multiply spike counts")
    if node.op in READING and counts != [False] * (len(counts) - 1) + [True]:
        raise _illegal(node, f"{node.op} {node.name} needs membranes, read by spikes")
    passing = ACCUMULATING | MULTIPLYING | READING | WIRING | {"output"}
    if any(counts) and node.op not in passing:
        raise _illegal(node, f"{node.op} {node.name} reads counts that no synapse has weighed")


def _illegal(node: Node, what: str) -> IllegalGraphError:
    return IllegalGraphError(
        what,
        where=node.origin,
        fix="this network cannot be lowered as it is: put a neuron or a synapse between",
    )
