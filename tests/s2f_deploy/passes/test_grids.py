from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import NetworkBuilder

from s2f_deploy.frontend.import_onnx import import_onnx
from s2f_deploy.passes.grids import (
    BIAS_BITS,
    FINER_AT_MOST,
    FINEST,
    coarsened,
    finest_exponents,
    range_exponents,
)
from s2f_deploy.passes.pipeline import INTEGER_PASSES, lower_content, run_passes

BITS = st.sampled_from([8, 11, 14, 16])
POSITIVE = st.floats(1e-300, 1e300)


def exponent(largest: float, bits: int) -> int:
    (found,) = range_exponents(np.array([[0.0, -largest]]), bits).tolist()
    return int(found)


@given(POSITIVE, BITS)
def test_the_smallest_exponent_that_holds_the_largest_weight(largest: float, bits: int) -> None:
    units = Fraction(largest) / Fraction(2) ** exponent(largest, bits)
    assert units <= 2 ** (bits - 1) - 1 < 2 * units


@given(st.integers(-900, 900), BITS)
def test_exact_where_the_grid_is_full(power: int, bits: int) -> None:
    full = np.ldexp(2.0 ** (bits - 1) - 1, power)
    assert exponent(full, bits) == power
    assert exponent(np.nextafter(full, np.inf), bits) == power + 1
    assert exponent(np.nextafter(full, 0), bits) == power


def test_silent_rows_get_the_coarsest_grid_of_their_layer() -> None:
    weight = np.array([[0.0, 0.0], [127.0, 1.0], [127 / 8, 0.0]])
    assert range_exponents(weight, 8).tolist() == [0, 0, -3]
    assert len(set(range_exponents(np.zeros((2, 3)), 8).tolist())) == 1


def test_a_bias_stays_within_its_bits() -> None:
    """In a channel with a mighty bias only weights that matter beside it are resolved."""
    weight = np.array([[1e-20], [1e-20], [0.5], [0.0]])
    bias = np.array([0.75, 0.0, 0.75, 3.0])
    found = finest_exponents(weight, bias, 8)
    coarsest = exponent(0.5, 8)
    assert found.tolist() == [-BIAS_BITS, FINEST, coarsest, coarsest]
    as_map = np.stack([np.zeros(4), bias], axis=1)[:, None]
    assert finest_exponents(weight, as_map, 8).tolist() == found.tolist()


def test_a_silenced_channel_neither_widens_nor_stops_the_lowering() -> None:
    builder = NetworkBuilder(np.random.default_rng(0), 4, 1.0, "half_even")
    builder.shapes["image"] = (2, 4, 4)
    fired = builder.neuron(builder.conv("image", 4, 3, 1, 1, 1))
    output = builder.conv(fired, 4, 3, 1, 1, 1)
    for name in ("w0", "w2"):
        builder.arrays[name][1] *= 1e-25
        builder.arrays[name.replace("0", "1").replace("2", "3")][1] = 0.375
    graph = lower_content(builder.model((2, 4, 4), output), "net", "int8")
    assert {n.output.dtype.value for n in graph.nodes} == {"float32", "int32", "count"}


@pytest.mark.parametrize("branch", [0, 1])
def test_no_branch_is_much_finer_than_the_coarsest(branch: int) -> None:
    """Two convolutions of one sum; one is 2**10 times smaller in one of its channels."""
    builder = NetworkBuilder(np.random.default_rng(0), 4, 1.0, "half_even")
    builder.shapes["image"] = (2, 4, 4)
    x = builder.conv("image", 4, 3, 1, 1, 1)
    y = builder.conv(builder.neuron(x), 4, 3, 1, 1, 1)
    total = builder.add("Add", [x, y], builder.shapes[x])
    output = builder.conv(builder.neuron(total), 3, 1, 1, 0, 1)
    weights: list[Any] = [builder.arrays["w0"], builder.arrays["w2"]]
    weights[0][:] = weights[1][:] = 1.0
    weights[branch][2] /= 2**10
    content = builder.model((2, 4, 4), output)
    graph = run_passes(import_onnx(content, "net"), INTEGER_PASSES)
    synapses = {n.name: graph.arrays(n) for n in graph.select("conv2d")}
    finest = {name: finest_exponents(w, b, 8) for name, (w, b) in synapses.items()}
    small, large, alone = (("nt0", "nt2", "nt5"), ("nt2", "nt0", "nt5"))[branch]
    found = coarsened(graph, finest)
    shared = int(finest[large][2])
    assert finest[small].tolist() == [shared, shared, shared - 10, shared]
    assert found[small].tolist() == [shared, shared, shared - FINER_AT_MOST, shared]
    assert found[large].tolist() == finest[large].tolist()
    assert found[alone].tolist() == finest[alone].tolist()
