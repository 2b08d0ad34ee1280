from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NetworkBuilder, RandomNetwork, networks
from numpy.typing import NDArray

from s2f_deploy.frontend.import_onnx import import_onnx
from s2f_deploy.ir.graph import DType, Graph, Level, Node, TensorType, attributes
from s2f_deploy.ops.neuron import round_counts
from s2f_deploy.passes.pipeline import EVENT_PASSES, float_network, run_passes
from s2f_sim.error_bounds import reference_bound, spike_bound, trace, window_sums
from s2f_sim.float_reference import FloatReference
from s2f_sim.rounding import ROUNDING, gamma
from s2f_sim.spike_roundings import spike_roundings
from s2f_sim.traced import Traced

Array = NDArray[Any]
INPUTS, OUTPUTS = 24, 3


@dataclass(frozen=True)
class Drawn:
    """input[24] -> neuron -> linear -> batch norm, plus the same of another linear -> neuron."""

    graph: Graph
    counts: Array
    rng: np.random.Generator


def real(*shape: int) -> TensorType:
    return TensorType(shape, DType.FLOAT32)


def branch(name: str, rng: np.random.Generator) -> tuple[list[Node], dict[str, Array]]:
    """A linear layer with terms of many magnitudes, and its batch norm."""
    arrays = {
        "weight": rng.normal(0, 10.0 ** rng.integers(-3, 4, (OUTPUTS, INPUTS))),
        "bias": rng.normal(0, 1, OUTPUTS),
        "gamma": rng.normal(0, 2, OUTPUTS),
        "beta": rng.normal(0, 1, OUTPUTS),
        "mean": rng.normal(0, 100, OUTPUTS),
        "var": rng.uniform(0.01, 2, OUTPUTS),
    }
    params = {f"{name}.{key}": array.astype(np.float32) for key, array in arrays.items()}
    linear, norm = tuple(params)[:2], tuple(params)[2:]
    epsilon = attributes(epsilon=1e-5)
    nodes = [
        Node(name, "linear", ("fire",), linear, real(OUTPUTS), name),
        Node(f"{name}n", "batch_norm", (name,), norm, real(OUTPUTS), name, epsilon),
    ]
    return nodes, params


@st.composite
def residual_sums(draw: st.DrawFn) -> Drawn:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    norm = draw(st.sampled_from([1.0, 3.0, 4.0]))
    fire = attributes(levels=5, norm=norm, rounding="half_even")
    branches = [branch(name, rng) for name in "ab"]
    head = {"head.w": np.ones((1, OUTPUTS), np.float32), "head.b": np.zeros(1, np.float32)}
    nodes = [
        Node("image", "input", (), (), real(INPUTS), "image"),
        Node("fire", "integer_fire", ("image",), (), real(INPUTS), "fire", fire),
        *(node for nodes, _ in branches for node in nodes),
        Node("sum", "add", ("an", "bn"), (), real(OUTPUTS), "sum"),
        Node("last", "integer_fire", ("sum",), (), real(OUTPUTS), "last", fire),
        Node("head", "linear", ("last",), tuple(head), real(1), "head"),
        Node("out", "output", ("head",), (), real(1), "out"),
    ]
    graph = Graph("net", Level.FLOAT, tuple(nodes), branches[0][1] | branches[1][1] | head)
    density = draw(st.sampled_from([0.1, 1.0]))
    counts = (rng.integers(0, 6, INPUTS) * (rng.random(INPUTS) < density)).astype(np.uint8)
    return Drawn(graph, counts, rng)


def summed_anyhow(terms: Array, rng: np.random.Generator) -> np.float32:
    """A float32 sum in a random order with random brackets."""
    waiting = [np.float32(term) for term in terms]
    while len(waiting) > 1:
        rng.shuffle(waiting)
        waiting.append(waiting.pop() + waiting.pop())
    return waiting[0]


def traced(drawn: Drawn, name: str = "last") -> tuple[Node, Traced]:
    counts = {"fire": drawn.counts, "last": np.zeros(OUTPUTS, np.uint8)}
    image = np.zeros(INPUTS, np.float32)
    return next(found for found in trace(drawn.graph, image, counts) if found[0].name == name)


