"""An EVENT graph of integers evaluated in Python's own integers and fractions, and nothing else.

Slow, obvious, and sharing no line with the operations it checks: no value can wrap or be rounded.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph, Node

Array = NDArray[Any]
"""Of Python integers; behind a read-out of float32."""


def evaluated(graph: Graph, sample: NDArray[np.float32]) -> dict[str, Array]:
    """Every value of the graph for one sample, each of its node's own shape."""
    values: dict[str, Array] = {}
    for node in graph.nodes:
        read = [values[name] for name in node.inputs] or [sample]
        arrays = [graph.params[name] for name in node.params]
        if node.op in _OVER_TIME:
            result = _OVER_TIME[node.op](node, read, arrays)
        elif node.output.steps > 1:
            now = zip(*read, strict=True)
            result = np.array([_RULES[node.op](node, list(each), arrays) for each in now])
        else:
            result = _RULES[node.op](node, read, arrays)
        values[node.name] = result.reshape(node.output.array_shape)
    return values


def _whole(array: Array) -> Array:
    return np.array([int(n) for n in array.ravel()], object).reshape(array.shape)


def _elementwise(function: Callable[..., Any], *operands: Array) -> Array:
    """Python's result for every element, broadcast over positions; never converted."""
    wide = np.broadcast_arrays(*operands)
    result = np.empty(wide[0].shape, object)
    for at in np.ndindex(result.shape):
        result[at] = function(*(operand[at] for operand in wide))
    return result


def _by_channel(vector: Array, like: Array) -> Array:
    return vector.reshape(-1, *[1] * (like.ndim - 1))


def _same(_: Node, read: list[Array], __: list[Array]) -> Array:
    return read[0]


def _digitise(node: Node, read: list[Array], _: list[Array]) -> Array:
    unit = Fraction(2) ** int(node["exponent"])
    low, high = int(node["low"]), int(node["high"])

    def units(pixel: np.float32) -> int:
        # Python rounds a Fraction half to even.
        return min(max(round(Fraction(float(pixel)) / unit), low), high)

    return _elementwise(units, read[0])


def _windows(node: Node, image: Array, kernel: tuple[int, int]) -> Array:
    """What every output position sees of an image [C, H, W]: [positions, C, KH · KW]."""
    top, left, bottom, right = node["padding"]
    padded = np.full(
        (image.shape[0], image.shape[1] + top + bottom, image.shape[2] + left + right), 0, object
    )
    padded[:, top : top + image.shape[1], left : left + image.shape[2]] = image
    rows = range(0, padded.shape[1] - kernel[0] + 1, node["stride"][0])
    columns = range(0, padded.shape[2] - kernel[1] + 1, node["stride"][1])
    seen = [padded[:, y : y + kernel[0], x : x + kernel[1]] for y in rows for x in columns]
    return np.array(seen, object).reshape(len(seen), len(image), -1)


def _convolution(node: Node, source: Array, weight: Array, bias: Array) -> Array:
    """Weights [O, I / groups, KH, KW]."""
    outputs, fan_in, *kernel = weight.shape
    plane = source.shape[1:] if source.ndim == 3 else (1, *source.shape[1:])
    image = source.reshape(len(source), *plane)
    windows = _windows(node, image, (kernel[0], kernel[1]))
    rows = _whole(weight).reshape(outputs, -1)
    per_group = outputs // node["groups"]
    parts = []
    for group in range(node["groups"]):
        seen = windows[:, group * fan_in : (group + 1) * fan_in].reshape(len(windows), -1)
        parts.append(rows[group * per_group : (group + 1) * per_group] @ seen.T)
    total: Array = np.concatenate(parts) + _whole(bias).reshape(outputs, -1)
    return total


def _conv2d(node: Node, read: list[Array], arrays: list[Array]) -> Array:
    return _convolution(node, read[0], *arrays)


def _event_conv2d(node: Node, read: list[Array], arrays: list[Array]) -> Array:
    return _convolution(node, read[0], arrays[0].transpose(3, 2, 0, 1), arrays[1])


def _linear(_: Node, read: list[Array], arrays: list[Array]) -> Array:
    weight, bias = map(_whole, arrays)
    total: Array = (weight * read[0]).sum(1) + bias
    return total


