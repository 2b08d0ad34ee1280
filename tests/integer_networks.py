"""Random small networks of arbitrary float32 weights, lowered to integers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import onnx
from hypothesis import strategies as st
from integer_builder import ExtremeBuilder, IntegerBuilder
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Graph
from s2f_deploy.passes.merge_convolutions import Chains
from s2f_deploy.passes.pipeline import Arithmetic, lower_content

LARGEST_COUNT = 15


@dataclass(frozen=True)
class IntegerCase:
    """A network, how it is lowered, and what it is shown."""

    onnx: bytes
    samples: NDArray[np.float32]
    arithmetic: Arithmetic
    calibration: NDArray[np.float32] | None
    layers: tuple[tuple[str, Arithmetic], ...]
    keep_chains: Chains = "none"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What Hypothesis shows of a failing case."""
        del cycle
        operators = [node.op_type for node in onnx.load_from_string(self.onnx).graph.node]
        shape = list(self.samples.shape)
        how = f"chains kept: {self.keep_chains}, {self.arithmetic} {dict(self.layers)}"
        printer.text(f"{how} on {shape}: {', '.join(operators)}")

    def lowered(self) -> Graph:
        """The EVENT graph."""
        return lower_content(
            self.onnx,
            "net",
            self.arithmetic,
            calibration=self.calibration,
            layers=self.layers,
            keep_chains=self.keep_chains,
        )


Block = Callable[[st.DrawFn, IntegerBuilder, str], str]
Readout = Callable[[st.DrawFn, IntegerBuilder, str, str], list[str]]


def strided(draw: st.DrawFn, builder: IntegerBuilder, source: str) -> str:
    """A convolution of any kernel, stride and padding that leaves a plane."""
    pads = draw(st.tuples(*[st.integers(0, 2)] * 4))
    channels, height, width = builder.shapes[source]
    kernel = (
        draw(st.integers(1, min(3, height + pads[0] + pads[2]))),
        draw(st.integers(1, min(3, width + pads[1] + pads[3]))),
    )
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 2)))
    groups = draw(st.sampled_from([1, 2])) if channels % 2 == 0 else 1
    outputs = 2 * draw(st.integers(1, 4))
    return builder.convolve(source, outputs, kernel, stride=stride, pads=pads, groups=groups)


def attended(draw: st.DrawFn, builder: IntegerBuilder, fired: str) -> str:
    """Attention in either order with a scale that is no power of two."""
    builder.attention_scale = float(np.exp2(draw(st.floats(-7, 0))))
    # One token and one channel a head could be read as rows or columns.
    heads = draw(st.sampled_from([1, 2])) if np.prod(builder.shapes[fired][1:]) > 1 else 1
    return builder.attention(fired, heads, scores_first=draw(st.booleans()))


def multiplied(_: st.DrawFn, builder: IntegerBuilder, fired: str) -> str:
    """Two kernels for every channel, then a 1x1 convolution."""
    width = builder.shapes[fired][0]
    y = builder.convolve(fired, 2 * width, (1, 3), pads=(0, 2, 0, 0), groups=width)
    return builder.convolve(builder.neuron(y), width)


def pointwise(_: st.DrawFn, builder: IntegerBuilder, fired: str) -> str:
    """Two 1x1 convolutions and a batch norm."""
    width = builder.shapes[fired][0]
    y = builder.neuron(builder.convolve(fired, 2 * width))
    return builder.scaled(builder.convolve(y, width), positive=False)


def border(_: st.DrawFn, builder: IntegerBuilder, source: str) -> str:
    """A 1x1 convolution whose bias the padding of the next one does not see."""
    width = builder.shapes[source][0]
    return builder.same(builder.convolve(source, width + 1), width)


def attention(draw: st.DrawFn, builder: IntegerBuilder, fired: str) -> str:
    """Attention, a neuron, a 1x1 convolution."""
    y = builder.neuron(attended(draw, builder, fired))
    return builder.convolve(y, builder.shapes[fired][0])


def over_tokens(draw: st.DrawFn, builder: IntegerBuilder, fired: str) -> str:
    """A 1-D convolution."""
    return builder.over_tokens(fired, builder.shapes[fired][0], draw(st.integers(1, 4)))


def chain(draw: st.DrawFn, builder: IntegerBuilder, fired: str) -> str:
    """Convolutions without a neuron between them: norms, padding and depthwise kernels."""
    width = builder.shapes[fired][0]
    kinds = [builder.separable, builder.repeated, builder.depthwise_first]
    kind = draw(st.sampled_from(kinds))
    return kind(fired, width)


