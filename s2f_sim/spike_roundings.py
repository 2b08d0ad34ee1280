"""Roundings of the event graph: what float32 accumulation costs, counted from the spikes."""

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import DType, Graph, Node
from s2f_deploy.ops import OPS, evaluate
from s2f_deploy.ops.neuron import leak_shift
from s2f_sim.error_bounds import window_sums, wired

Array = NDArray[Any]


def spike_roundings(graph: Graph, counts: Mapping[str, Array]) -> dict[str, Array]:
    """Roundings k of every neuron's membrane, every output and every sampling's offsets.

    All are float64[C or 1, ...].

    A membrane that S spikes reach is a bias and S rows, added in some order: at most S additions
    on any path, and every weight and bias was itself rounded once when it was folded. An engine
    that multiplies rows by counts instead rounds no more often: where all counts are one, the
    products are exact. Integers round nothing. `error_bounds` says what k is for.

    Args:
        graph: an EVENT graph.
        counts: for every neuron the counts it hands on, uint8[C, ...], one sample.
    """
    reached: dict[str, list[Array]] = {}
    found: dict[str, Array] = {}
    emitted = dict(counts)
    for node in graph.nodes:
        before = [reached.get(name, [_none(node)] * node.output.steps) for name in node.inputs]
        if node.op == "deformable_sample":
            # Of its offsets: where it reads depends on them.
            found[node.name] = reduce(np.maximum, before[1])
        if node.op in ("integrate_fire", "output"):
            found[node.name] = _at_all_steps(node, before[0])
        elif node.inputs and node.output.dtype is DType.COUNT:
            read = [emitted[name] for name in node.inputs]
            emitted[node.name] = evaluate(node, read, graph.arrays(node))
        elif node.op == "repeat":
            reached[node.name] = before[0][:1] * node.output.steps
        elif node.op == "time_sum":
            reached[node.name] = [np.max(before[0], axis=0) + len(before[0])]
        elif node.inputs:
            reached[node.name] = _by_step(graph, node, reached, emitted)
        else:
            reached[node.name] = [_none(node)] * node.output.steps
    return found


def _by_step(
    graph: Graph, node: Node, reached: Mapping[str, list[Array]], emitted: Mapping[str, Array]
) -> list[Array]:
    steps = node.output.steps
    momentary = replace(node, output=replace(node.output, steps=1))
    found = []
    for t in range(steps):
        before = {name: reached[name][t] for name in node.inputs if name in reached}
        now = {
            name: emitted[name][t] if steps > 1 else emitted[name]
            for name in node.inputs
            if name in emitted
        }
        found.append(_roundings(graph, momentary, before, now))
    return found


def _at_all_steps(node: Node, currents: list[Array]) -> Array:
    """Of outputs and membranes; those that remember round twice a timestep, see `remembered`."""
    if node.output.steps == 1:
        return currents[0]
    found = [np.broadcast_to(currents[0], node.output.shape)]
    for now in currents[1:]:
        carried = found[-1] + 2 if leak_shift(node) else now
        found.append(np.broadcast_to(np.maximum(carried, now + 1), node.output.shape))
    return np.stack(found)


def _none(node: Node) -> Array:
    return np.zeros((1,) * len(node.output.shape))


def _roundings(
    graph: Graph, node: Node, reached: Mapping[str, Array], emitted: Mapping[str, Array]
) -> Array:
    if node.output.dtype is DType.INT32:
        return _none(node)
    before = [reached.get(name, np.zeros(1)) for name in node.inputs]
    match node.op:
        case "event_conv2d":
            rows = graph.arrays(node)[0]
            kernel = (rows.shape[0], rows.shape[1])
            longest = window_sums(node, emitted[node.inputs[0]], kernel) + 1
        case "event_linear":
            longest = _none(node) + emitted[node.inputs[0]].sum(dtype=np.int64) + 1
        case "product":
            spikes = emitted[node.inputs[1]].sum(axis=0, dtype=np.int64)
            longest = _none(node) + before[0].max() + spikes + 1
        case "add":
            longest = np.maximum(before[0], before[1]) + 1
        case "reshape" | "rewire" | "concat" | "upsample" | "max_pool":
            sources = [graph.node(name) for name in node.inputs]
            longest = wired(before, sources, node, graph.arrays(node))
        case "host":
            longest = _none(node) + np.inf
        case _:
            longest = _none(node) + before[0].max() + _own_roundings(graph, node)
    return longest


def _own_roundings(graph: Graph, node: Node) -> int:
    """Roundings of a layer that multiplies or pools; its weights were rounded once, too."""
    count = OPS[node.op].roundings
    assert count is not None, node.op
    types = [graph.node(name).output for name in node.inputs]
    return count(node, types, graph.arrays(node)) + len(node.params[:1])
