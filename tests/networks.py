"""Random small networks as ONNX, whose float32 arithmetic is exact in any order.

Weights and images are small multiples of 1/8 and norms powers of two, so every partial sum is a
float32 number: ONNX Runtime, the dense reference and the event engine must agree on every bit.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from s2f_deploy.frontend.integer_fire import DOMAIN, OPERATORS, OPSET, neuron_function


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
        domain = DOMAIN if op in OPERATORS.values() else ""
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
        functions = [neuron_function(rounding) for rounding in OPERATORS]
        model = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)
        content: bytes = model.SerializeToString()
        return content


@dataclass(frozen=True)
class RandomNetwork:
    """A network and an input for it."""

    onnx: bytes = field(repr=False)
    image: NDArray[np.float32]


@st.composite
def networks(draw: st.DrawFn) -> RandomNetwork:
    """Convolutions of every kind, residual sums, attention, pooling and a classifier."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.integers(1, 9))
    builder = NetworkBuilder(
        rng,
        levels,
        draw(st.sampled_from([1.0, 2.0, 4.0])),
        draw(st.sampled_from(["half_even", "half_up"])),
    )
    side = draw(st.integers(3, 9))
    image = (draw(st.integers(1, 3)), side, draw(st.integers(3, 9)))
    builder.shapes["image"] = image
    width = 2 * draw(st.integers(1, 5))
    x = builder.conv("image", width, 3, draw(st.integers(1, 2)), 1, 1)
    for _ in range(draw(st.integers(1, 3))):
        match draw(st.sampled_from(["plain", "depthwise", "grouped", "pointwise", "attention"])):
            case "plain":
                kernel = draw(st.sampled_from([1, 3]))
                stride = draw(st.integers(1, 2))
                x = builder.conv(
                    builder.neuron(x),
                    width,
                    kernel,
                    stride,
                    draw(st.integers(kernel // 2, 1)),
                    1,
                )
            case "depthwise":
                y = builder.conv(builder.neuron(x), width, 3, 1, 1, width)
                x = builder.add("Add", [x, y], builder.shapes[x])
            case "grouped":
                x = builder.conv(builder.neuron(x), width, 3, 1, 1, 2)
            case "pointwise":
                y = builder.conv(builder.neuron(x), 2 * width, 1, 1, 0, 1)
                y = builder.conv(builder.neuron(y), width, 1, 1, 0, 1)
                x = builder.add("Add", [x, y], builder.shapes[x])
            case "attention":
                attended = builder.attention(builder.neuron(x), 2, scores_first=draw(st.booleans()))
                y = builder.conv(builder.neuron(attended), width, 1, 1, 0, 1)
                x = builder.add("Add", [x, y], builder.shapes[x])
    fired = builder.neuron(x)
    channels, height, columns = builder.shapes[fired]
    flat = builder.add(
        "Reshape",
        [x, builder.ints([1, channels, height * columns])],
        (channels, height * columns),
    )
    if draw(st.booleans()) and height * columns in (1, 2, 4, 8, 16, 32, 64):
        # A mean over a power of two positions is exact.
        pooled = builder.add("ReduceMean", [flat, builder.ints([2])], (channels,), keepdims=0)
        weight = builder.array((3, channels))
        output = builder.add(
            "Gemm",
            [builder.neuron(pooled, norm=1), weight, builder.array((3,))],
            (3,),
            transB=1,
        )
    else:
        output = builder.conv(fired, 3, 1, 1, 0, 1)
    pixels = (rng.integers(-12, 13, (1, *image)) / 8).astype(np.float32)
    return RandomNetwork(builder.model(image, output), pixels)
