"""How many membranes a graph holds at once, if every sum is held until its last reader has run.

The ``events`` engine holds fewer: sums that are fired at once are never held as a whole.
"""

from collections import defaultdict
from dataclasses import dataclass

from s2f_deploy.ir.graph import Graph, Node

WIRING = frozenset({"input", "output", "reshape"})
"""Operations that show what they read, or what comes from outside."""

MEMBRANES = frozenset(
    {
        "conv2d",
        "linear",
        "affine",
        "event_conv2d",
        "event_linear",
        "attention",
        "add",
        "align",
        "sum_pool",
        "concat",
        "constant",
        "product",
        "rewire",
        "upsample",
        "bilinear_upsample",
        "deformable_sample",
        "max_pool",
        "repeat",
        "time_sum",
    }
)
"""Operations that give sums; others give spikes, or values for the host."""


@dataclass(frozen=True, slots=True)
class LiveMembranes:
    """The moment at which most membranes are held: ``bytes`` of them, while ``layer`` runs."""

    bytes: int
    layer: str


def membrane_bytes(node: Node) -> int:
    """Of the sums that ``node`` gives, one sample, at the accumulator's width; none of spikes."""
    if node.op not in MEMBRANES or node.output.levels:
        return 0
    wide = node.output.dtype.array_type.itemsize
    return node.output.steps * node.output.channels * node.output.positions * wide


def live_membranes(graph: Graph) -> LiveMembranes:
    """As in ``engine.Walk`` node by node, a value is dropped when its last reader has run."""
    holder: dict[str, str] = {}
    dropped_at: dict[str, int] = {}
    for at, node in enumerate(graph.nodes):
        # Wiring shows the memory of its source.
        shows = node.op in WIRING and node.inputs
        holder[node.name] = holder[node.inputs[0]] if shows else node.name
        dropped_at |= {holder[name]: at for name in node.inputs}
    # What nobody reads is never dropped.
    read = {name for node in graph.nodes for name in node.inputs}
    kept = {holder[node.name] for node in graph.nodes if node.name not in read}
    freed: dict[int, int] = defaultdict(int)
    for node in graph.nodes:
        if holder[node.name] == node.name and node.name not in kept:
            freed[dropped_at[node.name]] += membrane_bytes(node)
    live, most = 0, LiveMembranes(0, "")
    for at, node in enumerate(graph.nodes):
        live += membrane_bytes(node)
        if live > most.bytes:
            most = LiveMembranes(live, node.name)
        live -= freed[at]
    return most
