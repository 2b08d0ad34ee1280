"""Every pass keeps the function: folded networks against ONNX Runtime, bit for bit."""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import onnxruntime
import pytest
from networks import NetworkBuilder

from s2f_deploy import Graph, Node, S2FError, TensorType
from s2f_deploy.frontend.import_onnx import import_onnx
from s2f_deploy.ir.bounds import intervals
from s2f_deploy.ir.graph import DType, Level, attributes
from s2f_deploy.passes.merge_convolutions import Chains
from s2f_deploy.passes.pipeline import (
    EVENT_PASSES,
    INTEGER_PASSES,
    Arithmetic,
    lower_content,
    run_passes,
)
from s2f_deploy.passes.to_events import to_events
from s2f_sim import Simulator, simulate, verify

IMAGE = (2, 5, 4)


def builder() -> NetworkBuilder:
    made = NetworkBuilder(np.random.default_rng(11), 4, 2.0, "half_even")
    made.shapes["image"] = IMAGE
    return made


def spikes(made: NetworkBuilder) -> str:
    return made.neuron(made.conv("image", 4, 3, 1, 1, 1))


def scaled(made: NetworkBuilder, source: str, factor: object) -> str:
    name = f"w{len(made.arrays)}"
    made.arrays[name] = np.array(factor, np.float32)
    return made.add("Mul", [source, name], made.shapes[source])


def shifted(made: NetworkBuilder, source: str, amount: object) -> str:
    name = f"w{len(made.arrays)}"
    made.arrays[name] = np.array(amount, np.float32)
    return made.add("Add", [source, name], made.shapes[source])


def per_channel(values: list[float]) -> list[list[list[float]]]:
    return [[[value]] for value in values]


def check(made: NetworkBuilder, current: str) -> Graph:
    """Fire the current, weigh the counts, compare with ONNX Runtime exactly."""
    output = made.conv(made.neuron(current), 3, 1, 1, 0, 1)
    graph = run_passes(import_onnx(made.model(IMAGE, output), "net"), EVENT_PASSES)
    for seed in range(4):
        x = (np.random.default_rng(seed).integers(-16, 17, (1, *IMAGE)) / 8).astype(np.float32)
        (want,) = onnxruntime.InferenceSession(graph.reference).run(None, {"image": x})
        run = simulate(graph, x)
        (got,) = run.outputs.values()
        np.testing.assert_array_equal(got, want)
        assert any(counts.any() for counts in run.counts.values())
    return graph


def after_convolution(made: NetworkBuilder) -> str:
    x = made.conv(spikes(made), 4, 3, 1, 1, 1)
    return shifted(made, scaled(made, x, per_channel([2, 0.5, -1, 4])), 0.25)


def on_a_sum(made: NetworkBuilder) -> str:
    fired = spikes(made)
    total = made.add(
        "Add", [made.conv(fired, 4, 3, 1, 1, 1), made.conv(fired, 4, 1, 1, 0, 1)], (4, 5, 4)
    )
    return made.add("Add", [scaled(made, total, 0.5), made.conv(fired, 4, 1, 1, 0, 1)], (4, 5, 4))


def before_weights(made: NetworkBuilder) -> str:
    return made.conv(scaled(made, spikes(made), 0.5), 4, 3, 1, 1, 1)


def chain(made: NetworkBuilder) -> str:
    middle = made.conv(spikes(made), 6, 1, 1, 0, 1)
    return made.conv(middle, 4, 1, 1, 0, 1)


def chain_with_border(made: NetworkBuilder) -> str:
    middle = made.conv(spikes(made), 6, 1, 1, 0, 1)
    return made.conv(middle, 4, 3, 1, 1, 1)


def strided_chain_with_border(made: NetworkBuilder) -> str:
    middle = made.conv(spikes(made), 6, 1, 1, 0, 1)
    return made.conv(middle, 4, 3, 2, 1, 1)


def batch_norm(made: NetworkBuilder) -> str:
    x = made.conv(spikes(made), 4, 3, 1, 1, 1)
    gamma, beta, mean = (made.array((4,)) for _ in range(3))
    variance = f"w{len(made.arrays)}"
    made.arrays[variance] = np.array([1.0, 4.0, 0.25, 16.0], np.float32)
    return made.add("BatchNormalization", [x, gamma, beta, mean, variance], (4, 5, 4), epsilon=0.0)


@pytest.mark.parametrize(
    "network",
    [
        after_convolution,
        on_a_sum,
        before_weights,
        chain,
        chain_with_border,
        strided_chain_with_border,
        batch_norm,
    ],
)
def test_folding_keeps_every_bit(network: Callable[[NetworkBuilder], str]) -> None:
    made = builder()
    graph = check(made, network(made))
    assert not list(graph.select("affine", "batch_norm"))