def float_branch(drawn: Drawn, branch: str, output: int, *, folded: bool) -> np.float32:
    """The branch in float32, the norm applied to the sum or folded into the weights."""
    graph = drawn.graph
    weight, bias, g, beta, mean, var = (
        graph.params[f"{branch}.{key}"][output]
        for key in ("weight", "bias", "gamma", "beta", "mean", "var")
    )
    values = drawn.counts.astype(np.float32) / np.float32(graph.node("fire")["norm"])
    scale = g / np.sqrt(var + np.float32(1e-5))
    if folded:
        terms = [*((weight * scale) * values), (bias - mean) * scale + beta]
        return summed_anyhow(np.array(terms), drawn.rng)
    total = summed_anyhow(np.append(weight * values, bias), drawn.rng)
    return np.float32((total - mean) * scale + beta)


@settings(max_examples=60)
@given(residual_sums(), st.booleans())
def test_float32_in_any_order_stays_within_the_reference_bound(drawn: Drawn, folded: bool) -> None:
    node, membrane = traced(drawn)
    bound = reference_bound(node, membrane)
    for output in range(OUTPUTS):
        computed = float_branch(drawn, "a", output, folded=folded)
        computed += float_branch(drawn, "b", output, folded=folded)
        assert abs(float(computed) - membrane.value[output]) <= bound[output]


@settings(max_examples=60)
@given(residual_sums())
def test_accumulated_spikes_stay_within_the_spike_bound(drawn: Drawn) -> None:
    node, membrane = traced(drawn)
    lowered = run_passes(drawn.graph, EVENT_PASSES)
    counts = {"fire": drawn.counts, "last": np.zeros(OUTPUTS, np.uint8)}
    bound = spike_bound(node, membrane, spike_roundings(lowered, counts)["last"])
    for output in range(OUTPUTS):
        computed = np.float32(0)
        for branch in "ab":
            rows, bias = lowered.arrays(lowered.node(branch))
            spikes = np.repeat(rows[:, output], drawn.counts)
            computed += summed_anyhow(np.append(spikes, bias[output]), drawn.rng)
        assert abs(float(computed) - membrane.value[output]) <= bound[output]


@settings(max_examples=30)
@given(residual_sums())
def test_traced_membrane_is_exact_but_for_the_rounding_of_float64(drawn: Drawn) -> None:
    _, membrane = traced(drawn)
    norm = Fraction(drawn.graph.node("fire")["norm"])
    for output in range(OUTPUTS):
        exact = Fraction(0)
        for branch in "ab":
            weight, bias, g, beta, mean, var = (
                drawn.graph.params[f"{branch}.{key}"][output]
                for key in ("weight", "bias", "gamma", "beta", "mean", "var")
            )
            products = [
                Fraction(float(w)) * int(n) / norm
                for w, n in zip(weight, drawn.counts, strict=True)
            ]
            scale = Fraction(float(g / np.sqrt(np.float64(var) + 1e-5)))
            exact += (sum(products) + Fraction(float(bias)) - Fraction(float(mean))) * scale
            exact += Fraction(float(beta))
        error = abs(float(exact - Fraction(float(membrane.value[output]))))
        assert error <= 40 * 2.0**-53 * membrane.majorant[output]


@settings(max_examples=40)
@given(networks())
def test_dyadic_networks_have_bound_zero_everywhere(network: RandomNetwork) -> None:
    graph = float_network(network.onnx, "net")
    expected = FloatReference(graph, threads=1).run(network.image[0])
    roundings = spike_roundings(run_passes(graph, EVENT_PASSES), expected.counts)
    for node, membrane in trace(graph, network.image[0], expected.counts):
        assert membrane.exact
        assert not reference_bound(node, membrane).any()
        assert not spike_bound(node, membrane, roundings[node.name]).any()
        if node.op == "integer_fire":
            counts = round_counts(membrane.value, node["levels"], node["rounding"])
            np.testing.assert_array_equal(counts, expected.counts[node.name])


