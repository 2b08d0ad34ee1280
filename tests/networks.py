"""Random small networks as ONNX, whose float32 arithmetic is exact in any order.

Weights and images are small multiples of 1/8 and norms powers of two, so every partial sum is a
float32 number: ONNX Runtime, the dense reference and the event engine must agree on every bit.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from s2f_deploy.frontend.deformable_sample import DYADIC, EXACT, sampling_function
from s2f_deploy.frontend.integer_fire import DOMAIN, OPERATORS, OPSET, neuron_function, rule_of


@dataclass
class NetworkBuilder:
    """Appends ONNX nodes and keeps track of shapes."""

    rng: np.random.Generator
    levels: int
    norm: float
    rounding: str
    grid: float = 8.0
    attention_scale: float = 0.5
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def add(self, op: str, inputs: list[str], shape: tuple[int, ...], **attributes: Any) -> str:
        """One node; ``shape`` is its result's without the batch."""
        name = f"t{len(self.nodes)}"
        domain = DOMAIN if op.startswith(("IntegerFire", "DeformableSample")) else ""
        self.nodes.append(
            helper.make_node(op, inputs, [name], name=f"n{name}", domain=domain, **attributes)
        )
        self.shapes[name] = shape
        return name

    def array(self, shape: tuple[int, ...], low: int = -3, high: int = 4) -> str:
        """A constant of multiples of 1/grid."""
        name = f"w{len(self.arrays)}"
        self.arrays[name] = (self.rng.integers(low, high, shape) / self.grid).astype(np.float32)
        return name

    def ints(self, values: list[int]) -> str:
        """A constant int64 vector."""
        name = f"w{len(self.arrays)}"
        self.arrays[name] = np.array(values, np.int64)
        return name

    def neuron(self, source: str, norm: float | None = None) -> str:
        """Fire."""
        return self.add(
            OPERATORS[self.rounding],
            [source],
            self.shapes[source],
            D=self.levels,
            norm=float(self.norm if norm is None else norm),
            rounding=self.rounding,
        )

    def conv(
        self, source: str, outputs: int, kernel: int, stride: int, padding: int, groups: int
    ) -> str:
        """A convolution with bias, images only."""
        channels, height, width = self.shapes[source]
        weight = self.array((outputs, channels // groups, kernel, kernel))
        plane = [(side + 2 * padding - kernel) // stride + 1 for side in (height, width)]
        return self.add(
            "Conv",
            [source, weight, self.array((outputs,))],
            (outputs, *plane),
            strides=[stride, stride],
            pads=[padding] * 4,
            group=groups,
            kernel_shape=[kernel, kernel],
        )

    def concat(self, *sources: str) -> str:
        """Channels of several, one after the other."""
        channels = sum(self.shapes[source][0] for source in sources)
        return self.add("Concat", list(sources), (channels, *self.shapes[sources[0]][1:]), axis=1)

    def upsampled(self, source: str, rows: int, columns: int) -> str:
        """Every pixel a block."""
        channels, height, width = self.shapes[source]
        name = f"w{len(self.arrays)}"
        self.arrays[name] = np.array([1, 1, rows, columns], np.float32)
        return self.add(
            "Resize",
            [source, "", name],
            (channels, rows * height, columns * width),
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )

    def interpolated(self, source: str, rows: float = 2, columns: float = 2) -> str:
        """Bilinear between pixels."""
        channels, height, width = self.shapes[source]
        shape = (channels, round(rows * height), round(columns * width))
        return self.add(
            "Resize",
            [source, "", "", self.ints([1, *shape])],
            shape,
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )

    def sampled(self, image: str, offsets: str, weights: str, groups: int, bits: int) -> str:
        """``image`` read where ``offsets`` say; all have their channels in front."""
        channels, height, width = self.shapes[offsets]
        kernel = round((channels / groups / 2) ** 0.5)
        last = [
            self.add("Transpose", [name], (height, width, self.shapes[name][0]), perm=[0, 2, 3, 1])
            for name in (offsets, weights)
        ]
        operator = DYADIC if bits else EXACT
        rule = {"groups": groups, "kernel": kernel, "bits": bits}
        return self.add(operator, [image, *last], self.shapes[image], **rule)

    def max_pooled(self, source: str, kernel: int, stride: int, padding: int) -> str:
        """The largest of every window."""
        channels, *plane = self.shapes[source]
        sides = [(side + 2 * padding - kernel) // stride + 1 for side in plane]
        return self.add(
            "MaxPool",
            [source],
            (channels, *sides),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[padding] * 4,
        )

    def padded(self, source: str) -> str:
        """One zero on every side."""
        channels, height, width = self.shapes[source]
        pads = self.ints([0, 0, 1, 1, 0, 0, 1, 1])
        return self.add("Pad", [source, pads], (channels, height + 2, width + 2))

    def normalised(self, source: str) -> str:
        """A scale and a shift of every channel."""
        shape = self.shapes[source]
        names = [f"w{len(self.arrays) + i}" for i in range(2)]
        by_channel = (shape[0], 1, 1)
        self.arrays[names[0]] = self.rng.choice([0.5, 1, -1], by_channel).astype(np.float32)
        self.arrays[names[1]] = (self.rng.integers(-3, 4, by_channel) / 8).astype(np.float32)
        return self.add("Add", [self.add("Mul", [source, names[0]], shape), names[1]], shape)

    def separable(self, fired: str, outputs: int) -> str:
        """Padding and norm, 1x1, depthwise 3x3, norm: no neuron between."""
        y = self.conv(self.normalised(self.padded(fired)), outputs, 1, 1, 0, 1)
        return self.normalised(self.conv(y, outputs, 3, 1, 0, outputs))

    def repeated(self, fired: str, outputs: int) -> str:
        """1x1, padding and norm, depthwise 3x3, 1x1, norm: no neuron between."""
        width = self.shapes[fired][0]
        y = self.normalised(self.padded(self.conv(fired, width, 1, 1, 0, 1)))
        return self.normalised(self.conv(self.conv(y, width, 3, 1, 0, width), outputs, 1, 1, 0, 1))

    def depthwise_first(self, fired: str, outputs: int) -> str:
        """Depthwise 3x3, 1x1, norm: no neuron between."""
        width = self.shapes[fired][0]
        return self.normalised(
            self.conv(self.conv(fired, width, 3, 1, 1, width), outputs, 1, 1, 0, 1)
        )

    def pyramid(self, current: str) -> str:
        """A current and what pooling makes of it, once and twice, as one neuron reads them."""
        first = self.max_pooled(current, 5, 1, 2)
        return self.neuron(self.concat(current, first, self.max_pooled(first, 5, 1, 2)))

    def heads(self, source: str, heads: int, *, transposed: bool) -> str:
        """[1, C, H, W] -> [1, heads, d, N], or [1, heads, N, d] if transposed."""
        channels, height, width = self.shapes[source]
        split = (heads, channels // heads, height * width)
        result = self.add("Reshape", [source, self.ints([1, *split])], split)
        if not transposed:
            return result
        swapped = (heads, height * width, channels // heads)
        return self.add("Transpose", [result], swapped, perm=[0, 1, 3, 2])

    def attention(self, source: str, heads: int, *, scores_first: bool) -> str:
        """Queries, keys and values of 1x1 convolutions; ends before its neuron."""
        channels, height, width = self.shapes[source]
        q, k, v = (self.neuron(self.conv(source, channels, 1, 1, 0, 1)) for _ in range(3))
        queries = self.heads(q, heads, transposed=True)
        keys = self.heads(k, heads, transposed=False)
        values = self.heads(v, heads, transposed=True)
        tokens = height * width
        head_width = channels // heads
        if scores_first:
            scores = self.add("MatMul", [queries, keys], (heads, tokens, tokens))
            attended = self.add("MatMul", [scores, values], (heads, tokens, head_width))
        else:
            held = self.add("MatMul", [keys, values], (heads, head_width, head_width))
            attended = self.add("MatMul", [queries, held], (heads, tokens, head_width))
        scale = f"w{len(self.arrays)}"
        self.arrays[scale] = np.array(self.attention_scale, np.float32)
        scaled = self.add("Mul", [attended, scale], (heads, tokens, head_width))
        back = self.add("Transpose", [scaled], (heads, head_width, tokens), perm=[0, 1, 3, 2])
        shape = (channels, height, width)
        return self.add("Reshape", [back, self.ints([1, *shape])], shape)

    def model(self, image: tuple[int, ...], *outputs: str) -> bytes:
        """The serialised network from ``image`` to ``outputs``."""
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, *image])],
            [
                helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, *self.shapes[name]])
                for name in outputs
            ],
            [numpy_helper.from_array(a, name) for name, a in self.arrays.items()],
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
        ours = {node.op_type for node in self.nodes if node.domain == DOMAIN}
        used = {rule_of(op) for op in ours if op not in (EXACT, DYADIC)}
        functions = [neuron_function(*rule) for rule in sorted(used)]
        functions += [sampling_function(op == DYADIC) for op in (EXACT, DYADIC) if op in ours]
        model = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)
        content: bytes = model.SerializeToString()
        return content


