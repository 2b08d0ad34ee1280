"""Which power of two each row of weights is a multiple of."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph, through_wiring

SYNAPSES = ("conv2d", "linear")
FINER_AT_MOST = 4
"""Bits by which a branch of a residual sum may be finer than the coarsest one.

The coarsest branch's rounding is in the sum whatever the others do; finer grids would only make
its membranes wider.
"""
BIAS_BITS = 22
"""Magnitude of a bias in units of its layer's weights, at the most.

In a channel that training has silenced, weights are tiny beside the bias; their own range would
ask for a grid on which the bias overflows, and nothing could tell the weights from zero.
"""
FINEST = -48
_UNIT_OF_NOTHING = -8


def range_exponents(weight: NDArray[Any], bits: int) -> NDArray[np.int32]:
    """int32[O]: the smallest e with ``max|weight[o]| <= (2**(bits - 1) - 1) * 2**e``.

    A row of zeros gets the coarsest grid of its layer.

    Args:
        weight: float64[O, ...].
        bits: of the integers, sign included.
    """
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1, initial=0.0)
    limit = 2 ** (bits - 1) - 1
    found = np.frexp(largest / limit)[1]
    # frexp is right up to a power of two and the quotient's rounding: settle both exactly.
    found = np.where(largest <= np.ldexp(float(limit), found - 1), found - 1, found)
    found = np.where(largest > np.ldexp(float(limit), found), found + 1, found)
    silent = largest == 0
    coarsest = int(found[~silent].max()) if (~silent).any() else _UNIT_OF_NOTHING
    result: NDArray[np.int32] = np.where(silent, coarsest, found).astype(np.int32)
    return result


def finest_exponents(weight: NDArray[Any], bias: NDArray[Any], bits: int) -> NDArray[np.int32]:
    """int32[O]: the range of the weights, but no finer than the bias and ``FINEST`` allow.

    Args:
        weight: float64[O, ...].
        bias: float64[O] or a map [O, ...].
        bits: of the weights.
    """
    rows = bias.reshape(len(bias), -1)
    of_bias = np.where(rows.any(axis=1), range_exponents(rows, BIAS_BITS + 1), FINEST)
    found: NDArray[np.int32] = np.maximum(range_exponents(weight, bits), of_bias)
    return np.maximum(found, FINEST).astype(np.int32)


def coarsened(graph: Graph, finest: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Exponents of all synapses, none more than ``FINER_AT_MOST`` below its stream's coarsest."""
    streams = _streams(graph)
    coarsest: dict[str, NDArray[Any]] = {}
    for name, found in finest.items():
        stream = streams[name]
        coarsest[stream] = np.maximum(coarsest.get(stream, found), found)
    return {
        name: np.maximum(found, coarsest[streams[name]] - FINER_AT_MOST)
        for name, found in finest.items()
    }


def _streams(graph: Graph) -> dict[str, str]:
    """For every synapse the name of the residual stream it is added to, or its own."""
    nodes = graph.by_name()
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        name = through_wiring(nodes, name).name
        while name in parents:
            name = parents[name]
        return name

    for total in graph.select("add"):
        for branch in total.inputs:
            known = root(branch)
            if known != total.name:
                parents[known] = total.name
    return {node.name: root(node.name) for node in graph.select(*SYNAPSES, "constant")}
