"""The last step: INTEGER to EVENT."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import UnsupportedPatternError
from s2f_deploy.ir.bounds import intervals
from s2f_deploy.ir.graph import WIRING, DType, Graph, Level, Node, TensorType, wired_sources
from s2f_deploy.ops import infer_type
from s2f_deploy.ops.bilinear_upsample import ROUNDED_BITS
from s2f_deploy.ops.neuron import leak_shift
from s2f_deploy.ops.real_time import counts_per_unit, membrane_interval
from s2f_deploy.passes.comparators import comparators
from s2f_deploy.passes.integer_types import EXACT_IN_DOUBLE
from s2f_deploy.passes.merge_convolutions import Chains, separable_chains


def to_integer(graph: Graph) -> Graph:
    """Declare the level: norms, scales and chains are gone, neurons emit integers."""
    return graph.rebuilt(graph.nodes, level=Level.INTEGER)


def to_events(graph: Graph, *, keep_chains: Chains = "none") -> Graph:
    """Give every neuron its window and comparators, every synapse its weights as rows.

    A neuron's window opens after the windows of all its sources have closed: a spike cannot be
    taken back. Attention takes the cheaper of its two associations. Requires an INTEGER graph.

    Weights that are no integers become float32. Layers that multiply real values on the way to a
    neuron are let through if they are of chains that were kept.

    Raises:
        UnsupportedPatternError: real values would be multiplied on the way to a neuron, or an
            attention could leave 53 bits.
    """
    nodes: dict[str, Node] = {}
    params: dict[str, NDArray[Any]] = dict(graph.params)
    windows: dict[str, int] = {}
    let_through = _let_through(graph, keep_chains)
    for node in graph.nodes:
        window = max((windows[name] for name in node.inputs), default=0)
        sources = [nodes[name].output for name in node.inputs]
        if node.op == "integer_fire":
            window += 1
            nodes[node.name] = _integrate_fire(graph, node, sources[0], window, params)
        elif node.op in ("conv2d", "linear"):
            nodes[node.name] = _synapse(graph, node, sources[0], params)
            if nodes[node.name].op == node.op and node.name not in let_through:
                _refuse_chain(graph, node)
        elif node.op == "attention":
            nodes[node.name] = _attention(node, sources)
        elif node.op == "constant":
            nodes[node.name] = _constant(graph, node, params)
        elif node.op in WIRING:
            output = infer_type(node, sources, graph.arrays(node))
            nodes[node.name] = replace(node, output=output)
        else:
            nodes[node.name] = _as_it_is(node, sources)
        windows[node.name] = window
    return graph.rebuilt(nodes, params, Level.EVENT)


def _as_it_is(node: Node, sources: Sequence[TensorType]) -> Node:
    if node.op != "bilinear_upsample" or node["bits"]:
        return node
    small, large = ("x".join(map(str, side)) for side in (sources[0].plane, node["plane"]))
    raise UnsupportedPatternError(
        f"{node.origin} interpolates {small} to {large}, which no shifts and additions do exactly",
        where=node.name,
        fix="use images whose sides are multiples of 16: every map is then enlarged twofold; or "
        f"integer weights, with which shares of pixels are rounded to {ROUNDED_BITS} bits",
    )


def _integrate_fire(
    graph: Graph,
    node: Node,
    membrane: TensorType,
    window: int,
    params: dict[str, NDArray[Any]],
) -> Node:
    scale, shift = graph.arrays(node) or (np.ones(1), np.zeros(1))
    name = f"{node.name}.comparators"
    if leak_shift(node):
        return _remembering(graph, node, membrane, window, params)
    params[name] = comparators(node, membrane.dtype, scale, shift)
    changed = replace(node, op="integrate_fire", params=(name,), attributes=())
    return changed.with_attributes(levels=node["levels"], window=window)


def _remembering(
    graph: Graph,
    node: Node,
    current: TensorType,
    window: int,
    params: dict[str, NDArray[Any]],
) -> Node:
    """A neuron of real time: comparators of its own, finer membrane, and what one count is."""
    scale, _ = graph.arrays(node) or (np.ones(1), np.zeros(1))
    shift, steps, wide, count = leak_shift(node), node.output.steps, current.dtype, 1 / scale
    if wide.is_integer:
        bits = np.rint(-np.log2(scale)).astype(np.int64)
        by_channel = np.broadcast_to(bits, current.channels)
        currents = intervals(graph)[node.inputs[0]]
        bounds = membrane_interval(currents, node["levels"], by_channel, shift, steps)
        wide = DType.INT32 if bounds.fits(DType.INT32) else DType.INT64
        if bounds.reach >= EXACT_IN_DOUBLE:
            raise UnsupportedPatternError(
                f"the membranes of {node.name} can reach {bounds.reach:,}, which 53 bits do not "
                "hold",
                where=node.origin,
                fix="use --weights int8, fewer timesteps or a smaller D",
            )
        count = bits.astype(np.uint8)
        scale = counts_per_unit(bits, shift, steps)
    names = (f"{node.name}.comparators", f"{node.name}.count")
    params[names[0]] = comparators(node, wide, scale, np.zeros(1))
    params[names[1]] = count if wide.is_integer else count.astype(np.float32)
    changed = replace(node, op="integrate_fire", params=names, attributes=())
    return changed.with_attributes(levels=node["levels"], window=window, leak_shift=shift)


def _synapse(graph: Graph, node: Node, source: TensorType, params: dict[str, NDArray[Any]]) -> Node:
    weight, bias = graph.arrays(node)
    if weight.dtype.kind == "f":
        weight, bias = weight.astype(np.float32), bias.astype(np.float32)
    if source.dtype is DType.COUNT:
        weight = weight.transpose(2, 3, 1, 0) if node.op == "conv2d" else weight.T
        node = replace(node, op=f"event_{node.op}")
    names = (f"{node.name}.weight", f"{node.name}.bias")
    params |= dict(zip(names, (np.ascontiguousarray(weight), bias), strict=True))
    return replace(node, params=names)


def _constant(graph: Graph, node: Node, params: dict[str, NDArray[Any]]) -> Node:
    """Held values of the type that they are added to."""
    name = f"{node.name}.held"
    params[name] = graph.arrays(node)[0].astype(node.output.dtype.array_type)
    return replace(node, params=(name,))


def _let_through(graph: Graph, kept: Chains) -> frozenset[str]:
    """Layers that may multiply real values on the way to a neuron."""
    if kept == "all":
        return frozenset(node.name for node in graph.select("conv2d", "linear"))
    return separable_chains(graph) if kept == "separable" else frozenset()


def _refuse_chain(graph: Graph, node: Node) -> None:
    if _scales(graph, node) or is_encoding(graph, node):
        return
    if feeds_neuron(graph, node):
        raise UnsupportedPatternError(
            f"{node.name} would multiply real values on the way to a neuron",
            where=node.origin,
            fix="put a neuron before it, or merge it with the layer that feeds it",
        )


def _scales(graph: Graph, node: Node) -> bool:
    """Whether a layer only gives every channel a factor, which no weights could take up."""
    weight = graph.arrays(node)[0]
    return node.op == "conv2d" and weight.size == len(weight) == node["groups"]


def is_encoding(graph: Graph, node: Node) -> bool:
    """Whether a layer reads the image alone, be it digitised or as it is."""
    sources = wired_sources(graph.by_name(), node.inputs[0])
    return all(source.op in ("input", "digitise") for source in sources)


def feeds_neuron(graph: Graph, node: Node) -> bool:
    """Whether what it computes reaches a neuron."""
    reached = {node.name}
    for later in graph.nodes:
        if reached.intersection(later.inputs):
            if later.op in ("integer_fire", "integrate_fire"):
                return True
            reached.add(later.name)
    return False


def _attention(node: Node, sources: list[TensorType]) -> Node:
    query, key, value = sources
    heads = node["heads"]
    head_width, value_width = query.channels // heads, value.channels // heads
    bound = query.levels * key.levels * value.levels * key.positions * head_width
    if bound >= EXACT_IN_DOUBLE:
        raise UnsupportedPatternError(
            f"the sums of {node.name} can reach {bound:,}, which 53 bits do not hold",
            where=node.origin,
            fix="use fewer tokens (a smaller image) or a smaller D",
        )
    wide = DType.INT32 if bound < np.iinfo(np.int32).max else DType.INT64
    node = replace(node, output=replace(node.output, dtype=wide))
    # Additions per spike: as many as queries of keys and values for (q kᵀ) v; d_v of keys and
    # queries for q (kᵀ v).
    squared = query.positions * key.positions * (head_width + value_width)
    linear = (query.positions + key.positions) * head_width * value_width
    return node.with_attributes(association="q_kv" if linear <= squared else "qk_v")
