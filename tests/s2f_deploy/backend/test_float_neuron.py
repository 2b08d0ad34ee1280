"""A neuron in float operators, run where it matters: at its comparators and beside them."""

from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import pytest
from deployed_runs import session
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2f_deploy import Node, TensorType
from s2f_deploy.backend.float_neuron import FloatNeuron
from s2f_deploy.backend.onnx_writer import OnnxWriter
from s2f_deploy.ir.graph import DType, attributes
from s2f_deploy.ir.interval import Interval
from s2f_deploy.passes.comparators import comparators

CHANNELS = 3


@st.composite
def neurons(draw: st.DrawFn) -> FloatNeuron:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 2, 4, 15]))
    constants = attributes(levels=levels, rounding=draw(st.sampled_from(["half_even", "half_up"])))
    output = TensorType((CHANNELS, 1), DType.COUNT, levels)
    size = draw(st.sampled_from([1, CHANNELS]))
    match draw(st.sampled_from(["power", "quotient", "any"])):
        case "power":
            scale = 2.0 ** rng.integers(-6, 7, size)
        case "quotient":
            scale = 1 / rng.integers(1, 400, size)
        case _:
            scale = np.exp2(rng.uniform(-8, 8, size))
    shift = rng.choice([0.0, 0.5, -1.0, 1 / 3], size) if draw(st.booleans()) else np.zeros(size)
    exponents = rng.integers(-24, 1, CHANNELS)
    high = rng.integers(0, 2 ** draw(st.sampled_from([4, 12, 24, 40, 52])), CHANNELS)
    low = -rng.integers(0, high + 1)
    bounds = Interval(low.astype(object), high.astype(object))
    node = Node("n", "integer_fire", ("x",), (), output, "test", constants)
    return FloatNeuron(node, scale, shift, exponents, bounds)


def exact_count(neuron: FloatNeuron, channel: int, units: int) -> int:
    """Of one membrane, in fractions."""
    scale, shift = (
        Fraction(float(np.broadcast_to(v, CHANNELS)[channel])) for v in (neuron.scale, neuron.shift)
    )
    u = Fraction(units) * Fraction(2) ** int(neuron.exponents[channel]) * scale + shift
    clipped = min(max(u, Fraction(0)), Fraction(neuron.node["levels"]))
    up = neuron.node["rounding"] == "half_up"
    # Python rounds a Fraction half to even.
    return (clipped + Fraction(1, 2)).__floor__() if up else round(clipped)


def critical(neuron: FloatNeuron, table: NDArray[Any]) -> NDArray[np.int64]:
    """int64[samples, C]: every comparator and its neighbours, the bounds, all within the bounds."""
    low, high = (end.astype(np.int64) for end in (neuron.bounds.low, neuron.bounds.high))
    wide = np.broadcast_to(table, (len(table), CHANNELS))
    near = [np.clip(wide, low, high) + offset for offset in (-2, -1, 0, 1, 2)]
    clipped: NDArray[np.int64] = np.clip(np.concatenate([*near, [low, high, 0 * low]]), low, high)
    return clipped


def counted(neuron: FloatNeuron, units: NDArray[np.int64], *, optimised: bool) -> NDArray[Any]:
    out = OnnxWriter()
    real = np.ldexp(units.astype(np.float64), neuron.exponents)[:, :, None]
    source = out.input("float", "batch", (CHANNELS, 1))
    if neuron.bounds.reach >= 2**24:
        # An input is float32; two of them make any double of 48 bits, three of 53.
        parts = [real.astype(np.float32)]
        for k in (1, 2):
            rest = real - sum(part.astype(np.float64) for part in parts)
            parts.append(rest.astype(np.float32))
            out.input(f"rest{k}", "batch", (CHANNELS, 1))
        first = out.cast(source, wide=True)
        second = out.op("Add", [first, out.cast("rest1", wide=True)], "two", wide=True)
        out.op("Add", [second, out.cast("rest2", wide=True)], "x", wide=True)
        feeds = dict(zip(("float", "rest1", "rest2"), parts, strict=True))
        assert np.array_equal(sum(part.astype(np.float64) for part in parts), real)
    else:
        out.op("Identity", [source], "x")
        feeds = {"float": real.astype(np.float32)}
        assert np.array_equal(feeds["float"], real)
    neuron.emit(out)
    out.output("n", "batch", (CHANNELS, 1))
    model = onnx.load_from_string(out.model("neuron"))
    (result,) = session(model, optimised=optimised).run(["n"], feeds)
    counts: NDArray[Any] = result[:, :, 0]
    return counts


@pytest.mark.parametrize("optimised", [True, False])
@given(neurons())
def test_every_membrane_gets_its_count(optimised: bool, neuron: FloatNeuron) -> None:
    """The operators, and the comparators of both integer types, against fractions."""
    scale = np.ldexp(neuron.scale, neuron.exponents)
    tables = [
        comparators(neuron.node, dtype, scale, neuron.shift)
        for dtype in (DType.INT64, DType.INT32)
        if neuron.bounds.fits(dtype)
    ]
    units = critical(neuron, tables[0])
    want = [[exact_count(neuron, c, int(row[c])) for c in range(CHANNELS)] for row in units]
    assert counted(neuron, units, optimised=optimised).tolist() == want
    for table in tables:
        assert (units[:, None] >= table[None]).sum(1).tolist() == want
