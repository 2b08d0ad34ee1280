"""Weights, biases and images move onto grids: integers times powers of two.

Per output channel the grid is the finest that holds the largest weight, or, where calibration
images show less error, half of it with the largest weights cut off. A bias takes up the mean error
that its layer's weights and inputs have on these images. The graph stays one of real values, each
of which is now a dyadic rational: `to_fixed_point` only has to name the integers.

Source: Nagel et al. 2019, arXiv:1906.04721 (bias correction); design, section 4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import InputError
from s2f_deploy.ir.graph import DType, Graph, Node, wired_sources
from s2f_deploy.ops import OPS
from s2f_deploy.ops.elementwise import per_channel
from s2f_deploy.passes.current_errors import mean_error, relative_error, shifted, spread
from s2f_deploy.passes.grids import SYNAPSES, coarsened, finest_exponents, range_exponents

IMAGE_BITS = {8: 11, 16: 14}
"""Of the image, sign included, by the weights' bits: its rounding should not be the coarsest."""
_ASSUMED_REACH = 4.0
_LARGEST_PIXEL = 2.0**64
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """How many bits the weights of each layer have.

    Attributes:
        bits: 8 or 16, of every layer that ``overrides`` does not name.
        overrides: patterns of layer names, as in ``downsample*``, and their bits; the last wins.
    """

    bits: int
    overrides: tuple[tuple[str, int], ...] = ()

    def of(self, layer: str) -> int:
        """Bits of one layer's weights.

        >>> WeightFormat(8, (("head*", 16),)).of("head")
        16
        """
        matching = [bits for pattern, bits in self.overrides if fnmatchcase(layer, pattern)]
        return matching[-1] if matching else self.bits


@dataclass(frozen=True, slots=True)
class LayerGrid:
    """One synaptic layer's grid and what it costs.

    Attributes:
        bits: of its weights.
        exponents: smallest and largest over the channels; a weight is an integer · 2**e.
        cut: weights that the grid does not reach.
        own_error: of its currents on the calibration images, fed the trained network's counts:
            root mean square over root mean square. None without images.
        total_error: the same, fed the deployed network's counts: what earlier layers changed is
            included, and far larger, because neurons round.
    """

    layer: str
    bits: int
    exponents: tuple[int, int]
    cut: int
    own_error: float | None
    total_error: float | None


def quantise(graph: Graph, weights: WeightFormat, calibration: Array | None = None) -> Graph:
    """Put all weights, biases and the image onto grids.

    Requires and gives an INTEGER graph; ensures that every array and every value it computes is a
    dyadic rational, but for scales before neurons. ``metadata["quantisation"]`` says what it cost.

    Args:
        graph: at INTEGER level, with float64 arrays.
        weights: bits of the weights.
        calibration: float32[B, C, H, W], as the network takes them, or None.

    Raises:
        InputError: an override names no layer, or the calibration images do not fit.
    """
    synapses = list(graph.select(*SYNAPSES))
    _check(graph, weights, synapses, calibration)
    finest = {}
    for node in synapses:
        weight, bias = graph.arrays(node)
        finest[node.name] = finest_exponents(weight, bias, weights.of(node.name))
    for node in graph.select("constant"):
        values = graph.arrays(node)[0]
        finest[node.name] = range_exponents(values, IMAGE_BITS[weights.bits])
    run = _Calibration(graph, weights, coarsened(graph, finest), calibration)
    run.walk()
    nodes = {**graph.by_name(), **run.changed}
    quantised = graph.rebuilt(nodes, dict(graph.params) | run.arrays)
    report = {
        "weights": f"int{weights.bits}",
        "overrides": dict(weights.overrides),
        "calibration_images": 0 if calibration is None else len(calibration),
        "neurons": run.neurons,
        "counts_changed": run.counts_changed,
        # Lists, as JSON gives them back.
        "layers": [{**asdict(grid), "exponents": list(grid.exponents)} for grid in run.report],
    }
    return replace(quantised, metadata={**graph.metadata, "quantisation": report})


