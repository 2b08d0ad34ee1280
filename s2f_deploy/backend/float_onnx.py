"""The deployed network in plain float operators, for any ONNX runtime to repeat.

It is written from the graph of dyadic rationals that `quantise` gives, in real values: weights
are multiples of powers of two, neurons clip and round. Nothing is rounded while every partial sum
stays below 2²⁴ units of its grid. Where worst-case bounds reach further, a convolution's weights
are split into pieces that each stay below, and the pieces are added in double precision, as is
everything behind them up to the next neuron. So every count and every output must equal the
integers' bit for bit, in whatever order a runtime adds.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from s2f_deploy.errors import UnsupportedPatternError
from s2f_deploy.frontend.integer_fire import OPSET
from s2f_deploy.ir import dyadic
from s2f_deploy.ir.bounds import intervals
from s2f_deploy.ir.graph import DType, Graph, Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.neuron import round_counts
from s2f_deploy.passes.comparators import comparators

IR_VERSION = 10
EXACT_IN_FLOAT = 2**24
PIECES = (1, 2, 3, 4, 6, 8)
IMAGE_RANK = 3
Array = NDArray[Any]


def float_onnx(quantised: Graph, fixed: Graph) -> bytes:
    """A serialised ONNX model with a free batch axis.

    Every neuron's counts are a float32 tensor of the neuron's name, membranes before it one called
    ``<name>.membrane``.

    Args:
        quantised: INTEGER graph of dyadic rationals, from `quantise`.
        fixed: the same in integers, from `to_fixed_point`: bounds and grids are read from it.

    Raises:
        UnsupportedPatternError: a layer multiplies real values that float32 does not hold.
    """
    return _Emitter(quantised, fixed).model()


class _Emitter:
    def __init__(self, quantised: Graph, fixed: Graph) -> None:
        self.graph = quantised
        self.bounds = intervals(fixed)
        self.grids = fixed.by_name()
        self.fixed = fixed
        self.types: dict[str, TensorType] = {}
        self.wide: set[str] = set()
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, Array] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def model(self) -> bytes:
        """Emit all nodes in order."""
        emit: dict[str, Callable[[Node], None]] = {
            "input": self._input,
            "output": self._output,
            "conv2d": self._conv,
            "linear": self._linear,
            "attention": self._attention,
            "add": self._add,
            "affine": self._affine,
            "sum_pool": self._pool,
            "reshape": self._reshape,
            "integer_fire": self._neuron,
            "host": self._host,
        }
        for node in self.graph.nodes:
            self.types[node.name] = node.output
            emit[node.op](node)
        arrays = [numpy_helper.from_array(a, name) for name, a in self.arrays.items()]
        graph = helper.make_graph(self.nodes, "deployed", self.inputs, self.outputs, arrays)
        opsets = [helper.make_opsetid("", OPSET)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        content: bytes = made.SerializeToString()
        return content

    def _op(self, op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def _constant(self, name: str, values: Any, dtype: Any) -> str:
        self.arrays[name] = np.asarray(values, dtype)
        return name

    def _number(self, name: str, value: float, *, wide: bool) -> str:
        return self._constant(name, value, np.float64 if wide else np.float32)

    def _is_wide(self, node: Node) -> bool:
        """Whether float32 cannot be trusted with the node's sums."""
        return self.bounds[node.name].reach >= EXACT_IN_FLOAT

    def _cast(self, name: str, *, wide: bool) -> str:
        """The tensor ``name`` in one of the two float types."""
        if (name in self.wide) == wide:
            return name
        cast = f"{name}.double" if wide else f"{name}.float"
        if all(node.output[0] != cast for node in self.nodes):
            to = TensorProto.DOUBLE if wide else TensorProto.FLOAT
            self._op("Cast", [name], cast, to=to)
            if wide:
                self.wide.add(cast)
        return cast

    def _named(self, name: str, *, wide: bool) -> None:
        if wide:
            self.wide.add(name)

    def _input(self, node: Node) -> None:
        shape: list[Any] = ["batch", *node.output.shape]
        image = f"{node.name}.image"
        self.inputs.append(helper.make_tensor_value_info(image, TensorProto.FLOAT, shape))
        unit = self._number(f"{node.name}.unit", 2.0 ** node["exponent"], wide=False)
        per_unit = self._number(f"{node.name}.per_unit", 2.0 ** -node["exponent"], wide=False)
        ends = [
            self._number(f"{node.name}.{end}", node[end], wide=False) for end in ("low", "high")
        ]
        scaled = self._op("Mul", [image, per_unit], f"{node.name}.scaled")
        rounded = self._op("Round", [scaled], f"{node.name}.rounded")
        clipped = self._op("Clip", [rounded, *ends], f"{node.name}.units")
        self._op("Mul", [clipped, unit], node.name)

    def _output(self, node: Node) -> None:
        value = self._cast(node.inputs[0], wide=False)
        name = self._op("Identity", [value], node.name)
        shape: list[Any] = ["batch", *node.output.shape]
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def _pieces(self, node: Node) -> list[Array]:
        """The weights as a sum of float32 arrays whose own sums stay below 2²⁴ units."""
        fixed = self.grids[node.name]
        weight, _ = self.fixed.arrays(fixed)
        real = self.graph.arrays(node)[0]
        source = self.bounds[fixed.inputs[0]]
        unit = dyadic.row_exponents(real)
        rows = np.where(unit == dyadic.NO_EXPONENT, 0, unit)
        grid = dyadic.units(real, rows)
        total = 8 * weight.dtype.itemsize
        for count in PIECES:
            bits = -(-total // count)
            pieces = _split(grid, bits)
            if all(self._reach(node, piece, source) < EXACT_IN_FLOAT for piece in pieces):
                by_row = rows.reshape(-1, *[1] * (real.ndim - 1))
                return [
                    np.ldexp(piece.astype(np.float64), by_row + bits * k).astype(np.float32)
                    for k, piece in enumerate(pieces)
                    if k == 0 or piece.any()
                ]
        raise self._too_wide(node)

    def _reach(self, node: Node, weight: Array, source: Interval) -> int:
        by_tap = weight.reshape(*weight.shape[:2], -1)
        groups = node["groups"] if node.op == "conv2d" else 1
        return source.weighted(by_tap, np.zeros(len(weight), np.int64), groups).reach

    def _too_wide(self, node: Node) -> UnsupportedPatternError:
        return UnsupportedPatternError(
            f"{node.name} multiplies sums that float32 does not hold exactly",
            where=node.origin,
            fix="put a neuron before it, or export with --weights float32",
        )

    def _sum_of_pieces(
        self, node: Node, emit: Callable[[str, str], str], pieces: list[Array], bias: Array
    ) -> None:
        """``emit(weight, name)`` for every piece, their sum and the bias."""
        wide = len(pieces) > 1 or self._is_wide(node)
        parts = []
        for k, piece in enumerate(pieces):
            weight = self._constant(f"{node.name}.weight{k}", piece, np.float32)
            part = emit(weight, f"{node.name}.piece{k}")
            parts.append(self._cast(part, wide=wide))
        total = parts[0]
        for k, part in enumerate(parts[1:], 1):
            total = self._op("Add", [total, part], f"{node.name}.sum{k}")
        added = self._constant(f"{node.name}.bias", bias[None], np.float64 if wide else np.float32)
        self._op("Add", [total, added], node.name)
        self._named(node.name, wide=wide)

    def _conv(self, node: Node) -> None:
        _, bias = self.graph.arrays(node)
        tokens = len(node.output.shape) < IMAGE_RANK
        top, left, bottom, right = node["padding"]
        source = node.inputs[0]
        if source in self.wide:
            raise self._too_wide(node)

        def emit(weight: str, name: str) -> str:
            return self._op(
                "Conv",
                [source, weight],
                name,
                strides=node["stride"][1:] if tokens else node["stride"],
                pads=[left, right] if tokens else [top, left, bottom, right],
                group=node["groups"],
            )

        pieces = [piece[:, :, 0] if tokens else piece for piece in self._pieces(node)]
        by_channel = bias.reshape(len(bias), *[1] * (len(node.output.shape) - 1))
        whole = by_channel if bias.ndim == 1 else bias.reshape(node.output.shape)
        self._sum_of_pieces(node, emit, pieces, whole)

    def _linear(self, node: Node) -> None:
        weight, bias = self.graph.arrays(node)
        source = node.inputs[0]
        if source in self.wide:
            # Only matrix products exist in double precision.
            matrix = self._constant(f"{node.name}.weight", weight.T, np.float64)
            product = self._op("MatMul", [source, matrix], f"{node.name}.product")
            self._named(product, wide=True)
            added = self._constant(f"{node.name}.bias", bias[None], np.float64)
            self._op("Add", [product, added], node.name)
            self._named(node.name, wide=True)
            return

        def emit(name_of_weight: str, name: str) -> str:
            self.arrays[name_of_weight] = np.ascontiguousarray(self.arrays[name_of_weight].T)
            return self._op("MatMul", [source, name_of_weight], name)

        self._sum_of_pieces(node, emit, self._pieces(node), bias)

    def _attention(self, node: Node) -> None:
        wide, heads = self._is_wide(node), node["heads"]
        split: list[str] = []
        for name in node.inputs:
            kind = self.types[name]
            shape = [0, heads, kind.channels // heads, kind.positions]
            dims = self._constant(f"{node.name}.{len(split)}.heads", shape, np.int64)
            operand = self._cast(name, wide=wide)
            split.append(self._op("Reshape", [operand, dims], f"{node.name}.{len(split)}.split"))
        query, key, value = split
        turned = self._op("Transpose", [key], f"{node.name}.keys", perm=[0, 1, 3, 2])
        # Channels lie on rows: (q kᵀ) v is v · (kᵀ q) here.
        scores = self._op("MatMul", [turned, query], f"{node.name}.scores")
        attended = self._op("MatMul", [value, scores], f"{node.name}.attended")
        dims = self._constant(f"{node.name}.shape", [0, *node.output.shape], np.int64)
        self._op("Reshape", [attended, dims], node.name)
        self._named(node.name, wide=wide)

    def _add(self, node: Node) -> None:
        wide = self._is_wide(node) or any(name in self.wide for name in node.inputs)
        self._op("Add", [self._cast(name, wide=wide) for name in node.inputs], node.name)
        self._named(node.name, wide=wide)

    def _pool(self, node: Node) -> None:
        wide = self._is_wide(node) or node.inputs[0] in self.wide
        rank = len(self.types[node.inputs[0]].shape)
        axes = self._constant(f"{node.name}.axes", list(range(2, rank + 1)), np.int64)
        source = self._cast(node.inputs[0], wide=wide)
        self._op("ReduceSum", [source, axes], node.name, keepdims=0)
        self._named(node.name, wide=wide)

    def _reshape(self, node: Node) -> None:
        dims = self._constant(f"{node.name}.shape", [0, *node.output.shape], np.int64)
        self._op("Reshape", [node.inputs[0], dims], node.name)
        self._named(node.name, wide=node.inputs[0] in self.wide)

    def _affine(self, node: Node) -> None:
        """Behind the last neuron, in float32 as the host computes it."""
        source = self._cast(node.inputs[0], wide=False)
        scale, shift = (
            self._constant(f"{node.name}.{part}", _per_channel(values, node.output), np.float32)
            for part, values in zip(("scale", "shift"), self.graph.arrays(node), strict=True)
        )
        scaled = self._op("Mul", [source, scale], f"{node.name}.scaled")
        self._op("Add", [scaled, shift], node.name)

    def _neuron(self, node: Node) -> None:
        scale, shift = self.graph.arrays(node) or (np.ones(1), np.zeros(1))
        source = node.inputs[0]
        exponents = self._exponents(node)
        if not self._rounds_rightly(node, scale, shift, exponents):
            self._compare(node, exponents)
            return
        plain = not shift.any() and bool((np.frexp(scale)[0] == 0.5).all())  # noqa: PLR2004
        # Adding a half, or scaling by what is no power of two, takes more bits than float32 has.
        wide = source in self.wide or not plain or node["rounding"] == "half_up"
        membrane = self._cast(source, wide=wide)
        number = np.float64 if wide else np.float32
        for part, op, values, neutral in (
            ("scale", "Mul", scale, 1),
            ("shift", "Add", shift, 0),
        ):
            if (values != neutral).any():
                array = _per_channel(values, node.output)
                constant = self._constant(f"{node.name}.{part}", array, number)
                membrane = self._op(op, [membrane, constant], f"{node.name}.{part}d")
        membrane = self._op("Identity", [membrane], f"{node.name}.membrane")
        ends = [
            self._number(f"{node.name}.{end}", value, wide=wide)
            for end, value in (("low", 0), ("high", node["levels"]))
        ]
        clipped = self._op("Clip", [membrane, *ends], f"{node.name}.clipped")
        if node["rounding"] == "half_up":
            half = self._number(f"{node.name}.half", 0.5, wide=wide)
            raised = self._op("Add", [clipped, half], f"{node.name}.raised")
            op = "Floor"
        else:
            raised, op = clipped, "Round"
        counts = self._op(op, [raised], f"{node.name}.counts")
        if wide:
            self._op("Cast", [counts], node.name, to=TensorProto.FLOAT)
        else:
            self._op("Identity", [counts], node.name)

    def _exponents(self, node: Node) -> Array:
        """The grid of what a neuron reads: its fixed point scale over its real one."""
        real = (self.graph.arrays(node) or (np.ones(1), np.zeros(1)))[0]
        units = self.fixed.arrays(self.grids[node.name])[0]
        exponents: Array = np.rint(np.log2(units / real)).astype(np.int32)
        return exponents

    def _rounds_rightly(self, node: Node, scale: Array, shift: Array, exponents: Array) -> bool:
        """Whether double precision gives every membrane the count that exact arithmetic does.

        Scaling, shifting and rounding are monotone, so it does everywhere if it does at every
        comparator and one unit below.
        """
        table = comparators(node, DType.INT64, np.ldexp(scale, exponents), shift)
        bounds = self.bounds[self.grids[node.name].inputs[0]]
        low, high = (end.astype(np.int64) for end in (bounds.low, bounds.high))
        table = np.broadcast_to(table, (len(table), len(low)))
        for offset in (0, -1):
            units = np.clip(table, low, high + 1) + offset
            counts = (units[:, None] >= table[None]).sum(1)
            real = np.ldexp(units.astype(np.float64), exponents) * scale + shift
            if not np.array_equal(counts, round_counts(real, node["levels"], node["rounding"])):
                return False
        return True

    def _compare(self, node: Node, exponents: Array) -> None:
        """Counts as the number of comparators reached, where rounding would miss one."""
        scale, shift = self.graph.arrays(node)
        table = comparators(node, DType.INT64, np.ldexp(scale, exponents), shift)
        bounds = self.bounds[self.grids[node.name].inputs[0]]
        reachable = np.clip(table, bounds.low.min(), bounds.high.max() + 1).astype(np.float64)
        membrane = self._op(
            "Identity", [self._cast(node.inputs[0], wide=True)], f"{node.name}.membrane"
        )
        self._named(membrane, wide=True)
        fired = []
        for d, row in enumerate(np.ldexp(reachable, exponents), 1):
            comparator = self._constant(
                f"{node.name}.comparator{d}", _per_channel(row, node.output), np.float64
            )
            reached = self._op("GreaterOrEqual", [membrane, comparator], f"{node.name}.reached{d}")
            fired.append(self._op("Cast", [reached], f"{node.name}.spike{d}", to=TensorProto.FLOAT))
        self._op("Sum", fired, node.name)

    def _host(self, node: Node) -> None:
        """The host's own subgraph, its names made unique."""
        tail = onnx.load_from_string(self.graph.arrays(node)[0].tobytes()).graph
        renamed = {}
        for wanted, name in zip(tail.input, node.inputs, strict=True):
            dims = [d.dim_value or -1 for d in wanted.type.tensor_type.shape.dim]
            shape = self._constant(f"{node.name}/{wanted.name}.shape", dims, np.int64)
            source = self._cast(name, wide=False)
            renamed[wanted.name] = self._op("Reshape", [source, shape], f"{node.name}/{name}")
        for array in tail.initializer:
            renamed[array.name] = f"{node.name}/{array.name}"
            self.arrays[renamed[array.name]] = numpy_helper.to_array(array)
        for inner in tail.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(inner)
            copy.name = f"{node.name}/{inner.name}"
            for names in (copy.input, copy.output):
                names[:] = [renamed.setdefault(n, f"{node.name}/{n}") if n else n for n in names]
            self.nodes.append(copy)
        whole = self._constant(f"{node.name}.shape", [-1, *node.output.shape], np.int64)
        self._op("Reshape", [renamed[tail.output[0].name], whole], node.name)


def _split(whole: Array, bits: int) -> list[Array]:
    """Integers as Σ pieceₖ · 2**(bits · k), every piece but the last in 0 .. 2**bits - 1."""
    pieces: list[Array] = []
    rest = whole
    while True:
        if (np.abs(rest) < 2 ** (bits - 1)).all():
            return [*pieces, rest]
        pieces.append(rest & (2**bits - 1))
        rest = rest >> bits


def _per_channel(values: Array, output: TensorType) -> Array:
    """A vector [C] or [1] shaped to broadcast over [batch, C, ...]."""
    return values.reshape(1, -1, *[1] * (len(output.shape) - 1))
