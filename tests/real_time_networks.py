"""Random small networks of several real timesteps, as ONNX."""

from typing import Any, get_args

import numpy as np
from hypothesis import strategies as st
from integer_builder import IntegerBuilder
from integer_networks import IntegerCase, images
from numpy.typing import NDArray

from s2f_deploy.frontend.integer_fire import operator
from s2f_deploy.passes.merge_convolutions import Chains


class TimedBuilder(IntegerBuilder):
    """Timesteps on the first axis of every tensor but the image.

    Args:
        timesteps: T.
        leak_shift: s of the leak 2**-s.
        gain: by which every neuron scales its current.
    """

    timesteps, leak_shift, gain = 2, 2, 1.0

    def neuron(self, source: str, norm: float | None = None) -> str:
        """Remember and fire."""
        attributes = self.fires()
        if norm is not None:
            attributes["norm"] = norm
        if self.gain != 1:
            source = self.add(
                "Mul", [source, self.constant(np.array(self.gain))], self.shapes[source]
            )
        return self.add(
            operator(attributes["rounding"], self.timesteps),
            [source],
            self.shapes[source],
            **attributes,
            T=self.timesteps,
            beta=2.0**-self.leak_shift,
        )

    def started(self, image: tuple[int, ...], *, framed: bool) -> str:
        """The image once per timestep, or its frames one after the other."""
        self.shapes["image"] = image[-3:]
        if framed:
            shape = self.ints([self.timesteps, *image[-3:]])
            swapped = self.add("Transpose", ["image"], image, perm=[1, 0, 2, 3, 4])
            return self.add("Reshape", [swapped, shape], image[-3:])
        return self.add("Concat", ["image"] * self.timesteps, image, axis=0)

    def mean(self, source: str) -> str:
        """Over time."""
        shape = self.shapes[source]
        apart = self.ints([self.timesteps, 1, *shape])
        steps = self.add("Reshape", [source, apart], shape)
        return self.add("ReduceMean", [steps, self.ints([0])], shape, keepdims=0)


def block(draw: st.DrawFn, builder: TimedBuilder, x: str) -> str:
    """One more layer of some kind."""
    width = builder.shapes[x][0]
    fired = builder.neuron(x)
    match draw(st.integers(0, 5)):
        case 0:
            return builder.convolve(fired, width, (3, 3), stride=(2, 1), pads=(1, 1, 1, 1))
        case 1:
            y = builder.separable(fired, width)
            return builder.add("Add", [x, y], builder.shapes[x])
        case 2:
            y = builder.repeated(fired, width)
            return builder.add("Add", [y, x], builder.shapes[x])
        case 3:
            return builder.convolve(builder.pyramid(builder.convolve(fired, 2)), width)
        case 4:
            large = builder.upsampled(builder.convolve(fired, width), 2, 1)
            return builder.convolve(builder.neuron(builder.concat(large, large)), width)
        case _:
            y = builder.convolve(builder.neuron(x), width)
            return builder.concat(y, builder.convolve(fired, 2))


@st.composite
def timed_networks(draw: st.DrawFn) -> IntegerCase:
    """Images that stand still and images that move; maps whose mean over time is the output."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    builder = TimedBuilder(rng, draw(st.integers(1, 9)), 1.0, "half_even")
    builder.timesteps = draw(st.integers(2, 4))
    builder.leak_shift = draw(st.integers(1, 2))
    builder.gain = draw(st.sampled_from([1.0, 0.5]))
    shape: tuple[int, ...] = draw(
        st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
    )
    framed = draw(st.booleans())
    image = (builder.timesteps, *shape) if framed else shape
    x = builder.started(image, framed=framed)
    x = builder.same(x, 4)
    for _ in range(draw(st.integers(0, 3))):
        x = block(draw, builder, x)
    output = builder.mean(builder.concat(builder.convolve(builder.neuron(x), 2), x))
    if draw(st.booleans()):
        output = builder.add("Softmax", [output], builder.shapes[output], axis=1)
    samples: NDArray[Any] = images(rng, draw(st.integers(1, 2)), image)
    return IntegerCase(
        builder.model(image, output),
        samples,
        draw(st.sampled_from(["int8", "int16"])),
        images(rng, 2, image) if draw(st.booleans()) else None,
        (),
        draw(st.sampled_from(get_args(Chains))),
    )
