"""Dyadic rationals become integers: membranes, biases and thresholds on named grids."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir import dyadic
from s2f_deploy.ir.bounds import interval_of
from s2f_deploy.ir.graph import DType, Graph, Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops import OPS
from s2f_deploy.ops.deformable_sample import LONGEST_SHIFTS
from s2f_deploy.ops.neuron import leak_shift
from s2f_deploy.passes.integer_types import integer_type, off_grid, too_wide

Array = NDArray[Any]


def to_fixed_point(graph: Graph) -> Graph:
    """Replace every real value before the last neuron by an integer on a grid.

    The image is digitised, weights and biases become integers, branches of a sum are aligned by
    shifts, neurons see their scale times the grid; what leaves for the host is read out. Integer
    types are the narrowest of int32 and int64 that worst-case bounds allow. Requires and gives an
    INTEGER graph; requires what `quantise` ensures.

    Raises:
        UnsupportedPatternError: a membrane could leave 53 bits, or a layer lies on no grid.
    """
    return _FixedPoint(graph).lowered()


class _FixedPoint:
    """Nodes lowered so far; for every integer among them its grid and its bounds."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: dict[str, Node] = {}
        self.params: dict[str, Array] = dict(graph.params)
        self.exponents: dict[str, Array] = {}
        self.intervals: dict[str, Interval] = {}
        self.digitised: dict[str, str] = {}

    def lowered(self) -> Graph:
        """Visit all nodes in order."""
        rules: dict[str, Callable[[Node], None]] = {
            "input": self._input,
            "constant": self._constant,
            "conv2d": self._synapse,
            "linear": self._synapse,
            "add": self._add,
            "integer_fire": self._neuron,
            "attention": self._attention,
            "product": self._product,
            "rewire": self._rewire,
            "sum_pool": self._same_grid,
            "reshape": self._same_grid,
            "upsample": self._same_grid,
            "repeat": self._same_grid,
            "time_sum": self._same_grid,
            "max_pool": self._same_grid,
            "concat": self._concat,
            "bilinear_upsample": self._interpolate,
            "deformable_sample": self._sample,
        }
        for node in self.graph.nodes:
            rules.get(node.op, self._real)(node)
        return self.graph.rebuilt(self.nodes, self.params)

    def _put(self, node: Node, exponents: Array | None = None) -> None:
        """Append a node; an integer's type is made wide enough for its bounds."""
        if exponents is not None or node.output.dtype is DType.COUNT:
            interval = interval_of(node, self.nodes, self.params, self.intervals)
            self.intervals[node.name] = interval
            if exponents is not None:
                self.exponents[node.name] = exponents
                sources = [self.nodes[name].output.dtype for name in node.inputs]
                node = replace(node, output=_typed(node, interval, sources))
        self.nodes[node.name] = node

    def _input(self, node: Node) -> None:
        plain = replace(node, attributes=())
        self.nodes[node.name] = plain
        name = f"{node.name}.digitised"
        self.digitised[node.name] = name
        output = replace(node.output, dtype=DType.INT32)
        digitise = Node(name, "digitise", (node.name,), (), output, node.origin, node.attributes)
        exponents = np.full(node.output.channels, node["exponent"], np.int32)
        self._put(digitise, exponents)

    def _constant(self, node: Node) -> None:
        (values,) = self.graph.arrays(node)
        rows = dyadic.row_exponents(values)
        unit = np.where(rows == dyadic.NO_EXPONENT, 0, rows).astype(np.int32)
        name = f"{node.name}.units"
        self.params[name] = dyadic.units(values, unit)
        self._put(replace(node, params=(name,)), unit)

    def _synapse(self, node: Node) -> None:
        source = self.digitised.get(node.inputs[0], node.inputs[0])
        unit_in = 0
        if source in self.exponents:
            unit_in = int(self.exponents[source].min())
            source = self._aligned(source, np.full(1, unit_in), self.nodes[source].output.dtype)
        elif self.nodes[source].output.dtype is not DType.COUNT:
            raise off_grid(node)
        weight, bias = self.graph.arrays(node)
        rows, biases = dyadic.row_exponents(weight), dyadic.row_exponents(bias)
        rows = np.where(rows == dyadic.NO_EXPONENT, rows, rows + unit_in)
        unit = np.minimum(rows, biases)
        # Zeros lie on every grid: on that of another channel they shift nothing they are added to.
        zero = unit == dyadic.NO_EXPONENT
        unit = np.where(zero, 0 if zero.all() else unit[~zero].max(), unit).astype(np.int32)
        try:
            whole, steps = dyadic.units(weight, unit - unit_in), dyadic.units(bias, unit)
        except ValueError as error:
            raise too_wide(node, "so many units of its grid") from error
        names = (f"{node.name}.weight", f"{node.name}.bias")
        self.params |= dict(
            zip(names, (whole.astype(dyadic.smallest_type(whole)), steps), strict=True)
        )
        self._put(replace(node, inputs=(source,), params=names), unit)
        wide = self.nodes[node.name].output.dtype
        self.params[names[1]] = steps.astype(wide.array_type)

    def _add(self, node: Node) -> None:
        branches = [self._on_grid(node, name) for name in node.inputs]
        exponents = np.minimum(*(self.exponents[name] for name in branches))
        shifted = [
            self.intervals[name].times(_powers(self.exponents[name] - exponents))
            for name in branches
        ]
        sources = [self.nodes[name].output.dtype for name in branches]
        dtype = integer_type(node, shifted[0].plus(shifted[1]), sources)
        inputs = tuple(self._aligned(name, exponents, dtype) for name in branches)
        self._put(replace(node, inputs=inputs, output=replace(node.output, dtype=dtype)), exponents)

    def _on_grid(self, node: Node, name: str) -> str:
        """The integers that ``node`` reads where it reads ``name``: the image's are digitised."""
        source = self.digitised.get(name, name)
        if source not in self.exponents:
            raise off_grid(node)
        return source

    def _aligned(self, name: str, exponents: Array, dtype: DType) -> str:
        """The node ``name`` on finer grids and in a wider type, if it is not there already."""
        shifts = self.exponents[name] - exponents
        source = self.nodes[name]
        if not shifts.any() and source.output.dtype is dtype:
            return name
        aligned = f"{name}.aligned"
        while aligned in self.nodes:
            aligned += "_again"
        self.params[f"{aligned}.shifts"] = shifts.astype(np.uint8)
        output = replace(source.output, dtype=dtype)
        node = Node(aligned, "align", (name,), (f"{aligned}.shifts",), output, source.origin)
        self._put(node, self.exponents[name] - shifts)
        return aligned

    def _neuron(self, node: Node) -> None:
        source = self._on_grid(node, node.inputs[0])
        scale, shift = self.graph.arrays(node) or (np.ones(1), np.zeros(1))
        if leak_shift(node):
            # One count must be a whole number of units: it is subtracted from the membrane.
            count = np.rint(-np.log2(scale)).astype(np.int32)
            finer = np.minimum(self.exponents[source], count)
            source = self._aligned(source, finer, self.nodes[source].output.dtype)
        names = (f"{node.name}.scale", f"{node.name}.shift")
        scaled = np.ldexp(scale, self.exponents[source])
        self.params |= dict(zip(names, (scaled, shift), strict=True))
        self._put(replace(node, inputs=(source,), params=names))

    def _attention(self, node: Node) -> None:
        """Products of counts: integers as they are."""
        self._put(node, np.zeros(node.output.channels, np.int32))

    def _product(self, node: Node) -> None:
        """All rows that are held on one grid."""
        held, events = self._on_grid(node, node.inputs[0]), node.inputs[1]
        finest = int(self.exponents[held].min())
        shifts = _powers(self.exponents[held] - finest)
        types = [self.nodes[name].output for name in (held, events)]
        inputs = [self.intervals[held].times(shifts), self.intervals[events]]
        bounds = OPS["product"].interval
        assert bounds is not None
        dtype = integer_type(node, bounds(node, types, inputs, []), [types[0].dtype])
        aligned = self._aligned(held, np.full(1, finest), dtype)
        output = replace(node.output, dtype=dtype)
        node = replace(node, inputs=(aligned, events), output=output)
        self._put(node, np.full(node.output.channels, finest, np.int32))

    def _rewire(self, node: Node) -> None:
        """Elements of channels on several grids meet in one channel: on the finest of them."""
        if node.output.dtype is DType.COUNT:
            self._put(node)
            return
        if node.inputs[0] not in self.exponents and node.inputs[0] not in self.digitised:
            self._real(node)
            return
        source = self._on_grid(node, node.inputs[0])
        finest = int(self.exponents[source].min())
        aligned = self._aligned(source, np.full(1, finest), self.nodes[source].output.dtype)
        exponents = np.full(node.output.channels, finest, np.int32)
        self._put(replace(node, inputs=(aligned,)), exponents)

    def _same_grid(self, node: Node) -> None:
        """Pooling and wiring: of integers, of counts, or of the image in both its forms."""
        exponents = self.exponents.get(node.inputs[0])
        if exponents is None and node.op == "sum_pool":
            raise off_grid(node)
        if node.inputs[0] in self.digitised:
            self.digitised[node.name] = name = f"{node.name}.digitised"
            source = self.digitised[node.inputs[0]]
            output = replace(node.output, dtype=self.nodes[source].output.dtype)
            wired = replace(node, name=name, inputs=(source,), output=output)
            self._put(wired, self.exponents[source])
        self._put(node, exponents)

    def _concat(self, node: Node) -> None:
        """Every channel stays on its grid; the widest type serves all. Counts stay counts."""
        if node.output.dtype is DType.COUNT:
            self._put(node)
            return
        if not all(name in self.exponents or name in self.digitised for name in node.inputs):
            self._real(node)
            return
        parts = [self._on_grid(node, name) for name in node.inputs]
        kinds = [self.nodes[name].output.dtype for name in parts]
        wide = DType.INT64 if DType.INT64 in kinds else DType.INT32
        inputs = tuple(self._aligned(name, self.exponents[name], wide) for name in parts)
        exponents = np.concatenate([self.exponents[name] for name in parts])
        self._put(replace(node, inputs=inputs, output=replace(node.output, dtype=wide)), exponents)

    def _interpolate(self, node: Node) -> None:
        """Shares of both axes have so many bits."""
        source = self._on_grid(node, node.inputs[0])
        self._put(replace(node, inputs=(source,)), self.exponents[source] - 2 * node["bits"])

    def _sample(self, node: Node) -> None:
        """Every channel on a grid of its own; offsets are shifted to that of their bits."""
        source, offsets = (self._on_grid(node, name) for name in node.inputs[:2])
        shifts = np.clip(-(self.exponents[offsets] + node["bits"]), *LONGEST_SHIFTS)
        name = f"{node.name}.shifts"
        self.params[name] = shifts.astype(np.int8)
        node = replace(node, inputs=(source, offsets, node.inputs[2]), params=(name,))
        self._put(node, self.exponents[source] - 2 * node["bits"])

    def _real(self, node: Node) -> None:
        """The host's own: integers are read out before it."""
        inputs = tuple(self._read_out(self.digitised.get(name, name)) for name in node.inputs)
        output = node.output
        if node.op == "output":
            output = self.nodes[inputs[0]].output
        self._put(replace(node, inputs=inputs, output=output))

    def _read_out(self, name: str) -> str:
        if name not in self.exponents:
            return name
        real = f"{name}.real"
        if real not in self.nodes:
            source = self.nodes[name]
            self.params[f"{real}.exponents"] = self.exponents[name].astype(np.int32)
            output = replace(source.output, dtype=DType.FLOAT32)
            params = (f"{real}.exponents",)
            self._put(Node(real, "read_out", (name,), params, output, source.origin))
        return real


def _powers(shifts: Array) -> Array:
    return np.array([1 << int(shift) for shift in shifts], object)


def _typed(node: Node, interval: Interval, sources: list[DType]) -> TensorType:
    return replace(node.output, dtype=integer_type(node, interval, sources), levels=0)
