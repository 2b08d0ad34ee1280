"""The deployed network in plain float operators, for any ONNX runtime to repeat.

It is written from the graph of dyadic rationals that `quantise` gives, in real values: weights
are multiples of powers of two, neurons clip and round. Nothing is rounded while every partial sum
stays below 2²⁴ units of its grid. Where worst-case bounds reach further, a convolution's weights
are split into pieces that each stay below, and the pieces are added in double precision, as is
everything behind them up to the next neuron. So every count and every output must equal the
integers' bit for bit, in whatever order a runtime adds.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import numpy_helper

from s2f_deploy.backend.exact_pieces import EXACT_IN_FLOAT, exact_pieces
from s2f_deploy.backend.float_membrane import remembering
from s2f_deploy.backend.float_neuron import FloatNeuron
from s2f_deploy.backend.float_sampling import read_between
from s2f_deploy.backend.float_wiring import EMITTED, Wiring
from s2f_deploy.backend.onnx_writer import Array, OnnxWriter, per_channel
from s2f_deploy.backend.wide_convolution import wide_convolution
from s2f_deploy.ir.bounds import intervals
from s2f_deploy.ir.graph import Graph, Node, TensorType
from s2f_deploy.ops.neuron import leak_shift

IMAGE_RANK = 3


def float_onnx(quantised: Graph, fixed: Graph) -> bytes:
    """A serialised ONNX model, its batch axis free unless the host computes the last part.

    Every neuron's counts are a float32 tensor of the neuron's name, membranes before it one called
    ``<name>.membrane``.

    Args:
        quantised: INTEGER graph of dyadic rationals, from `quantise`.
        fixed: the same in integers, from `to_fixed_point`: bounds and grids are read from it.
    """
    return _Emitter(quantised, fixed).model()


class _Emitter:
    """Nodes emitted so far; integers of the same names lend their bounds."""

    def __init__(self, quantised: Graph, fixed: Graph) -> None:
        self.graph, self.fixed = quantised, fixed
        self.bounds = intervals(fixed)
        self.integers = fixed.by_name()
        self.types: dict[str, TensorType] = {}
        self.out = OnnxWriter()
        # A tail of the host was made for one sample; several timesteps take the batch's axis.
        timed = any(node.output.steps > 1 for node in quantised.nodes)
        self.batch: int | str = 1 if timed or any(quantised.select("host")) else "batch"

    def model(self) -> bytes:
        """Emit all nodes in order."""
        emit: dict[str, Callable[[Node], None]] = {
            "input": self._input,
            "output": self._output,
            "constant": self._constant,
            "conv2d": self._conv,
            "linear": self._linear,
            "attention": self._attention,
            "product": self._product,
            "add": self._add,
            "affine": self._affine,
            "sum_pool": self._pool,
            "time_sum": self._time_sum,
            "integer_fire": self._neuron,
            "bilinear_upsample": self._between,
            "deformable_sample": self._between,
            "host": self._host,
        }
        for node in self.graph.nodes:
            self.types[node.name] = node.output
            if node.op in EMITTED:
                source = self.types[node.inputs[0]]
                Wiring(node, source, self.graph.arrays(node)).emit(self.out)
            else:
                emit[node.op](node)
        return self.out.model("deployed")

    def _is_wide(self, node: Node) -> bool:
        """Whether float32 cannot be trusted with the node's sums."""
        return self.bounds[node.name].reach >= EXACT_IN_FLOAT

    def _input(self, node: Node) -> None:
        name, out = node.name, self.out
        image = out.input(f"{name}.image", self.batch, node.output.array_shape)
        if node.output.steps > 1:
            dims = out.constant(f"{name}.frames", node.output.array_shape, np.int64)
            image = out.op("Reshape", [image, dims], f"{name}.frame")
        unit = out.number(f"{name}.unit", 2.0 ** node["exponent"], wide=False)
        per_unit = out.number(f"{name}.per_unit", 2.0 ** -node["exponent"], wide=False)
        ends = [out.number(f"{name}.{end}", node[end], wide=False) for end in ("low", "high")]
        scaled = out.op("Mul", [image, per_unit], f"{name}.scaled")
        rounded = out.op("Round", [scaled], f"{name}.rounded")
        clipped = out.op("Clip", [rounded, *ends], f"{name}.units")
        out.op("Mul", [clipped, unit], name)

    def _constant(self, node: Node) -> None:
        # A variable of its own, so that reading it is one tensor like any other's.
        values = self.out.constant(
            f"{node.name}.values", self.graph.arrays(node)[0][None], np.float32
        )
        self.out.op("Identity", [values], node.name)

    def _output(self, node: Node) -> None:
        value = self.out.cast(node.inputs[0], wide=False)
        name = self.out.op("Identity", [value], node.name)
        first = node.output.steps if node.output.steps > 1 else self.batch
        self.out.output(name, first, node.output.shape)

    def _pieces(self, node: Node) -> list[Array] | None:
        """The weights as a sum of float32 arrays that round nothing; None if there is none."""
        if node.inputs[0] in self.out.wide:
            return None
        source = self.bounds[self.integers[node.name].inputs[0]]
        return exact_pieces(node, self.graph.arrays(node)[0], source)

    def _weighted(
        self, node: Node, multiply: Callable[[Array, str], str], pieces: list[Array], bias: Array
    ) -> None:
        """``multiply(weight, number)`` for every piece, their sum and the bias."""
        name, wide = node.name, len(pieces) > 1 or self._is_wide(node)
        parts = [
            self.out.cast(multiply(piece, str(k)), wide=wide) for k, piece in enumerate(pieces)
        ]
        total = parts[0]
        for k, part in enumerate(parts[1:], 1):
            total = self.out.op("Add", [total, part], f"{name}.sum{k}", wide=wide)
        kind = np.float64 if wide else np.float32
        added = self.out.constant(f"{name}.bias", bias[None], kind)
        self.out.op("Add", [total, added], name, wide=wide)

    def _conv(self, node: Node) -> None:
        weight, bias = self.graph.arrays(node)
        tokens = len(node.output.shape) < IMAGE_RANK
        top, left, bottom, right = node["padding"]
        pieces = self._pieces(node)

        def multiply(piece: Array, number: str) -> str:
            if pieces is None:
                source = self.types[node.inputs[0]]
                return wide_convolution(self.out, node, source, piece, f"{node.name}.piece{number}")
            values = piece[:, :, 0] if tokens else piece
            weight = self.out.constant(f"{node.name}.weight{number}", values, np.float32)
            return self.out.op(
                "Conv",
                [node.inputs[0], weight],
                f"{node.name}.piece{number}",
                strides=node["stride"][1:] if tokens else node["stride"],
                pads=[left, right] if tokens else [top, left, bottom, right],
                group=node["groups"],
            )

        # A value for every channel, or a whole map where the border differs.
        by_channel = (len(bias), *[1] * (len(node.output.shape) - 1))
        shape = by_channel if bias.ndim == 1 else node.output.shape
        self._weighted(node, multiply, pieces or [weight], bias.reshape(shape))

    def _linear(self, node: Node) -> None:
        weight, bias = self.graph.arrays(node)
        pieces = self._pieces(node)
        wide = pieces is None

        def multiply(piece: Array, number: str) -> str:
            kind, source = np.float64 if wide else np.float32, node.inputs[0]
            matrix = self.out.constant(
                f"{node.name}.weight{number}", np.ascontiguousarray(piece.T), kind
            )
            operands = [self.out.cast(source, wide=wide), matrix]
            return self.out.op("MatMul", operands, f"{node.name}.piece{number}", wide=wide)

        self._weighted(node, multiply, pieces or [weight], bias)

    def _attention(self, node: Node) -> None:
        wide, heads, out = self._is_wide(node), node["heads"], self.out
        split: list[str] = []
        for k, name in enumerate(node.inputs):
            kind = self.types[name]
            shape = [0, heads, kind.channels // heads, kind.positions]
            dims = out.constant(f"{node.name}.{k}.heads", shape, np.int64)
            operand = out.cast(name, wide=wide)
            split.append(out.op("Reshape", [operand, dims], f"{node.name}.{k}.split", wide=wide))
        query, key, value = split
        turned = out.op("Transpose", [key], f"{node.name}.keys", wide=wide, perm=[0, 1, 3, 2])
        # Channels lie on rows: (q kᵀ) v is v · (kᵀ q) here.
        scores = out.op("MatMul", [turned, query], f"{node.name}.scores", wide=wide)
        attended = out.op("MatMul", [value, scores], f"{node.name}.attended", wide=wide)
        dims = out.constant(f"{node.name}.shape", [0, *node.output.shape], np.int64)
        out.op("Reshape", [attended, dims], node.name, wide=wide)

    def _product(self, node: Node) -> None:
        """Held rows, all but the last, times counts; and the last."""
        wide, name, out = self._is_wide(node), node.name, self.out
        held, events = (out.cast(source, wide=wide) for source in node.inputs)
        rows = self.types[node.inputs[1]].channels
        columns = out.constant(f"{name}.columns", [0, rows, -1], np.int64)
        flat = out.op("Reshape", [events, columns], f"{name}.events", wide=wide)
        parts = [
            out.op(
                "Slice",
                [
                    held,
                    *(
                        out.constant(f"{name}.{kind}{part}", [value], np.int64)
                        for kind, value in (("from", first), ("to", last), ("axis", 1))
                    ),
                ],
                f"{name}.held{part}",
                wide=wide,
            )
            for part, (first, last) in enumerate(((0, rows), (rows, rows + 1)))
        ]
        turned, last = (
            out.op("Transpose", [part], f"{part}.turned", wide=wide, perm=[0, 2, 1])
            for part in parts
        )
        product = out.op("MatMul", [turned, flat], f"{name}.product", wide=wide)
        total = out.op("Add", [product, last], f"{name}.sums", wide=wide)
        dims = out.constant(f"{name}.shape", [0, *node.output.shape], np.int64)
        out.op("Reshape", [total, dims], name, wide=wide)

    def _between(self, node: Node) -> None:
        source = node.inputs[0]
        wide = self._is_wide(node) or source in self.out.wide
        read_between(self.out, node, self.types[source], wide=wide)

    def _add(self, node: Node) -> None:
        wide = self._is_wide(node) or any(name in self.out.wide for name in node.inputs)
        operands = [self.out.cast(name, wide=wide) for name in node.inputs]
        self.out.op("Add", operands, node.name, wide=wide)

    def _pool(self, node: Node) -> None:
        wide = self._is_wide(node) or node.inputs[0] in self.out.wide
        rank = len(self.types[node.inputs[0]].shape)
        axes = self.out.constant(f"{node.name}.axes", list(range(2, rank + 1)), np.int64)
        source = self.out.cast(node.inputs[0], wide=wide)
        self.out.op("ReduceSum", [source, axes], node.name, wide=wide, keepdims=0)

    def _time_sum(self, node: Node) -> None:
        wide = self._is_wide(node) or node.inputs[0] in self.out.wide
        axes = self.out.constant(f"{node.name}.axes", [0], np.int64)
        source = self.out.cast(node.inputs[0], wide=wide)
        self.out.op("ReduceSum", [source, axes], node.name, wide=wide, keepdims=1)

    def _affine(self, node: Node) -> None:
        """Behind the last neuron, a product and a sum, each rounded to float32 once.

        The product is exact in double. In float32 a runtime may make a convolution of it, which
        adds it to 0, and then -0 is lost.
        """
        scale, shift = (per_channel(values, node.output) for values in self.graph.arrays(node))
        single = self.out.cast(node.inputs[0], wide=False)
        factor = self.out.constant(f"{node.name}.scale", scale.astype(np.float32), np.float64)
        operands = [self.out.cast(single, wide=True), factor]
        product = self.out.op("Mul", operands, f"{node.name}.scaled", wide=True)
        scaled = self.out.cast(product, wide=False)
        if shift.any():
            added = self.out.constant(f"{node.name}.shift", shift, np.float32)
            self.out.op("Add", [scaled, added], node.name)
        else:
            # A runtime may drop an addition of 0, which is what makes 0 of -0.
            self.out.op("Identity", [scaled], node.name)

    def _neuron(self, node: Node) -> None:
        scale, shift = self.graph.arrays(node) or (np.ones(1), np.zeros(1))
        if leak_shift(node):
            remembering(self.out, node, scale)
            return
        integer = self.integers[node.name]
        # The grid of what it reads: its fixed point scale over its real one.
        exponents = np.rint(np.log2(self.fixed.arrays(integer)[0] / scale)).astype(np.int32)
        bounds = self.bounds[integer.inputs[0]]
        FloatNeuron(node, scale, shift, exponents, bounds).emit(self.out)

    def _host(self, node: Node) -> None:
        """The host's own subgraph, its names made unique."""
        tail = onnx.load_from_string(self.graph.arrays(node)[0].tobytes()).graph
        renamed = {}
        for wanted, name in zip(tail.input, node.inputs, strict=True):
            dims = [d.dim_value or -1 for d in wanted.type.tensor_type.shape.dim]
            shape = self.out.constant(f"{node.name}/{wanted.name}.shape", dims, np.int64)
            source = self.out.cast(name, wide=False)
            renamed[wanted.name] = self.out.op("Reshape", [source, shape], f"{node.name}/{name}")
        for array in tail.initializer:
            renamed[array.name] = f"{node.name}/{array.name}"
            self.out.arrays[renamed[array.name]] = numpy_helper.to_array(array)
        for inner in tail.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(inner)
            copy.name = f"{node.name}/{inner.name}"
            for names in (copy.input, copy.output):
                names[:] = [renamed.setdefault(n, f"{node.name}/{n}") if n else n for n in names]
            self.out.append(copy)
        whole = self.out.constant(f"{node.name}.shape", [-1, *node.output.shape], np.int64)
        self.out.op("Reshape", [renamed[tail.output[0].name], whole], node.name)
