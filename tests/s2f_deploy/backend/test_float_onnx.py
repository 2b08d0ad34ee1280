"""Where float32 would round: weights in pieces, sums in double precision, comparators."""

from typing import Any

import numpy as np
import onnx
import pytest
from deployed_runs import deployed_tensors, equivalent
from hypothesis import given
from hypothesis import strategies as st
from integer_builder import FixedBuilder
from networks import NetworkBuilder
from numpy.typing import NDArray
from onnx import numpy_helper

from s2f_deploy.backend.exact_pieces import EXACT_IN_FLOAT, FEWEST_BITS, split
from s2f_deploy.ir.graph import Graph
from s2f_deploy.passes.pipeline import Arithmetic, lower_content
from s2f_sim import Simulator


def constants(graph: Graph) -> dict[str, NDArray[Any]]:
    arrays = onnx.load_from_string(graph.deployed).graph.initializer
    return {array.name: numpy_helper.to_array(array) for array in arrays}


def operators(graph: Graph) -> dict[str, str]:
    nodes = onnx.load_from_string(graph.deployed).graph.node
    return {name: node.op_type for node in nodes for name in node.output}


@given(
    st.lists(st.integers(-(2**31), 2**31), min_size=1, max_size=5),
    st.integers(FEWEST_BITS, 33),
)
def test_pieces_add_up_and_are_no_larger_than_their_bits(whole: list[int], bits: int) -> None:
    pieces = split(np.array(whole), bits)
    total = sum(piece.astype(object) << (bits * k) for k, piece in enumerate(pieces))
    assert np.array(total).tolist() == whole
    for piece in pieces[:-1]:
        assert piece.min() >= 0
        assert piece.max() < 2**bits
    assert np.abs(pieces[-1]).max() < 2 ** (bits - 1)


def wide_network(arithmetic: Arithmetic) -> Graph:
    builder = FixedBuilder(np.random.default_rng(2), 15, 1.0, "half_even")
    builder.shapes["image"] = (2, 5, 5)
    fired = builder.neuron(builder.convolve("image", 64))
    output = builder.convolve(fired, 3, (3, 3))
    return lower_content(builder.model((2, 5, 5), output), "net", arithmetic)


def test_weights_of_8_bits_need_no_pieces() -> None:
    arrays = constants(wide_network("int8"))
    assert "nt2.weight0" in arrays
    assert "nt2.weight1" not in arrays
    assert arrays["nt2.bias"].dtype == np.float32


def test_weights_beyond_24_bits_aresplit() -> None:
    """Every piece's own sums stay exact; together they are the weights, and added in double."""
    graph = wide_network("int16")
    arrays = constants(graph)
    pieces = [arrays[f"nt2.weight{k}"] for k in range(2)]
    assert {piece.dtype for piece in pieces} == {np.dtype(np.float32)}
    rows, bias = graph.arrays(graph.node("nt2"))
    exponents = graph.arrays(graph.node("nt2.real"))[0]
    low, high = (np.ldexp(p.astype(float), -exponents[:, None, None, None]) for p in pieces)
    assert np.array_equal(low + high, rows.transpose(3, 2, 0, 1))
    levels = graph.node("nt1")["levels"]
    assert levels * (low + high).clip(min=0).sum((1, 2, 3)).max() > EXACT_IN_FLOAT
    # The high digits are multiples of 2**8, their sums as well: so many bits fewer.
    for digits in (low, high / 2**8):
        assert np.array_equal(digits, np.rint(digits))
        assert levels * np.abs(digits).sum((1, 2, 3)).max() < EXACT_IN_FLOAT
    assert arrays["nt2.bias"].dtype == np.float64
    assert np.array_equal(np.ldexp(arrays["nt2.bias"].ravel(), -exponents), bias)
    assert operators(graph)["nt2.sum1"] == "Add"
    image = np.random.default_rng(1).standard_normal((2, 2, 5, 5)).astype(np.float32)
    assert equivalent(graph, image)


def mean_of_three(rounding: str) -> Graph:
    """Image (1, 1, 3), weight 1, the mean of three positions, a neuron, a readout."""
    builder = NetworkBuilder(np.random.default_rng(0), 4, 1.0, rounding)
    builder.shapes["image"] = (1, 1, 3)
    x = builder.conv("image", 1, 1, 1, 0, 1)
    builder.arrays["w0"][:], builder.arrays["w1"][:] = 1, 0
    flat = builder.add("Reshape", [x, builder.ints([1, 1, 3])], (1, 3))
    pooled = builder.add("ReduceMean", [flat, builder.ints([2])], (1,), keepdims=0)
    weight = builder.array((3, 1), 1, 4)
    output = builder.add("Gemm", [builder.neuron(pooled), weight], (3,), transB=1)
    return lower_content(builder.model((1, 1, 3), output), "net", "int8")