def _event_linear(node: Node, read: list[Array], arrays: list[Array]) -> Array:
    return _linear(node, read, [arrays[0].T, arrays[1]])


def _attention(node: Node, read: list[Array], _: list[Array]) -> Array:
    """Σ over all pairs: out[c, n] = Σₘ Σ_d q[d, n] · k[d, m] · v[c, m], head by head."""
    heads = node["heads"]
    query, key, value = (u.reshape(heads, len(u) // heads, -1) for u in read)
    attended = [v @ (k.T @ q) for q, k, v in zip(query, key, value, strict=True)]
    return np.concatenate(attended)


def _integrate_fire(_: Node, read: list[Array], arrays: list[Array]) -> Array:
    (membrane,), (comparators,) = read, map(_whole, arrays)
    counts = np.full(membrane.shape, 0, object)
    for row in comparators:
        counts += _elementwise(lambda u, c: int(u >= c), membrane, _by_channel(row, membrane))
    return counts


def _fired_over_time(node: Node, read: list[Array], arrays: list[Array]) -> Array:
    """In fractions of the input's units: u' = (u − n) / 2**s + x, n the comparators reached."""
    if node.output.steps == 1:
        return _integrate_fire(node, read, arrays)
    if "leak_shift" not in dict(node.attributes):
        return np.array([_integrate_fire(node, [now], arrays) for now in read[0]])
    shift, steps = int(node["leak_shift"]), node.output.steps
    finer = 2 ** (shift * (steps - 1))
    rows, bits = _whole(arrays[0]), _whole(arrays[1])
    fired: list[Array] = []
    membrane = np.full(node.output.shape, Fraction(0), object)
    for now in read[0]:
        if fired:
            one = _by_channel(np.array([2 ** int(b) for b in bits], object), membrane)
            spent = _elementwise(lambda n, unit: n * unit, fired[-1], one)
            membrane = _elementwise(lambda u, n: (u - n) / 2**shift, membrane, spent)
        membrane = _elementwise(lambda u, x: u + int(x), membrane, now)
        counts = np.full(membrane.shape, 0, object)
        for row in rows:
            reached = _by_channel(row, membrane)
            counts += _elementwise(lambda u, c: int(u * finer >= c), membrane, reached)
        fired.append(counts)
    return np.array(fired, object)


def _repeat(node: Node, read: list[Array], _: list[Array]) -> Array:
    return np.array([read[0]] * int(node["steps"]), read[0].dtype)


def _time_sum(_: Node, read: list[Array], __: list[Array]) -> Array:
    total: Array = sum(read[0][1:], read[0][0])
    return total


def _add(_: Node, read: list[Array], __: list[Array]) -> Array:
    return _elementwise(lambda a, b: a + b, *read)


def _sum_pool(_: Node, read: list[Array], __: list[Array]) -> Array:
    total: Array = read[0].reshape(len(read[0]), -1).sum(1)
    return total


def _concat(_: Node, read: list[Array], __: list[Array]) -> Array:
    return np.array([row for part in read for row in part], object)


def _upsample(node: Node, read: list[Array], _: list[Array]) -> Array:
    rows, columns = node["factors"]
    result = np.full(node.output.shape, None, object)
    for c, y, x in np.ndindex(result.shape):
        result[c, y, x] = read[0][c, y // rows, x // columns]
    return result


def _max_pool(node: Node, read: list[Array], _: list[Array]) -> Array:
    (image,), (rows, columns), (top, left, *_rest) = read, node["kernel"], node["padding"]
    result = np.full(node.output.shape, None, object)
    for c, y, x in np.ndindex(result.shape):
        first, left_most = y * node["stride"][0] - top, x * node["stride"][1] - left
        result[c, y, x] = max(
            image[c, i, j]
            for i in range(max(first, 0), min(first + rows, image.shape[1]))
            for j in range(max(left_most, 0), min(left_most + columns, image.shape[2]))
        )
    return result


def _between(image: Array, row: Fraction, column: Fraction) -> Any:
    """Bilinear between pixels; an object array [C] of what a whole image [C, H, W] has there."""
    total = np.full(len(image), Fraction(0), object)
    for y in (floor(row), floor(row) + 1):
        for x in (floor(column), floor(column) + 1):
            if 0 <= y < image.shape[1] and 0 <= x < image.shape[2]:
                total += (1 - abs(row - y)) * (1 - abs(column - x)) * image[:, y, x]
    return total


def _bilinear_upsample(node: Node, read: list[Array], _: list[Array]) -> Array:
    """4**bits times what lies at the centres of the pixels, edges repeated, shares on a grid."""
    padded = np.pad(read[0], ((0, 0), (1, 1), (1, 1)), mode="edge")
    one = 1 << node["bits"]
    result = np.full(node.output.shape, None, object)
    for place in np.ndindex(*result.shape[1:]):
        row, column = (
            Fraction(round((Fraction(2 * i + 1, 2 * large) * small + Fraction(1, 2)) * one), one)
            for i, small, large in zip(place, read[0].shape[1:], result.shape[1:], strict=True)
        )
        result[:, *place] = _units(one * one * _between(padded, row, column))
    return result


def _deformable_sample(node: Node, read: list[Array], arrays: list[Array]) -> Array:
    """4**bits times the weighted sum of what lies at every tap of a group."""
    (image, offsets, attention), unit = read, Fraction(1, 2 ** node["bits"])
    groups, kernel, reach = node["groups"], node["kernel"], node["kernel"] // 2
    shifts = np.broadcast_to(_whole(arrays[0]), len(offsets))
    result = np.full(node.output.shape, Fraction(0), object)
    span = len(image) // groups
    for tap, y, x in np.ndindex(attention.shape):
        group, k = divmod(tap, kernel * kernel)
        if count := attention[tap, y, x]:
            steps = [
                floor(offsets[j, y, x] / Fraction(2) ** shifts[j] + Fraction(1, 2))
                for j in (2 * tap, 2 * tap + 1)
            ]
            column, row = x + k // kernel - reach, y + k % kernel - reach
            channels = slice(group * span, (group + 1) * span)
            seen = _between(image[channels], row + steps[1] * unit, column + steps[0] * unit)
            result[channels, y, x] += count * seen
    return _units(result / unit**2)


def _units(values: Array) -> Array:
    assert all(Fraction(value).denominator == 1 for value in values.ravel())
    return _whole(values)


def _align(_: Node, read: list[Array], arrays: list[Array]) -> Array:
    shifts = _by_channel(_whole(arrays[0]), read[0])
    return _elementwise(lambda u, shift: u * 2**shift, read[0], shifts)


def _read_out(_: Node, read: list[Array], arrays: list[Array]) -> Array:
    def real(units: int, exponent: int) -> np.float32:
        exact = Fraction(units) * Fraction(2) ** exponent
        assert Fraction(float(exact)) == exact
        return np.float32(float(exact))

    return _elementwise(real, read[0], _by_channel(_whole(arrays[0]), read[0])).astype(np.float32)


def _affine(_: Node, read: list[Array], arrays: list[Array]) -> Array:
    """Real values behind the last neuron: a float32 product, and a sum if there is a shift."""
    scale, shift = (_by_channel(a.astype(np.float32), read[0]) for a in arrays)
    result: Array = read[0] * scale
    return result + shift if shift.any() else result


_RULES: Mapping[str, Callable[[Node, list[Array], list[Array]], Array]] = {
    "input": _same,
    "output": _same,
    "reshape": _same,
    "digitise": _digitise,
    "conv2d": _conv2d,
    "event_conv2d": _event_conv2d,
    "linear": _linear,
    "event_linear": _event_linear,
    "attention": _attention,
    "add": _add,
    "sum_pool": _sum_pool,
    "concat": _concat,
    "upsample": _upsample,
    "max_pool": _max_pool,
    "bilinear_upsample": _bilinear_upsample,
    "deformable_sample": _deformable_sample,
    "align": _align,
    "read_out": _read_out,
    "affine": _affine,
}

_OVER_TIME: Mapping[str, Callable[[Node, list[Array], list[Array]], Array]] = {
    "integrate_fire": _fired_over_time,
    "repeat": _repeat,
    "time_sum": _time_sum,
}