def _check(
    graph: Graph, weights: WeightFormat, synapses: list[Node], calibration: Array | None
) -> None:
    for pattern, _ in weights.overrides:
        if not any(fnmatchcase(node.name, pattern) for node in synapses):
            raise InputError(
                f"no layer is called {pattern!r}",
                where=graph.name,
                fix=f"name one of {', '.join(node.name for node in synapses[:3])}, ...",
            )
    shape = next(graph.select("input")).output.array_shape
    if calibration is not None and (calibration.shape[1:] != shape or not len(calibration)):
        raise InputError(
            f"calibration images are {list(calibration.shape)}, the network takes {list(shape)}",
            where=graph.name,
            fix="prepare them as the network was trained",
        )
    # Written so that NaN is refused too.
    if calibration is not None and not bool((np.abs(calibration) < _LARGEST_PIXEL).all()):
        raise InputError(
            "calibration images hold values that are no pixels",
            where=graph.name,
            fix="check how they were normalised",
        )


class _Calibration:
    """Visits the layers in order, with the values of the trained and of the deployed network."""

    def __init__(
        self,
        graph: Graph,
        weights: WeightFormat,
        exponents: Mapping[str, Array],
        calibration: Array | None,
    ) -> None:
        self.graph, self.weights, self.exponents = graph, weights, exponents
        shape = next(graph.select("input")).output.shape
        # Every timestep is an image of its own to all but neurons.
        frames = np.zeros((0, *shape)) if calibration is None else calibration.astype(np.float64)
        self.images = list(frames.reshape(-1, *shape))
        self.changed: dict[str, Node] = {}
        self.arrays: dict[str, Array] = {}
        self.report: list[LayerGrid] = []
        self.neurons = self.counts_changed = 0
        self._image_exponents: dict[str, int] = {}

    def walk(self) -> None:
        """Quantise everything; values are dropped when their last reader has run."""
        readers = {name: len(nodes) for name, nodes in self.graph.consumers().items()}
        trained: dict[str, list[Array]] = {}
        deployed: dict[str, list[Array]] = {}
        for node in self.graph.nodes:
            inputs = [
                list(zip(*(values[name] for name in node.inputs), strict=True))
                for values in (trained, deployed)
            ]
            trained[node.name], deployed[node.name] = self._visit(node, *inputs)
            for name in node.inputs:
                readers[name] -= 1
                if not readers[name]:
                    del trained[name], deployed[name]

    def _visit(
        self, node: Node, trained: list[tuple[Array, ...]], deployed: list[tuple[Array, ...]]
    ) -> tuple[list[Array], list[Array]]:
        """Values of ``node`` for every image, from those of its inputs."""
        if node.op == "input":
            return self.images, self._digitised(node)
        if node.op == "constant":
            return self._constant(node)
        params = self.graph.arrays(node)
        if node.op == "attention":
            # Its width is not chosen yet.
            node = replace(node, output=replace(node.output, dtype=DType.INT64))
        want = self._computed(node, trained, params)
        if node.op in SYNAPSES:
            return want, self._quantise(node, want, trained, deployed)
        got = self._computed(node, deployed, params)
        if node.op == "integer_fire":
            self.neurons += sum(counts.size for counts in want)
            pairs = zip(want, got, strict=True)
            self.counts_changed += sum(int(np.count_nonzero(a != b)) for a, b in pairs)
        return want, got

    def _digitised(self, node: Node) -> list[Array]:
        """Images on a grid that holds the largest pixel of all in its ``IMAGE_BITS``."""
        reach = max((float(np.abs(x).max()) for x in self.images), default=0.0) or _ASSUMED_REACH
        bits = IMAGE_BITS[self.weights.bits]
        exponent = int(range_exponents(np.array([[reach]]), bits)[0])
        high = 2 ** (bits - 1) - 1
        self._image_exponents[node.name] = exponent
        self.changed[node.name] = node.with_attributes(exponent=exponent, low=-high, high=high)
        units = (np.clip(np.rint(np.ldexp(x, -exponent)), -high, high) for x in self.images)
        return [np.ldexp(u, exponent) for u in units]

    def _constant(self, node: Node) -> tuple[list[Array], list[Array]]:
        """Held values, for every image; rounded to their grid."""
        (values,) = self.graph.arrays(node)
        name = f"{node.name}.grid_values"
        bits, exponents = IMAGE_BITS[self.weights.bits], self.exponents[node.name]
        self.arrays[name] = rounded = _on_grid(values, exponents, bits)
        self.changed[node.name] = replace(node, params=(name,))
        return [values] * len(self.images), [rounded] * len(self.images)

    def _quantise(
        self,
        node: Node,
        want: list[Array],
        trained: list[tuple[Array, ...]],
        deployed: list[tuple[Array, ...]],
    ) -> list[Array]:
        """Choose the grids of one layer; returns its deployed currents."""
        weight, bias = self.graph.arrays(node)
        bits, exponents = self.weights.of(node.name), self.exponents[node.name]
        rounded = _on_grid(weight, exponents, bits)
        own = self._currents(node, trained, rounded, bias)
        if own and self._may_halve(node):
            # Half the grid, the largest weights cut off, where that is nearer.
            halved = _on_grid(weight, exponents - 1, bits)
            alternative = self._currents(node, trained, halved, bias)
            better = spread(want, alternative) < spread(want, own)
            exponents = np.where(better, exponents - 1, exponents)
            rounded[better] = halved[better]
            own = [
                np.where(per_channel(better, a), b, a)
                for a, b in zip(own, alternative, strict=True)
            ]
        got = self._currents(node, deployed, rounded, bias)
        unit = exponents + self._unit_of_source(node)
        correction = mean_error(want, got)
        steps = np.rint(np.ldexp(bias - per_channel(correction, bias), -per_channel(unit, bias)))
        snapped = np.ldexp(steps, per_channel(unit, bias))
        got = [shifted(current, snapped - bias) for current in got]
        names = (f"{node.name}.grid_weight", f"{node.name}.grid_bias")
        self.arrays |= dict(zip(names, (rounded, snapped), strict=True))
        self.changed[node.name] = replace(node, params=names)
        reached = np.ldexp(2.0 ** (bits - 1) - 0.5, exponents)
        cut = int(np.count_nonzero(np.abs(weight) > per_channel(reached, weight)))
        ends = (int(exponents.min()), int(exponents.max()))
        errors = (relative_error(want, own), relative_error(want, got))
        self.report.append(LayerGrid(node.name, bits, ends, cut, *errors))
        return got

    def _may_halve(self, node: Node) -> bool:
        """In a residual stream a finer branch would widen the whole stream."""
        readers = self.graph.consumers()[node.name]
        return all(reader.op == "integer_fire" for reader in readers)

    def _unit_of_source(self, node: Node) -> int:
        """Exponent of what the layer reads: of the image, or 0 for counts."""
        source, *_ = wired_sources(self.graph.by_name(), node.inputs[0])
        return self._image_exponents.get(source.name, 0)

    def _currents(
        self, node: Node, inputs: list[tuple[Array, ...]], weight: Array, bias: Array
    ) -> list[Array]:
        return self._computed(node, inputs, [weight, bias])

    def _computed(
        self, node: Node, inputs: list[tuple[Array, ...]], params: Sequence[Array]
    ) -> list[Array]:
        """Values of all images, timestep by timestep, from those of the inputs."""
        op = OPS[node.op]
        if not op.couples_time:
            momentary = replace(node, output=replace(node.output, steps=1))
            return [op.dense(momentary, values, params) for values in inputs]
        steps = self.graph.node(node.inputs[0]).output.steps
        found: list[Array] = []
        for first in range(0, len(inputs), steps):
            (source,) = zip(*inputs[first : first + steps], strict=True)
            value = op.dense(node, [np.stack(source) if steps > 1 else source[0]], params)
            found += list(value) if node.output.steps > 1 else [value]
        return found


def _on_grid(weight: Array, exponents: Array, bits: int) -> Array:
    """float64[O, ...]: the nearest multiples of 2**exponents[O] that ``bits`` hold."""
    limit = 2 ** (bits - 1) - 1
    rows = per_channel(exponents, weight)
    units = np.clip(np.rint(np.ldexp(weight, -rows)), -limit, limit)
    rounded: Array = np.ldexp(units, rows)
    return rounded