def test_a_merged_chain_is_one_layer_with_a_bias_map_at_the_border() -> None:
    made = builder()
    graph = check(made, chain_with_border(made))
    biases = {n.name: graph.arrays(n)[1].ndim for n in graph.select("event_conv2d")}
    assert sorted(biases.values()) == [1, 3]


def separable(made: NetworkBuilder) -> str:
    return made.separable(spikes(made), 6)


def repeated(made: NetworkBuilder) -> str:
    """Without a bias of the first layer: only the norm behind the padding shifts."""
    fired = spikes(made)
    first = made.conv(fired, 4, 1, 1, 0, 1)
    made.arrays[made.nodes[-1].input[2]][:] = 0
    y = made.conv(made.normalised(made.padded(first)), 4, 3, 1, 0, 4)
    return made.normalised(made.conv(y, 6, 1, 1, 0, 1))


@pytest.mark.parametrize("network", [separable, repeated])
def test_published_chains_become_one_kernel_with_one_bias(
    network: Callable[[NetworkBuilder], str],
) -> None:
    made = builder()
    graph = check(made, network(made))
    merged = [node for node in graph.select("event_conv2d") if node.output.channels == 6]
    (layer,) = merged
    rows, bias = graph.arrays(layer)
    assert (rows.shape, bias.shape) == ((3, 3, 4, 6), (6,))
    assert (layer["padding"], layer["groups"]) == ((1, 1, 1, 1), 1)


@pytest.mark.parametrize("network", [separable, repeated, chain, chain_with_border])
@pytest.mark.parametrize("arithmetic", ["float32", "int8"])
def test_kept_chains_multiply_and_say_so(
    network: Callable[[NetworkBuilder], str], arithmetic: Arithmetic
) -> None:
    made = builder()
    output = made.conv(made.neuron(network(made)), 3, 1, 1, 0, 1)
    content = made.model(IMAGE, output)
    x = (np.random.default_rng(1).integers(-16, 17, (1, *IMAGE)) / 8).astype(np.float32)
    merged, kept = (
        lower_content(content, "net", arithmetic, keep_chains=keep) for keep in ("none", "all")
    )
    assert verify(kept, [x]).equivalent
    runs = [simulate(graph, x) for graph in (merged, kept)]
    chained = [{r.name: r for r in run.layers if r.kind == "chain"} for run in runs]
    assert not chained[0]
    for name, layer in chained[1].items():
        assert layer.mac == layer.dense_mac > 0
        assert kept.node(name).op == "conv2d"
    for name, counts in runs[0].counts.items():
        if arithmetic == "float32":
            np.testing.assert_array_equal(runs[1].counts[name], counts)


def all_chains(made: NetworkBuilder) -> str:
    """One chain of every kind, a neuron before each."""
    x = made.neuron(made.depthwise_first(spikes(made), 5))
    x = made.neuron(made.repeated(x, 4))
    x = made.neuron(made.separable(x, 3))
    return made.conv(made.conv(x, 6, 1, 1, 0, 1), 4, 3, 1, 1, 1)


def lowered_with_chains(kept: Chains, arithmetic: Arithmetic = "float32") -> Graph:
    made = builder()
    output = made.conv(made.neuron(all_chains(made)), 3, 1, 1, 0, 1)
    return lower_content(made.model(IMAGE, output), "net", arithmetic, keep_chains=kept)


def pictures() -> list[Any]:
    draw = np.random.default_rng(3)
    return [(draw.integers(-16, 17, (1, *IMAGE)) / 8).astype(np.float32) for _ in range(3)]


@pytest.mark.parametrize("arithmetic", get_args(Arithmetic))
@pytest.mark.parametrize(("kept", "multiplying"), [("none", 0), ("separable", 1), ("all", 5)])
def test_chains_of_the_kind_asked_for_are_kept(
    kept: Chains, multiplying: int, arithmetic: Arithmetic
) -> None:
    graph = lowered_with_chains(kept, arithmetic)
    _, *others = graph.select("conv2d")
    assert len(others) == multiplying
    assert verify(graph, pictures()).equivalent


def test_kinds_of_chains_give_the_same_counts_at_the_costs_of_their_kernels() -> None:
    """A spike meets the taps of a depthwise kernel once, of a dense one once per output."""
    folded, separable, whole = (
        {layer.name: layer for layer in run.layers}
        for run in (simulate(lowered_with_chains(kept), pictures()[0]) for kept in get_args(Chains))
    )
    (pointwise,) = (name for name, layer in separable.items() if layer.kind == "chain")
    (depthwise,) = separable.keys() - folded.keys()
    assert separable[depthwise].ac > 0
    assert folded[pointwise].ac == 5 * separable[depthwise].ac
    assert (separable[pointwise].mac, folded[pointwise].mac) == (5 * 4 * 5 * 4, 0)
    for name in folded.keys() - {pointwise}:
        assert separable[name] == folded[name]
    for name in (depthwise, pointwise):
        assert whole[name] == separable[name]