def pyramid(draw: st.DrawFn, builder: IntegerBuilder, fired: str) -> str:
    """Pooled currents beside each other, which one neuron or a sum reads."""
    width = builder.shapes[fired][0]
    y = builder.convolve(fired, width)
    if draw(st.booleans()):
        return builder.max_pooled(y, 3, 1, 1)
    return builder.convolve(builder.pyramid(y), width)


def halved(draw: st.DrawFn, builder: IntegerBuilder, fired: str) -> str:
    """Pooled spikes, and as many blocks of them as there were; what is too much is not used."""
    _, height, columns = builder.shapes[fired]
    small = builder.max_pooled(fired, 2, 2, 1)
    factors = draw(st.integers(2, 3)), 2
    large = builder.upsampled(builder.convolve(small, 3), *factors)
    taps = [
        side - wanted + 1
        for side, wanted in zip(builder.shapes[large][1:], (height, columns), strict=True)
    ]
    return builder.convolve(builder.neuron(large), builder.shapes[fired][0], (taps[0], taps[1]))


def doubled(_: st.DrawFn, builder: IntegerBuilder, fired: str) -> str:
    """Spikes of several norms beside each other, and two equal populations."""
    width = builder.shapes[fired][0]
    y = builder.convolve(fired, width)
    again, other = builder.neuron(y), builder.neuron(y)
    return builder.convolve(builder.concat(again, fired, other), width)


BRANCHES: Mapping[str, Block] = {
    "depthwise": lambda _, builder, x: builder.same(x, builder.shapes[x][0], builder.shapes[x][0]),
    "multiplied": multiplied,
    "pointwise": pointwise,
    "border": border,
    "tokens": over_tokens,
    "attention": attention,
    "chain": chain,
    "pyramid": pyramid,
    "halved": halved,
    "doubled": doubled,
}
"""What may be added to the stream that feeds it."""

ENTRIES: Mapping[str, Block] = {
    "plain": strided,
    "pointwise": lambda _, builder, x: builder.convolve(x, 4),
    "border": border,
    "residual": lambda _, builder, x: builder.add(
        "Add", [x, builder.same(x, builder.shapes[x][0])], builder.shapes[x]
    ),
    "tokens": over_tokens,
    "counts": lambda _, builder, x: builder.same(builder.neuron(x), 4),
    "pooled": lambda _, builder, x: builder.convolve(builder.max_pooled(x, 2, 1, 1), 4),
    "pooled counts": lambda _, builder, x: builder.convolve(
        builder.neuron(
            builder.concat(builder.max_pooled(x, 3, 2, 1), builder.max_pooled(x, 3, 2, 1))
        ),
        4,
    ),
    "beside": lambda _, builder, x: builder.concat(x, builder.same(x, 3)),
    "enlarged": lambda _, builder, x: builder.same(builder.upsampled(x, 2, 1), 4),
}
"""What may read the image."""


def grown(draw: st.DrawFn, builder: IntegerBuilder, x: str) -> str:
    """The stream ``x`` after one more block of a random kind."""
    fired = builder.neuron(builder.scaled(x, positive=True) if draw(st.booleans()) else x)
    if draw(st.booleans()):
        return builder.scaled(strided(draw, builder, fired), positive=False)
    y = BRANCHES[draw(st.sampled_from(sorted(BRANCHES)))](draw, builder, fired)
    return builder.add("Add", [x, y] if draw(st.booleans()) else [y, x], builder.shapes[x])


def chained(_: st.DrawFn, builder: IntegerBuilder, __: str, fired: str) -> list[str]:
    """A convolution that multiplies what another one sums, and their sum."""
    y = builder.convolve(fired, 3, (2, 1), pads=(1, 0, 0, 0))
    z = builder.convolve(y, 3, pads=(0, 0, 0, 0))
    return [builder.add("Add", [y, z], builder.shapes[y])]


def scaled(_: st.DrawFn, builder: IntegerBuilder, x: str, fired: str) -> list[str]:
    """A residual sum, scaled in real values."""
    y = builder.add("Add", [x, builder.same(fired, builder.shapes[x][0])], builder.shapes[x])
    return [builder.scaled(y, positive=False)]


def detections(draw: st.DrawFn, builder: IntegerBuilder, x: str, fired: str) -> list[str]:
    """Maps of two sizes, which the host joins, and one of them as it is."""
    first = builder.concat(builder.same(fired, 2), builder.convolve(builder.neuron(x), 2))
    second = builder.convolve(builder.max_pooled(fired, 2, 2, 1), 4)
    flat = [builder.reshaped(y, (4, int(np.prod(builder.shapes[y][1:])))) for y in (first, second)]
    tokens = sum(builder.shapes[y][1] for y in flat)
    joined = builder.add("Concat", flat, (4, tokens), axis=2)
    output = builder.add("Softmax", [joined], (4, tokens), axis=1)
    return [output, second] if draw(st.booleans()) else [output]


