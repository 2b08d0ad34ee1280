"""How far float32 may stray from the exact membrane, worked out before anything is compared.

Every float32 operation returns its exact result times 1 + δ with |δ| <= 2⁻²⁴. A computed sum of
products is therefore the exact sum with every term multiplied by at most k such factors, k being
the roundings on the longest path from a term to the result, and in whatever order it was summed

    |û − u| <= γ_k · m,   γ_k = k · 2⁻²⁴ / (1 − k · 2⁻²⁴),

where the majorant m is the same computation on absolute values. `trace` evaluates the float
network in float64 with given counts at every neuron (so no error passes a neuron) and carries m
and k:

- a product with zero, and adding it, round nothing: a convolution rounds once per *nonzero*
  source under its window (one product, the remaining additions) and once for its bias;
- m takes |x| + |mean| through a batch norm, so it also covers norms folded into convolutions;
- values that are multiples of a power of two g round nothing while m <= 2²⁴ g, in any order: the
  attention of counts is exact, and so is its product with a power of two. Then the bound is 0;
- k is one for a count divided by a norm that is no power of two;
- where deformable sampling reads at another place, a value jumps by what `sampling_errors` says.

Holds barring overflow and underflow, and for direct convolutions: Winograd's transforms multiply
other numbers. Bounds are enlarged by 2⁻²⁰ of themselves for the rounding of float64 itself.

Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., sections 3.1 and 4.2.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph, Node, TensorType
from s2f_deploy.ops import OPS
from s2f_deploy.ops.conv2d import dense as convolve
from s2f_sim.rounding import ENLARGED, MANTISSA, NOISE, ROUNDING, gamma
from s2f_sim.sampling_errors import passed_on, sampled
from s2f_sim.traced import Traced, at_all_steps, over_time, remembered

_COARSEST = 2.0**100

Array = NDArray[Any]


def reference_bound(node: Node, membrane: Traced) -> Array:
    """How far the float network's membrane, or output, may be from the exact one, float64[C, ...].

    A neuron that rounds halves up computes floor(u + ½), which rounds once more.
    """
    bound = gamma(membrane.roundings) * membrane.majorant * ENLARGED + membrane.jump
    if node.op != "integer_fire" or node["rounding"] != "half_up":
        return bound
    raised = np.clip(membrane.value + bound, 0, node["levels"]) + 0.5
    step = np.minimum(_per_channel(membrane.grid, raised), 0.5)
    fits = (membrane.roundings == 0) & (raised <= MANTISSA * step)
    return np.where(fits, bound, bound + ROUNDING * ENLARGED * raised)


def spike_bound(node: Node, membrane: Traced, roundings: Array) -> Array:
    """The same for the membrane the spikes build, in the float network's units.

    Folding is exact algebra in float64, after which every weight and bias is rounded once. It
    only regroups the terms of m, and comparators are exact, so m serves the event graph too; and
    where no term of the float network rounds, none of these does.

    Args:
        node: the neuron or output of the FLOAT graph.
        membrane: what it reads there.
        roundings: k of the event graph, from `spike_roundings`.
    """
    largest_count = float(node["levels"]) if node.op == "integer_fire" else 0.0
    folding = NOISE * (membrane.roundings * membrane.majorant + largest_count)
    accumulation = gamma(roundings) * membrane.majorant * ENLARGED
    return np.where(membrane.roundings > 0, accumulation + folding, 0.0) + membrane.jump


def trace(
    graph: Graph,
    image: Array,
    counts: Mapping[str, Array],
    roundings: Mapping[str, Array] = MappingProxyType({}),
) -> Iterator[tuple[Node, Traced]]:
    """Every neuron with the membrane it reads, and every output with its value, in order.

    Args:
        graph: a FLOAT graph.
        image: float32[C, H, W] or float32[T, C, H, W], one sample.
        counts: for every neuron the counts it is to hand on, uint8[C, ...] or uint8[T, C, ...].
        roundings: k of the event graph, from `spike_roundings`, for the offsets of samplings.
    """
    nodes = graph.by_name()
    last = {name: node.name for node in graph.nodes for name in node.inputs}
    values: dict[str, list[Traced]] = {}
    for node in graph.nodes:
        sources = [values[name] for name in node.inputs]
        steps = node.output.steps
        momentary = replace(node, output=replace(node.output, steps=1))
        if not node.inputs:
            given = graph.arrays(node)[0] if node.params else image
            frames = given.reshape(steps, *node.output.shape)
            values[node.name] = [_exactly(frame, _step(frame)) for frame in frames]
        elif node.op == "integer_fire":
            gain = float(graph.arrays(node)[0].item()) if node.params else 1.0
            fired = counts[node.name].reshape(steps, *node.output.shape)
            yield node, at_all_steps(remembered(node, sources[0], list(fired), gain))
            values[node.name] = [_emitted(node, now) for now in fired]
        elif node.op == "output":
            yield node, at_all_steps(sources[0])
        elif OPS[node.op].couples_time:
            values[node.name] = over_time(node, sources[0])
        else:
            own = roundings.get(node.name, np.zeros(1))
            values[node.name] = [
                sampled(momentary, now, own)
                if node.op == "deformable_sample"
                else _computed(momentary, nodes, now, graph.arrays(node))
                for now in zip(*sources, strict=True)
            ]
        for name in node.inputs:
            if last[name] == node.name:
                values.pop(name, None)


def window_sums(node: Node, values: Array, kernel: tuple[int, int]) -> Array:
    """Sums of all sources under the window of every output of a conv2d, float64[C or 1, ...].

    Args:
        node: a convolution of any level.
        values: of its source, numbers[C, ...].
        kernel: height and width.
    """
    groups, positions = node["groups"], values.shape[1:]
    summed = values.reshape(groups, -1, *positions).sum(1, dtype=np.float64)
    shape = (groups, *node.output.shape[1:])
    per_group = replace(node, output=TensorType(shape, node.output.dtype))
    reached = convolve(per_group, [summed], [np.ones((groups, 1, *kernel)), np.zeros(groups)])
    return np.repeat(reached, node.output.channels // groups, 0) if groups > 1 else reached


def _exactly(value: Array, grid: Array) -> Traced:
    wide = value.astype(np.float64)
    return Traced(wide, np.abs(wide), np.zeros((1,) * value.ndim), grid)


def _emitted(node: Node, counts: Array) -> Traced:
    """What a neuron hands on, n / norm: exact if the norm is a power of two."""
    norm, channels = node["norm"], len(counts)
    if _is_power_of_two(np.array([norm])):
        return _exactly(counts / norm, np.full(channels, 1 / norm))
    rounded = _exactly(counts / norm, np.zeros(channels))
    return replace(rounded, roundings=rounded.roundings + 1)


def _computed(
    node: Node, nodes: Mapping[str, Node], sources: Sequence[Traced], arrays: Sequence[Array]
) -> Traced:
    op = OPS[node.op]
    values = [source.value for source in sources]
    if node.op == "host":
        value = op.dense(node, values, arrays).astype(np.float64)
        unknown = np.full((1,) * value.ndim, np.inf)
        return Traced(value, np.abs(value) + 1, unknown, np.zeros(len(value)))
    params = [array.astype(np.float64) if array.dtype.kind == "f" else array for array in arrays]
    absolute = [np.abs(array) for array in params]
    if node.op == "batch_norm":
        absolute[2] = -absolute[2]
    value = op.dense(node, values, params)
    majorant = op.dense(node, [source.majorant for source in sources], absolute)
    grid = _grid(node, sources, params)
    roundings = _roundings(node, nodes, sources, params)
    fits = majorant <= MANTISSA * _per_channel(grid, majorant)
    if fits.any() and all(source.exact for source in sources):
        roundings = np.where(fits, 0.0, roundings)
    return Traced(value, majorant, roundings, grid, passed_on(node, sources, absolute, majorant))


def _roundings(
    node: Node, nodes: Mapping[str, Node], sources: Sequence[Traced], params: Sequence[Array]
) -> Array:
    """Roundings k of the result, [C or 1, ...], as if no power of two divided anything."""
    flat = np.zeros((1,) * len(node.output.shape))
    before = [source.roundings for source in sources]
    match node.op:
        case "reshape" | "rewire" | "concat" | "upsample" | "max_pool" | "pad":
            longest = wired(before, [nodes[name] for name in node.inputs], node, params)
        case "add":
            longest = np.maximum(before[0], before[1]) + 1
        case "conv2d":
            weight, bias = params
            kernel = (weight.shape[2], weight.shape[3])
            under_window = window_sums(node, sources[0].majorant != 0, kernel)
            longest = under_window + bias.any() + before[0].max()
        case "linear":
            own = np.count_nonzero(sources[0].majorant) + params[1].any()
            longest = flat + own + before[0].max()
        case "affine":
            longest = before[0] + _scaling_roundings(node, nodes, params)
        case _:
            # The operands of attention are multiplied, which adds their roundings up.
            total = sum(float(one.max()) for one in before)
            longest = flat + total + _own_roundings(node, nodes, params)
    return longest


def wired(
    values: Sequence[Array], sources: Sequence[Node], node: Node, params: Sequence[Array] = ()
) -> Array:
    """Values [C or 1, ...] of its sources as wiring shows them; pooled, the largest."""
    whole = [np.broadcast_to(v, s.output.shape) for v, s in zip(values, sources, strict=True)]
    return OPS[node.op].dense(node, whole, params)


def _own_roundings(node: Node, nodes: Mapping[str, Node], params: Sequence[Array] = ()) -> int:
    count = OPS[node.op].roundings
    assert count is not None, node.op
    return count(node, [nodes[name].output for name in node.inputs], params)


def _scaling_roundings(node: Node, nodes: Mapping[str, Node], params: Sequence[Array]) -> int:
    """A product, unless with powers of two, and a sum, unless with zero."""
    scale, shift = params
    source, own = nodes[node.inputs[0]], int(shift.any())
    if _is_power_of_two(np.abs(scale)):
        return own
    if source.op == "attention" and source.origin == node.origin:
        # The importer moved this scale from the first product, so the second one rounded, too.
        return own + 1 + _own_roundings(source, nodes)
    return own + 1


def _grid(node: Node, sources: Sequence[Traced], params: Sequence[Array]) -> Array:
    """Powers of two that divide every term of the result, float64[C]; 0 if unknown."""
    grid = sources[0].grid
    result: Array = np.zeros(node.output.channels)
    if not all(source.grid.all() for source in sources):
        return result
    match node.op:
        case "reshape" | "sum_pool" | "upsample" | "max_pool" | "pad" | "concat":
            result = np.concatenate([source.grid for source in sources])
        case "add":
            result = np.minimum(grid, sources[1].grid)
        case "conv2d" | "linear":
            result = np.minimum(_step(params[0]) * grid.min(), _step(params[1]))
        case "affine":
            result = np.minimum(_step(params[0]) * grid, _step(params[1]))
        case "attention" if _exact_scores(node, sources):
            result += np.prod([source.grid.min() for source in sources])
        case "mean_pool" | "bilinear_upsample":
            result = grid / _power_of_two_divisor(node, sources[0])
    return result


def _power_of_two_divisor(node: Node, source: Traced) -> float:
    """What a mean divides by, or infinity."""
    terms = 4 ** node["bits"] if node.op == "bilinear_upsample" else source.value[0].size
    return terms if _is_power_of_two(np.array([terms])) else np.inf


def _exact_scores(node: Node, sources: Sequence[Traced]) -> bool:
    """Whether the first product of an attention, too, stays under 2²⁴ units."""
    query, key, value = sources
    if node["association"] == "qk_v":
        pair, terms = (query, key), len(query.value) // node["heads"]
    else:
        pair, terms = (key, value), key.value[0].size
    largest = terms * np.prod([operand.majorant.max() for operand in pair])
    return bool(largest <= MANTISSA * np.prod([operand.grid.min() for operand in pair]))


def _step(array: Array) -> Array:
    """The largest power of two that divides all of a row, float64[rows]."""
    mantissa, exponent = np.frexp(array.reshape(len(array), -1))
    digits = (mantissa * 2.0**53).astype(np.int64)
    lowest = (digits & -digits).astype(np.float64)
    steps = np.where(lowest > 0, np.ldexp(lowest, exponent - 53), _COARSEST)
    smallest: Array = steps.min(1)
    return smallest


def _is_power_of_two(values: Array) -> bool:
    return bool((np.frexp(values)[0] == 0.5).all())  # noqa: PLR2004 (how frexp says it)


def _per_channel(vector: Array, like: Array) -> Array:
    return vector.reshape(-1, *[1] * (like.ndim - 1))
