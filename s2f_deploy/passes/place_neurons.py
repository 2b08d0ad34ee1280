"""Neurons move in front of the wiring that feeds them, and equal populations become one.

A neuron is elementwise and never decreases. It therefore gives the same counts in front of a
concatenation, of an upsampling and, as long as it has no memory, of a max pooling, as it gives
behind; all of these then move spikes, not membranes. There, several neurons often read the same
values under the same comparators: they are one population that fires once.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from s2f_deploy.ir.graph import WIRING, Graph, Node, through_wiring, wired_sources
from s2f_deploy.ops.neuron import leak_shift

MERGED = ("constant", "add")
"""Operations of which one serves all that would give the same, beside neurons and their wiring."""

MOVED = ".source"
"""What a neuron is called, behind its name, that moved in front of wiring with one source."""


def place_neurons(graph: Graph) -> Graph:
    """Fire once per population, as near to the layer that feeds it as is exact.

    A node that only shows what other neurons fire keeps the name of the neuron it stands for. New
    neurons are called after it, and cite the ONNX node on whose result they fire. Requires and
    gives a FLOAT graph.

    Source: Luo et al. 2024, arXiv:2407.20708 (the networks); Proposition 1 of Yao et al. 2025,
    arXiv:2411.16061 (why pooling counts is an OR of spikes).
    """
    return _shared(_moved(_with_gains(graph)), {node.name for node in graph.nodes})


def _with_gains(graph: Graph) -> Graph:
    """A power of two by which one neuron's current is scaled becomes the neuron's own.

    Neurons that scale the same current alike are then seen to be alike.
    """
    known = graph.by_name()
    nodes = []
    for node in graph.nodes:
        source = known[node.inputs[0]] if node.op == "integer_fire" else node
        if node.op == "integer_fire" and source.op == "affine" and not node.params:
            scale, shift = graph.arrays(source)
            if scale.size == 1 and np.frexp(scale.item())[0] == 0.5 and not shift.any():  # noqa: PLR2004
                nodes.append(replace(node, inputs=source.inputs, params=source.params))
                continue
        nodes.append(node)
    return graph.rebuilt(_read_by_someone(tuple(nodes)))


def _moved(graph: Graph) -> Graph:
    known = graph.by_name()
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        if node.op == "integer_fire":
            for placed in _placed(node, known):
                nodes[placed.name] = known[placed.name] = placed
        else:
            nodes[node.name] = node
    return graph.rebuilt(_read_by_someone(tuple(nodes.values())))


def _placed(neuron: Node, known: dict[str, Node]) -> Iterable[Node]:
    """The neuron, or neurons nearer to the input and the wiring of their spikes."""
    wiring = known[neuron.inputs[0]]
    shown = through_wiring(known, wiring.name)
    remembers = shown.op == "max_pool" and leak_shift(neuron) > 0
    if shown.op not in WIRING or remembers or _attends(known, wiring.name):
        yield neuron
        return
    single = len(wiring.inputs) == 1
    names = []
    for i, source in enumerate(wiring.inputs):
        name = f"{neuron.name}{MOVED}" if single else f"{neuron.name}.{i}"
        while name in known:
            name += "_"
        moved = replace(
            neuron,
            name=name,
            inputs=(source,),
            output=replace(neuron.output, shape=known[source].output.shape),
            origin=known[source].origin,
        )
        names.append(name)
        yield from _placed(moved, known)
    yield replace(
        wiring,
        name=neuron.name,
        inputs=tuple(names),
        output=neuron.output,
        origin=neuron.origin,
    )


def _attends(known: dict[str, Node], name: str) -> bool:
    """Whether wiring shows an attention, whose elements ONNX has in another order."""
    sources = wired_sources(known, name)
    scaled = [known[source.inputs[0]] for source in sources if source.op == "affine"]
    return any(source.op == "attention" for source in (*sources, *scaled))


def _read_by_someone(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    wanted = {node.name for node in nodes if node.op in ("output", "input")}
    for node in reversed(nodes):
        if node.name in wanted:
            wanted.update(node.inputs)
    return tuple(node for node in nodes if node.name in wanted)


def _shared(graph: Graph, original: set[str]) -> Graph:
    """One node for all neurons, sums and wiring of spikes that give the same by definition.

    Args:
        graph: with its neurons in place.
        original: names that the network gave; they survive.
    """
    first = _first_of_its_kind(graph)
    known = graph.by_name()
    standing: dict[str, Node] = {}
    # What is no neuron needs no name of its own.
    merged = {n for n, source in first.items() if n != source and known[n].op in MERGED}
    for name, source in first.items():
        if name in original and standing.get(source, known[source]).name not in original:
            standing[source] = known[name]

    def shown(name: str) -> str:
        source = first.get(name, name)
        named = name in original and name not in merged
        return name if named else standing.get(source, known[source]).name

    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        inputs = tuple(map(shown, node.inputs))
        source = first.get(node.name, node.name)
        if source == node.name:
            named = standing.get(source, node)
            nodes[named.name] = replace(node, name=named.name, origin=named.origin, inputs=inputs)
        elif node.name not in merged and shown(node.name) not in nodes:
            stands = standing.get(source, known[source]).name
            nodes[node.name] = replace(
                node, op="reshape", inputs=(stands,), params=(), attributes=()
            )
    return graph.rebuilt(nodes)


def _first_of_its_kind(graph: Graph) -> dict[str, str]:
    """For every node that gives spikes, and every sum, the first one that gives the same."""
    first: dict[str, str] = {}
    kinds: dict[tuple[Any, ...], str] = {}
    for node in graph.nodes:
        alike = node.op in ("integer_fire", *MERGED)
        if alike or (node.op in WIRING and all(name in first for name in node.inputs)):
            inputs = tuple(first.get(name, name) for name in node.inputs)
            arrays = tuple(array.tobytes() for array in graph.arrays(node))
            kind = (node.op, inputs, arrays, node.attributes, node.output)
            first[node.name] = kinds.setdefault(kind, node.name)
    return first