def test_chains_of_an_unknown_kind_are_refused() -> None:
    unknown: Any = True
    with pytest.raises(ValueError, match="chains True are not none, separable, all"):
        lowered_with_chains(unknown)


def test_padding_that_no_convolution_reads_is_refused() -> None:
    made = builder()
    padded = made.padded(made.conv(spikes(made), 4, 1, 1, 0, 1))
    with pytest.raises(S2FError, match=r"reads what \S+ pads"):
        check(made, padded)


def test_a_neuron_that_is_added_without_weights_is_refused() -> None:
    made = builder()
    fired = spikes(made)
    current = made.add("Add", [fired, made.conv(fired, 4, 1, 1, 0, 1)], (4, 5, 4))
    with pytest.raises(S2FError, match="without weights between"):
        check(made, current)


def test_a_negative_scale_before_a_neuron_is_refused() -> None:
    made = builder()
    fired = spikes(made)
    x = made.conv(fired, 4, 3, 1, 1, 1)
    negative = scaled(made, x, -1.0)
    total = made.add("Add", [x, made.conv(made.neuron(negative), 4, 1, 1, 0, 1)], (4, 5, 4))
    with pytest.raises(S2FError, match="can be folded into nothing"):
        check(made, total)


def test_a_positive_scale_of_a_shared_current_moves_into_the_comparators() -> None:
    made = builder()
    x = made.conv(spikes(made), 4, 3, 1, 1, 1)
    doubled = scaled(made, x, per_channel([2, 0.5, 1, 4]))
    total = made.add("Add", [x, made.conv(made.neuron(doubled), 4, 1, 1, 0, 1)], (4, 5, 4))
    graph = check(made, total)
    assert {graph.arrays(n)[0].shape[1] for n in graph.select("integrate_fire")} == {1, 4}


def test_integer_graphs_hand_on_counts_only() -> None:
    made = builder()
    output = made.conv(made.neuron(batch_norm(made)), 3, 1, 1, 0, 1)
    graph = run_passes(import_onnx(made.model(IMAGE, output), "net"), INTEGER_PASSES)
    assert graph.level is Level.INTEGER
    assert {n.output.dtype for n in graph.select("integer_fire")} == {DType.COUNT}


def test_windows_open_after_all_sources_have_closed() -> None:
    made = builder()
    graph = check(made, on_a_sum(made))
    assert [n["window"] for n in graph.select("integrate_fire")] == [1, 2]


def test_attention_takes_the_cheaper_association(tiny_graph: Graph) -> None:
    for node in tiny_graph.select("attention"):
        query, _, value = (tiny_graph.node(name).output for name in node.inputs)
        d, d_v = query.channels // node["heads"], value.channels // node["heads"]
        costs = {
            "qk_v": query.positions * (d + d_v),
            "q_kv": 2 * d * d_v,
        }
        assert costs[node["association"]] == min(costs.values())


def test_sums_that_could_leave_32_bits_get_64() -> None:
    made = NetworkBuilder(np.random.default_rng(0), 255, 1.0, "half_even")
    made.shapes["image"] = (1, 16, 16)
    x = made.neuron(made.conv("image", 8, 3, 1, 1, 1))
    attended = made.neuron(made.attention(x, 1, scores_first=True))
    content = made.model((1, 16, 16), made.conv(attended, 2, 1, 1, 0, 1))
    graph = run_passes(import_onnx(content, "net"), EVENT_PASSES)
    (attention,) = graph.select("attention")
    reach = intervals(graph)[attention.name].reach
    assert reach == 255**3 * 256 * 8 >= 2**31
    assert attention.output.dtype is DType.INT64
    image = np.random.default_rng(1).integers(-99, 99, (1, 1, 16, 16)).astype(np.float32)
    runs = [Simulator(graph, engine).run(image) for engine in ("events", "reference")]
    for name, counts in runs[0].counts.items():
        np.testing.assert_array_equal(counts, runs[1].counts[name])


def test_sums_that_could_leave_53_bits_are_refused() -> None:
    real = TensorType((16384, 65536), DType.FLOAT32)
    counts = TensorType(real.shape, DType.COUNT, 255)
    firing = attributes(levels=255, rounding="half_up", norm=1.0)
    nodes = (
        Node("image", "input", (), (), real, "image"),
        Node("fire", "integer_fire", ("image",), (), counts, "fire", firing),
        Node(
            "attention",
            "attention",
            ("fire", "fire", "fire"),
            (),
            TensorType(real.shape, DType.INT32),
            "MatMul",
            attributes(heads=1),
        ),
    )
    with pytest.raises(S2FError, match=r"attention can reach .* which 53 bits do not hold"):
        to_events(Graph("net", Level.INTEGER, nodes, {}))