def largest(_: st.DrawFn, builder: IntegerBuilder, x: str, fired: str) -> list[str]:
    """Currents pooled, enlarged and joined behind the last neuron."""
    y = builder.concat(builder.max_pooled(x, 3, 1, 1), builder.convolve(fired, 3))
    return [builder.upsampled(y, 1, 2)]


def softmax(_: st.DrawFn, builder: IntegerBuilder, x: str, __: str) -> list[str]:
    """A tail that only the host computes."""
    y = builder.classified(builder.neuron(builder.pooled(x)))
    return [builder.add("Softmax", [y], (3,), axis=1)]


READOUTS: Mapping[str, Readout] = {
    "conv": lambda _, builder, __, fired: [builder.convolve(fired, 3)],
    "classifier": lambda _, builder, x, __: [builder.classified(builder.neuron(builder.pooled(x)))],
    "pooled": lambda _, builder, __, fired: [builder.pooled(builder.same(fired, 3))],
    "pooled classifier": lambda _, builder, __, fired: [
        builder.classified(builder.pooled(builder.same(fired, 4)))
    ],
    "chained": chained,
    "scaled": scaled,
    "attention": lambda draw, builder, _, fired: [attended(draw, builder, fired)],
    "softmax": softmax,
    "detections": detections,
    "largest": largest,
    "several": lambda _, builder, x, fired: [
        builder.convolve(fired, 2),
        x,
        builder.pooled(x),
    ],
}
"""From the last stream and its neuron to outputs; some multiply what another layer sums."""


def read_out(draw: st.DrawFn, builder: IntegerBuilder, x: str) -> list[str]:
    """Outputs of one random kind."""
    kind = draw(st.sampled_from(sorted(READOUTS)))
    return READOUTS[kind](draw, builder, x, builder.neuron(x))


def images(rng: np.random.Generator, batch: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Pixels of any value; some images are zero, beyond the grid, or halfway between its points."""
    made = rng.standard_normal((batch, *shape)) * 2.0 ** rng.integers(-2, 3)
    match rng.integers(8):
        case 0:
            made[0] = 0
        case 1:
            made *= 1e6
        case 2:
            made = np.rint(made * 2**9) / 2**9
    return made.astype(np.float32)


@st.composite
def integer_networks(draw: st.DrawFn) -> IntegerCase:
    """Convolutions of every kind, residual sums, attention, pooling and a readout."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    builder = IntegerBuilder(rng, draw(st.integers(1, LARGEST_COUNT)), 1.0, "half_even")
    image = draw(st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)))
    builder.shapes["image"] = image
    x = ENTRIES[draw(st.sampled_from(sorted(ENTRIES)))](draw, builder, "image")
    if builder.shapes[x][0] % 2:
        x = builder.convolve(builder.neuron(x), builder.shapes[x][0] + 1)
    for _ in range(draw(st.integers(0, 3))):
        x = grown(draw, builder, x)
    outputs = read_out(draw, builder, x)
    arithmetic: Arithmetic = draw(st.sampled_from(["int8", "int16"]))
    other: Arithmetic = "int16" if arithmetic == "int8" else "int8"
    calibrated = draw(st.booleans())
    return IntegerCase(
        builder.model(image, *outputs),
        images(rng, draw(st.integers(1, 2)), image),
        arithmetic,
        images(rng, 2, image) if calibrated else None,
        (("nt?", other),) if draw(st.booleans()) else (),
        draw(st.sampled_from(get_args(Chains))),
    )


@st.composite
def extreme_networks(draw: st.DrawFn) -> IntegerCase:
    """Wide fan-in, large counts and long sums, with inputs that drive every count to D."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    builder = ExtremeBuilder(rng, draw(st.sampled_from([1, 15, 255])), 1.0, "half_even")
    image = draw(st.sampled_from([(1, 1, 1), (3, 4, 5), (1, 1, 60), (40, 2, 1)]))
    builder.shapes["image"] = image
    width = draw(st.sampled_from([2, 16, 18, 34]))
    x = builder.same("image", width)
    for _ in range(draw(st.integers(0, 2))):
        x = grown(draw, builder, x)
    outputs = read_out(draw, builder, x)
    samples = np.full((2, *image), draw(st.sampled_from([1e-3, 1.0, 3e38])), np.float32)
    samples[1] *= -1
    calibrated = samples.max() <= 1 and draw(st.booleans())
    return IntegerCase(
        builder.model(image, *outputs),
        samples,
        draw(st.sampled_from(["int8", "int16"])),
        samples[:1] if calibrated else None,
        (),
    )