@pytest.mark.parametrize("rounding", ["half_even", "half_up"])
def test_a_product_that_double_would_round_to_a_tie_is_compared(rounding: str) -> None:
    """4.5 · (1/3 in double) is below 1.5, and 1.5 once rounded: no rounding neuron is emitted."""
    graph = mean_of_three(rounding)
    neuron = next(graph.select("integrate_fire")).name
    assert f"{neuron}.comparator1" in constants(graph)
    assert operators(graph)[neuron] == "Sum"
    image = np.full((1, 1, 1, 3), 1.5, np.float32)
    assert 4.5 * (1 / 3) == 1.5
    counts = deployed_tensors(graph, image, [neuron], optimised=True)[neuron]
    assert counts.tolist() == [[1]]
    assert Simulator(graph, threads=1).run(image).counts[neuron].tolist() == [[1]]
    assert equivalent(graph, image)


@pytest.mark.parametrize(("rounding", "double"), [("half_even", False), ("half_up", True)])
def test_a_neuron_that_rounds_rightly_is_emitted_as_one(rounding: str, double: bool) -> None:
    """On a grid of few bits rounding is exact; adding a half is left to double precision."""
    builder = NetworkBuilder(np.random.default_rng(0), 4, 1.0, rounding)
    builder.shapes["image"] = (1, 3, 3)
    fired = builder.neuron(builder.conv("image", 2, 3, 1, 1, 1))
    graph = lower_content(
        builder.model((1, 3, 3), builder.conv(fired, 3, 1, 1, 0, 1)), "net", "int8"
    )
    neuron = next(graph.select("integrate_fire")).name
    made = operators(graph)
    assert made[f"{neuron}.counts"] == ("Floor" if double else "Round")
    assert any(name.endswith(".double") for name in made) == double
    assert f"{neuron}.comparator1" not in constants(graph)


def test_matrices_behind_wide_sums_are_multiplied_in_double() -> None:
    """The weights of a classifier behind pooled currents, in however many pieces, would round."""
    builder = FixedBuilder(np.random.default_rng(2), 15, 1.0, "half_even")
    builder.shapes["image"] = (2, 8, 8)
    fired = builder.neuron(builder.convolve("image", 32))
    pooled = builder.pooled(builder.same(fired, 8))
    arrays = [builder.array((3, 8)), builder.array((3,))]
    output = builder.add("Gemm", [pooled, *arrays], (3,), transB=1)
    graph = lower_content(builder.model((2, 8, 8), output), "net", "int8")
    linear = next(graph.select("linear"))
    assert constants(graph)[f"{linear.name}.weight0"].dtype == np.float64
    image = np.random.default_rng(1).standard_normal((2, 2, 8, 8)).astype(np.float32)
    assert equivalent(graph, image)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_convolution_behind_wide_sums_is_taken_tap_by_tap(groups: int) -> None:
    """No runtime has one in double precision."""
    builder = FixedBuilder(np.random.default_rng(2), 15, 1.0, "half_even")
    builder.shapes["image"] = (2, 4, 5)
    fired = builder.neuron(builder.convolve("image", 4))
    summed = builder.same(fired, 8)
    output = builder.convolve(
        summed, 4 * groups, (3, 2), stride=(2, 1), pads=(1, 0, 0, 1), groups=groups
    )
    graph = lower_content(builder.model((2, 4, 5), output), "net", "int16")
    last = list(graph.select("conv2d"))[-1].name
    assert operators(graph)[f"{last}.piece0.tap5.product"] == "MatMul"
    image = np.random.default_rng(1).standard_normal((2, 2, 4, 5)).astype(np.float32)
    assert equivalent(graph, image)


@pytest.mark.parametrize("tail", ["Softmax", ""])
def test_the_batch_is_free_unless_the_host_computes_the_last_part(tail: str) -> None:
    builder = FixedBuilder(np.random.default_rng(2), 4, 1.0, "half_even")
    builder.shapes["image"] = (2, 4, 4)
    fired = builder.neuron(builder.pooled(builder.convolve("image", 4)))
    output = builder.classified(fired)
    if tail:
        output = builder.add(tail, [output], (3,), axis=1)
    graph = lower_content(builder.model((2, 4, 4), output), "net", "int8")
    model = onnx.load_from_string(graph.deployed)
    for value in (*model.graph.input, *model.graph.output):
        first = value.type.tensor_type.shape.dim[0]
        assert (first.dim_param, first.dim_value) == (("", 1) if tail else ("batch", 0))


def test_a_negative_zero_stays_one() -> None:
    """A sum of nothing times a negative scale; a runtime drops an addition of 0, so nobody adds."""
    builder = NetworkBuilder(np.random.default_rng(0), 4, 1.0, "half_even")
    builder.shapes["image"] = (2, 3, 3)
    x = builder.conv("image", 3, 3, 1, 1, 1)
    y = builder.conv(builder.neuron(x), 3, 3, 1, 1, 1)
    for name in ("w0", "w1", "w2", "w3"):
        builder.arrays[name][:] = 0
    builder.arrays["scale"] = np.full((3, 1, 1), -0.75, np.float32)
    total = builder.add("Add", [x, y], builder.shapes[x])
    output = builder.add("Mul", [total, "scale"], builder.shapes[x])
    graph = lower_content(builder.model((2, 3, 3), output), "net", "int8")
    image = np.ones((1, 2, 3, 3), np.float32)
    (simulated,) = Simulator(graph, threads=1).run(image).outputs.values()
    assert np.signbit(simulated).all()
    assert equivalent(graph, image)
