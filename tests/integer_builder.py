"""Builds networks with arbitrary float32 weights, for the lowering to integers.

Nothing about them is exact before they are lowered: weights are no multiples of anything, norms
and scales no powers of two, branches of one sum differ by up to sixteen powers of two.
"""

from typing import Any

import numpy as np
from networks import NetworkBuilder
from numpy.typing import NDArray

from s2f_deploy.frontend.integer_fire import OPERATORS

NORMS = (1.0, 2.0, 3.0, 4.0, 5.0, 7.3)


class IntegerBuilder(NetworkBuilder):
    """Weights of any value and magnitude; every neuron has its own D, norm and rounding."""

    spread = 0.4
    """How often a layer, or its channels, differ in magnitude from the others."""

    def array(self, shape: tuple[int, ...], low: int = -3, high: int = 4) -> str:
        """A constant float32[O, ...]; some rows are zero. Weights have more than one axis."""
        del low, high
        rng = self.rng
        fan_in = int(np.prod(shape[1:]))
        values = rng.standard_normal(shape) * 1.5 / np.sqrt(fan_in)
        rows = (-1, *[1] * (len(shape) - 1))
        if rng.random() < self.spread:
            values *= 2.0 ** rng.integers(-8, 9)
        if rng.random() < self.spread:
            values *= 2.0 ** rng.integers(-8, 9, shape[0]).reshape(rows)
        if rng.random() < self.spread:
            values *= rng.random(shape[0]).reshape(rows) > 0.3
        return self.constant(values)

    def constant(self, values: NDArray[Any]) -> str:
        """A float32 constant."""
        name = f"w{len(self.arrays)}"
        self.arrays[name] = np.asarray(values, np.float32)
        return name

    def fires(self) -> dict[str, Any]:
        """Attributes of one neuron."""
        return {
            "D": int(self.rng.integers(1, self.levels + 1)),
            "norm": float(self.rng.choice(NORMS)),
            "rounding": str(self.rng.choice(list(OPERATORS))),
        }

    def neuron(self, source: str, norm: float | None = None) -> str:
        """Fire."""
        attributes = self.fires()
        if norm is not None:
            attributes["norm"] = norm
        operator = OPERATORS[attributes["rounding"]]
        return self.add(operator, [source], self.shapes[source], **attributes)

    def convolve(
        self,
        source: str,
        outputs: int,
        kernel: tuple[int, int] = (1, 1),
        *,
        stride: tuple[int, int] = (1, 1),
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
        groups: int = 1,
    ) -> str:
        """A convolution; ``pads`` is top, left, bottom, right."""
        channels, *plane = self.shapes[source]
        weight = self.array((outputs, channels // groups, *kernel))
        inputs = [source, weight]
        if self.rng.random() < 0.8:
            inputs.append(self.array((outputs,)))
        sides = [
            (side + pads[axis] + pads[axis + 2] - kernel[axis]) // stride[axis] + 1
            for axis, side in enumerate(plane)
        ]
        return self.add(
            "Conv",
            inputs,
            (outputs, *sides),
            strides=list(stride),
            pads=list(pads),
            group=groups,
            kernel_shape=list(kernel),
        )

    def same(self, source: str, outputs: int, groups: int = 1) -> str:
        """A 3x3 convolution that keeps the plane."""
        return self.convolve(source, outputs, (3, 3), pads=(1, 1, 1, 1), groups=groups)

    def conv(
        self, source: str, outputs: int, kernel: int, stride: int, padding: int, groups: int
    ) -> str:
        """A square convolution, with a bias or without."""
        return self.convolve(
            source,
            outputs,
            (kernel, kernel),
            stride=(stride, stride),
            pads=(padding,) * 4,
            groups=groups,
        )

    def normalised(self, source: str) -> str:
        """A batch norm; some channels may be silent, or turned round."""
        channels, rng = self.shapes[source][0], self.rng
        scale = np.exp2(rng.uniform(-2, 2, channels)) * rng.choice([-1.0, 0.0, 1.0, 1.0], channels)
        shift, mean = rng.standard_normal((2, channels))
        variance = rng.uniform(0.2, 2, channels)
        names = [self.constant(v) for v in (scale, shift, 0.2 * mean, variance)]
        shape = self.shapes[source]
        return self.add("BatchNormalization", [source, *names], shape, epsilon=1e-3)

    def over_tokens(self, source: str, outputs: int, kernel: int) -> str:
        """A 1-D convolution over all positions."""
        channels, *plane = self.shapes[source]
        tokens = int(np.prod(plane))
        flat = self.reshaped(source, (channels, tokens))
        weight = self.array((outputs, channels, kernel))
        made = self.add(
            "Conv",
            [flat, weight, self.array((outputs,))],
            (outputs, tokens),
            strides=[1],
            pads=[kernel // 2, (kernel - 1) // 2],
            kernel_shape=[kernel],
        )
        return self.reshaped(made, (outputs, *plane))

    def reshaped(self, source: str, shape: tuple[int, ...]) -> str:
        """The same elements in another shape."""
        return self.add("Reshape", [source, self.ints([1, *shape])], shape)

    def scaled(self, source: str, *, positive: bool) -> str:
        """A batch norm, or a scale and a shift per channel, or one scale for all."""
        shape, rng = self.shapes[source], self.rng
        size = 1 if (kind := rng.integers(3)) == 0 else shape[0]
        scale = np.exp2(rng.uniform(-2, 2, size))
        if not positive:
            scale *= rng.choice([-1.0, 0.0, 1.0, 1.0], size)
        shift = rng.standard_normal(size)
        if kind == 2:
            names = [self.constant(v) for v in (scale, shift)]
            names += [self.constant(v) for v in (0.2 * shift, rng.uniform(0.2, 2, size))]
            return self.add("BatchNormalization", [source, *names], shape, epsilon=1e-5)
        axes = (size, *[1] * (len(shape) - 1))
        result = self.add("Mul", [source, self.constant(scale.reshape(axes))], shape)
        if kind == 1 or rng.random() < 0.5:
            result = self.add("Add", [result, self.constant(shift.reshape(axes))], shape)
        return result

    def pooled(self, source: str) -> str:
        """The mean over all positions."""
        channels, *plane = self.shapes[source]
        flat = self.reshaped(source, (channels, int(np.prod(plane))))
        return self.add("ReduceMean", [flat, self.ints([2])], (channels,), keepdims=0)

    def classified(self, source: str) -> str:
        """A fully connected layer, with a bias or without."""
        (channels,) = self.shapes[source]
        if self.rng.random() < 0.5:
            weight = self.array((3, channels))
            return self.add("Gemm", [source, weight, self.array((3,))], (3,), transB=1)
        name = self.array((3, channels))
        self.arrays[name] = np.ascontiguousarray(self.arrays[name].T)
        return self.add("MatMul", [source, name], (3,))


class FixedBuilder(IntegerBuilder):
    """Arbitrary weights of one magnitude; all neurons are alike."""

    spread = 0

    def fires(self) -> dict[str, Any]:
        """The builder's own D and rounding."""
        return {"D": self.levels, "norm": 3.0, "rounding": self.rounding}


class ExtremeBuilder(IntegerBuilder):
    """Every weight of a layer is the same number: sums come as near to their bounds as they can."""

    def array(self, shape: tuple[int, ...], low: int = -3, high: int = 4) -> str:
        """One value throughout, rarely negative; sometimes as large or small as 2**±20."""
        del low, high
        rng = self.rng
        value = rng.uniform(1, 2) * rng.choice([1, 1, 1, 1, -1])
        if rng.random() < self.spread:
            value *= 2.0 ** rng.integers(-20, 21)
        return self.constant(np.full(shape, value))

    def fires(self) -> dict[str, Any]:
        """Always up to the largest count."""
        return {**super().fires(), "D": self.levels}
