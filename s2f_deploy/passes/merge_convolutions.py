"""Convolutions without a neuron between them become one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import DType, Graph, Node
from s2f_deploy.ops.conv2d import dense

POINT = (1, 1)

Chains = Literal["none", "separable", "all"]
"""Which chains of convolutions without a neuron between them are kept: those that begin with a
depthwise convolution, as depthwise separable ones do, or all, or none."""


def separable_chains(graph: Graph) -> frozenset[str]:
    """The convolutions of all chains that begin with a depthwise one: it, and what it feeds.

    As one dense kernel such a chain has as many taps as the depthwise kernel for every weight of
    the 1x1 behind it, more than any other chain gains. Chains of one convolution are none. Takes
    a FLOAT or an INTEGER graph.
    """
    nodes, consumers = graph.by_name(), graph.consumers()
    found: set[str] = set()
    for second in graph.select("conv2d"):
        first = _aligned(nodes, second.inputs[0])
        if first.op == "conv2d" and len(consumers[first.name]) == 1:
            before = _aligned(nodes, first.inputs[0])
            begins = before.op != "conv2d" and _is_depthwise(graph, first)
            if begins or first.name in found:
                found |= {first.name, second.name}
    return frozenset(found)


def _aligned(nodes: Mapping[str, Node], name: str) -> Node:
    """What computes integers, wherever they are shifted to another grid."""
    node = nodes[name]
    while node.op == "align":
        node = nodes[node.inputs[0]]
    return node


def _is_depthwise(graph: Graph, node: Node) -> bool:
    """Whether every channel has kernels of its own, of more than one tap."""
    weight = graph.arrays(node)[0]
    return weight.shape[1] == 1 < node["groups"] and weight.shape[2:] != POINT


def merge_convolutions(graph: Graph, *, kept: Chains = "none") -> Graph:
    """Merge every two convolutions of which one is 1x1, if the second alone reads the first.

    W[o, i] = Σₘ W₂[o, m] · W₁[m, i] for every tap, groups and depthwise kernels included. Where the
    second one pads, zeros are padded instead of the first one's bias, so the merged bias becomes a
    map that differs at the border, and stays one in every further merge. Chains to be ``kept`` stay
    as they are. Requires and gives a FLOAT graph. Linear layers on vectors are not concerned.
    """
    if kept == "all":
        return graph
    left = separable_chains(graph) if kept == "separable" else frozenset[str]()
    while True:
        pair = _first_pair(graph, left)
        if pair is None:
            return graph
        graph = _merged(graph, *pair)


def _first_pair(graph: Graph, left: frozenset[str]) -> tuple[Node, Node] | None:
    nodes, consumers = graph.by_name(), graph.consumers()
    for second in graph.select("conv2d"):
        first = nodes[second.inputs[0]]
        if (
            first.op == "conv2d"
            and first.name not in left
            and len(consumers[first.name]) == 1
            and _merge_exactly(graph, first, second)
        ):
            return first, second
    return None


def _merge_exactly(graph: Graph, first: Node, second: Node) -> bool:
    """Whether one convolution can see what both see of the padding."""
    kernels = [graph.arrays(node)[0].shape[2:] for node in (first, second)]
    if kernels[0] == POINT and first["stride"] == POINT:
        # Behind a 1x1 that pads, the border holds its bias: the second must not add zeros to it.
        return not any(first["padding"]) or not any(second["padding"])
    return kernels[1] == POINT and not any(second["padding"])


def _merged(graph: Graph, first: Node, second: Node) -> Graph:
    weight1, bias1 = graph.arrays(first)
    weight2, bias2 = graph.arrays(second)
    if bias1.ndim > 1 or (any(second["padding"]) and bias1.any()):
        by_place = bias1.reshape(len(bias1), *(bias1.shape[1:] or (1, 1)))
        image = np.broadcast_to(by_place, (len(bias1), *first.output.plane))
        plane = replace(second, output=replace(second.output, dtype=DType.FLOAT32))
        bias = dense(plane, [image], [weight2, bias2]).reshape(-1, *second.output.plane)
    else:
        bias = _product(weight2.sum((2, 3)), bias1[:, None], second["groups"], 1)[:, 0] + bias2
    groups = first["groups"] if first["groups"] == second["groups"] else 1
    strides = zip(first["stride"], second["stride"], strict=True)
    paddings = zip(first["padding"], second["padding"], strict=True)
    names = (f"{second.name}.merged_weight", f"{second.name}.merged_bias")
    merged = replace(second, inputs=first.inputs, params=names).with_attributes(
        groups=groups,
        stride=tuple(a * b for a, b in strides),
        padding=tuple(a + b for a, b in paddings),
    )
    weight = _chained(weight1, weight2, first["groups"], second["groups"])
    nodes = {
        name: merged if name == second.name else node
        for name, node in graph.by_name().items()
        if name != first.name
    }
    return graph.rebuilt(nodes, dict(graph.params) | dict(zip(names, (weight, bias), strict=True)))


def _chained(
    weight1: NDArray[Any], weight2: NDArray[Any], groups1: int, groups2: int
) -> NDArray[Any]:
    """[O, I / groups, KH, KW] of both in a row, one of which has a single tap."""
    taps = max(weight1.shape[2:], weight2.shape[2:])
    flat1, flat2 = (w.reshape(*w.shape[:2], -1) for w in (weight1, weight2))
    if flat2.shape[2] > 1:
        # One 1x1 product per tap of the second.
        tapped = [
            _product(flat2[..., t], flat1[..., 0], groups2, groups1) for t in range(flat2.shape[2])
        ]
        chained = np.stack(tapped, -1)
    else:
        tapped = [
            _product(flat2[..., 0], flat1[..., t], groups2, groups1) for t in range(flat1.shape[2])
        ]
        chained = np.stack(tapped, -1)
    return np.ascontiguousarray(chained).reshape(*chained.shape[:2], *taps)


def _product(second: NDArray[Any], first: NDArray[Any], groups2: int, groups1: int) -> NDArray[Any]:
    """Σₘ second[o, m] · first[m, i]: of equal groups again in groups, else written out."""
    if groups1 == groups2:
        left = second.reshape(groups1, -1, second.shape[1])
        right = first.reshape(groups1, -1, first.shape[1])
        product: NDArray[Any] = left @ right
        return product.reshape(len(second), -1)
    if groups1 == 1:
        # A depthwise second one scales rows.
        left = second.reshape(groups2, -1, second.shape[1])
        right = first.reshape(groups2, -1, first.shape[1])
        product = left * right if second.shape[1] == 1 else left @ right
        return product.reshape(len(second), -1)
    if groups2 == 1:
        left = second.reshape(len(second), groups1, -1)
        right = first.reshape(groups1, -1, first.shape[1])
        if right.shape[1] == 1:
            product = left * right[:, 0]
        else:
            product = (left.transpose(1, 0, 2) @ right).transpose(1, 0, 2)
        return product.reshape(len(second), -1)
    return _product(_written_out(second, groups2), _written_out(first, groups1), 1, 1)


def _written_out(weight: NDArray[Any], groups: int) -> NDArray[Any]:
    """[O, I / groups] -> [O, I], zeros between groups."""
    rows, columns = len(weight) // groups, weight.shape[1]
    whole = np.zeros((len(weight), columns * groups), weight.dtype)
    for group in range(groups):
        block = slice(group * rows, (group + 1) * rows)
        whole[block, group * columns : (group + 1) * columns] = weight[block]
    return whole