@dataclass(frozen=True)
class RandomNetwork:
    """A network and an input for it."""

    onnx: bytes
    image: NDArray[np.float32]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What Hypothesis shows of a failing case."""
        del cycle
        operators = [node.op_type for node in onnx.load_from_string(self.onnx).graph.node]
        printer.text(f"{list(self.image.shape)}: {', '.join(operators)}")


Block = Callable[[st.DrawFn, NetworkBuilder, str], str]


def plain(draw: st.DrawFn, builder: NetworkBuilder, x: str) -> str:
    kernel, stride = draw(st.sampled_from([1, 3])), draw(st.integers(1, 2))
    padding = draw(st.integers(kernel // 2, 1))
    width = builder.shapes[x][0]
    return builder.conv(builder.neuron(x), width, kernel, stride, padding, 1)


def depthwise(_: st.DrawFn, builder: NetworkBuilder, x: str) -> str:
    width = builder.shapes[x][0]
    y = builder.conv(builder.neuron(x), width, 3, 1, 1, width)
    return builder.add("Add", [x, y], builder.shapes[x])


def grouped(_: st.DrawFn, builder: NetworkBuilder, x: str) -> str:
    return builder.conv(builder.neuron(x), builder.shapes[x][0], 3, 1, 1, 2)


def pointwise(_: st.DrawFn, builder: NetworkBuilder, x: str) -> str:
    width = builder.shapes[x][0]
    y = builder.conv(builder.neuron(x), 2 * width, 1, 1, 0, 1)
    y = builder.conv(builder.neuron(y), width, 1, 1, 0, 1)
    return builder.add("Add", [x, y], builder.shapes[x])


def attention(draw: st.DrawFn, builder: NetworkBuilder, x: str) -> str:
    attended = builder.attention(builder.neuron(x), 2, scores_first=draw(st.booleans()))
    y = builder.conv(builder.neuron(attended), builder.shapes[x][0], 1, 1, 0, 1)
    return builder.add("Add", [x, y], builder.shapes[x])


def chains(_: st.DrawFn, builder: NetworkBuilder, x: str) -> str:
    """Convolutions without a neuron between them, of both kinds."""
    width = builder.shapes[x][0]
    y = builder.separable(builder.neuron(x), width)
    y = builder.repeated(builder.neuron(y), width)
    return builder.add("Add", [x, y], builder.shapes[x])


def pyramid(_: st.DrawFn, builder: NetworkBuilder, x: str) -> str:
    """Pooled currents that only neurons read."""
    width = builder.shapes[x][0]
    y = builder.conv(builder.neuron(x), width // 2, 1, 1, 0, 1)
    return builder.conv(builder.pyramid(y), width, 1, 1, 0, 1)


def pooled(draw: st.DrawFn, builder: NetworkBuilder, x: str) -> str:
    """Pooled currents that a sum reads, too: membranes are compared."""
    x = builder.max_pooled(x, 2, draw(st.integers(1, 2)), 1)
    y = builder.conv(builder.neuron(x), builder.shapes[x][0], 3, 1, 1, 1)
    return builder.add("Add", [x, y], builder.shapes[x])


def upsampled(draw: st.DrawFn, builder: NetworkBuilder, x: str) -> str:
    width = builder.shapes[x][0]
    small = builder.conv(builder.neuron(x), width, 1, 2, 0, 1)
    large = builder.upsampled(small, 2, draw(st.integers(1, 3)))
    y = builder.conv(builder.neuron(large), width, 3, 1, 1, 1)
    return builder.add("Add", [large, y], builder.shapes[large])


def joined(_: st.DrawFn, builder: NetworkBuilder, x: str) -> str:
    """Two neurons that read the same current, one of them twice beside a third."""
    width = builder.shapes[x][0]
    y = builder.conv(builder.neuron(x), width, 1, 1, 0, 1)
    z = builder.conv(builder.neuron(builder.concat(x, y, x)), width, 1, 1, 0, 1)
    return builder.add("Add", [y, z], builder.shapes[x])


BLOCKS: tuple[Block, ...] = (
    plain,
    depthwise,
    grouped,
    pointwise,
    attention,
    chains,
    pyramid,
    pooled,
    upsampled,
    joined,
)


def read_out(draw: st.DrawFn, builder: NetworkBuilder, x: str) -> list[str]:
    """A classifier or a map, and sometimes a second map of the pooled stream."""
    fired = builder.neuron(x)
    channels, height, columns = builder.shapes[fired]
    flat = builder.add(
        "Reshape",
        [x, builder.ints([1, channels, height * columns])],
        (channels, height * columns),
    )
    if draw(st.booleans()) and height * columns in (1, 2, 4, 8, 16, 32, 64):
        # A mean over a power of two positions is exact.
        mean = builder.add("ReduceMean", [flat, builder.ints([2])], (channels,), keepdims=0)
        weight = builder.array((3, channels))
        output = builder.add(
            "Gemm",
            [builder.neuron(mean, norm=1), weight, builder.array((3,))],
            (3,),
            transB=1,
        )
    else:
        output = builder.conv(fired, 3, 1, 1, 0, 1)
    if draw(st.booleans()):
        return [output]
    second = builder.neuron(builder.max_pooled(x, 2, 2, 1))
    return [output, builder.conv(builder.concat(second, second), 2, 1, 1, 0, 1)]


@st.composite
def networks(draw: st.DrawFn) -> RandomNetwork:
    """Convolutions of every kind and chains of them, sums, attention, pooling, a classifier."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    builder = NetworkBuilder(
        rng,
        draw(st.integers(1, 9)),
        draw(st.sampled_from([1.0, 2.0, 4.0])),
        draw(st.sampled_from(["half_even", "half_up"])),
    )
    image = (draw(st.integers(1, 3)), draw(st.integers(3, 9)), draw(st.integers(3, 9)))
    builder.shapes["image"] = image
    x = builder.conv("image", 2 * draw(st.integers(1, 5)), 3, draw(st.integers(1, 2)), 1, 1)
    for _ in range(draw(st.integers(1, 3))):
        x = draw(st.sampled_from(BLOCKS))(draw, builder, x)
    outputs = read_out(draw, builder, x)
    pixels = (rng.integers(-12, 13, (1, *image)) / 8).astype(np.float32)
    return RandomNetwork(builder.model(image, *outputs), pixels)