def attention(norm: float, scale: float, *, scores_scaled: bool = False) -> Graph:
    """The event graph's only integer membranes, and what the float network makes of them."""
    builder = NetworkBuilder(np.random.default_rng(0), 4, norm, "half_even")
    builder.shapes["image"] = (2, 4, 4)
    fired = builder.neuron(builder.conv("image", 4, 3, 1, 1, 1))
    output = builder.attention(fired, 2, scores_first=True)
    scaling = next(name for name, array in builder.arrays.items() if array.shape == ())
    builder.arrays[scaling] = np.array(scale, np.float32)
    if scores_scaled:
        first, second, scaled = (
            next(i for i, node in enumerate(builder.nodes) if node.name == name)
            for name in [n.name for n in builder.nodes if n.op_type in ("MatMul", "Mul")]
        )
        products, values = builder.nodes[first], builder.nodes[second]
        values.input[0], builder.nodes[scaled].input[0] = (
            builder.nodes[scaled].output[0],
            products.output[0],
        )
        follower = builder.nodes[scaled + 1]
        follower.input[0] = values.output[0]
        builder.nodes[second], builder.nodes[scaled] = builder.nodes[scaled], values
    last = builder.conv(builder.neuron(output), 2, 1, 1, 0, 1)
    return import_onnx(builder.model((2, 4, 4), last), "net")


@pytest.mark.parametrize(
    ("norm", "scale", "scores_scaled", "roundings"),
    [
        (4.0, 0.5, False, 0),
        (4.0, 0.125, True, 0),
        (4.0, 0.3, False, 1),
        # One product with the scale, then sums over 16 tokens and 2 channels.
        (4.0, 0.3, True, 19),
        # Three inexact operands and the same sums.
        (3.0, 0.5, False, 21),
    ],
)
def test_attention_rounds_only_where_a_factor_is_no_power_of_two(
    norm: float, scale: float, scores_scaled: bool, roundings: int
) -> None:
    graph = attention(norm, scale, scores_scaled=scores_scaled)
    counts = {
        node.name: np.full(node.output.shape, 3, np.uint8) for node in graph.select("integer_fire")
    }
    image = np.ones((2, 4, 4), np.float32)
    in_events = spike_roundings(run_passes(graph, EVENT_PASSES), counts)
    node, membrane = [
        found for found in trace(graph, image, counts) if found[0].op == "integer_fire"
    ][-1]
    assert membrane.roundings.max() == roundings
    assert reference_bound(node, membrane).any() == bool(roundings)
    # Integer spikes never round: only the thresholds' own factors are float64.
    assert spike_bound(node, membrane, in_events[node.name]).max() < 1e-11
    exact = 2 * 9 * 16 * 3 / norm**3 * np.float64(np.float32(scale))
    np.testing.assert_allclose(membrane.value, exact, rtol=1e-14)


def test_halves_rounded_up_cost_one_more_rounding() -> None:
    def fire(rounding: str) -> Node:
        rule = attributes(levels=4, norm=1.0, rounding=rounding)
        return Node("n", "integer_fire", ("x",), (), real(1), "n", rule)

    membrane = Traced(np.array([1.25]), np.array([2.0]), np.array([3.0]), np.zeros(1))
    even = reference_bound(fire("half_even"), membrane)
    up = reference_bound(fire("half_up"), membrane)
    assert even[0] == pytest.approx(gamma(np.array([3]))[0] * 2, rel=1e-5)
    assert up[0] - even[0] == pytest.approx(ROUNDING * 1.75, rel=1e-5)
    coarse = Traced(np.array([1.25]), np.array([2.0]), np.zeros(1), np.array([0.25]))
    assert reference_bound(fire("half_up"), coarse)[0] == 0
    fine = Traced(np.array([0.75]), np.array([0.75]), np.zeros(1), np.array([2.0**-24]))
    assert reference_bound(fire("half_up"), fine)[0] > 0


def test_window_sums_count_what_each_output_sees() -> None:
    rule = attributes(stride=(1, 1), padding=(1, 1, 1, 1), groups=1)
    node = Node("c", "conv2d", ("x",), (), real(5, 4, 4), "c", rule)
    sums = window_sums(node, np.full((3, 4, 4), 2, np.uint8), (3, 3))
    edge, inside = [24, 36, 36, 24], [36, 54, 54, 36]
    assert sums.tolist() == [[edge, inside, inside, edge]]
    grouped = Node(
        "c",
        "conv2d",
        ("x",),
        (),
        real(4, 4, 4),
        "c",
        attributes(stride=(1, 1), padding=(1, 1, 1, 1), groups=2),
    )
    values = np.stack([np.ones((4, 4)), np.zeros((4, 4))])
    assert window_sums(grouped, values, (3, 3)).sum((1, 2)).tolist() == [100, 100, 0, 0]


def test_bound_says_nothing_once_roundings_outnumber_the_digits() -> None:
    assert gamma(np.array([2.0**24, np.inf])).tolist() == [np.inf, np.inf]
    assert gamma(np.array([0.0])).tolist() == [0.0]
