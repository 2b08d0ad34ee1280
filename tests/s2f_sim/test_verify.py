import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from networks import NetworkBuilder, RandomNetwork, networks
from numpy.typing import NDArray
from onnx import helper

from s2f_deploy.errors import ArtefactError, InputError
from s2f_deploy.frontend.import_onnx import import_onnx
from s2f_deploy.ir.graph import Graph
from s2f_deploy.passes.pipeline import EVENT_PASSES, run_passes
from s2f_sim.error_bounds import reference_bound, trace
from s2f_sim.float_reference import FloatReference
from s2f_sim.simulator import EngineName
from s2f_sim.verify import verify
from s2f_sim.verify_report import VerifyReport

Array = NDArray[Any]


def mutated(graph: Graph, parameter: str, change: Callable[[Array], None]) -> Graph:
    """The graph with one of its arrays changed."""
    array = graph.params[parameter].copy()
    change(array)
    return replace(graph, params=dict(graph.params) | {parameter: array})


def verified(graph: Graph, samples: Any, **options: Any) -> VerifyReport:
    """The report of a graph whose weights are as trained."""
    report = verify(graph, samples, **options)
    assert isinstance(report, VerifyReport)
    return report


def layer_of(report: VerifyReport, name: str) -> Any:
    return next(layer for layer in report.layers if layer.name == name)


@pytest.mark.parametrize("engine", ["events", "reference"])
def test_trained_arithmetic_is_equivalent_in_both_engines(
    tiny_graph: Graph, images: Array, engine: EngineName
) -> None:
    report = verified(tiny_graph, list(images), engine=engine, threads=1)
    assert report.equivalent
    assert report.engine == engine
    assert report.samples == 3
    assert report.unexplained == 0
    neurons = list(tiny_graph.select("integrate_fire"))
    assert [layer.name for layer in report.layers] == [node.name for node in neurons]
    assert report.neurons == 3 * sum(int(np.prod(node.output.shape)) for node in neurons)
    (output,) = report.outputs
    assert (output.name, output.values, output.excess) == ("logits", 9, 0)
    assert output.max_abs_difference <= output.bound < 1e-2
    attention = layer_of(report, "block3.0.attn.attn_spike")
    assert (attention.reference_bound, attention.spike_bound) == (0, 0)
    other = layer_of(report, "block3.0.attn.q_spike")
    assert 0 < other.reference_bound < 1e-3
    assert 0 < other.spike_bound < 1e-3


@settings(max_examples=25)
@given(networks())
def test_exact_networks_agree_with_every_bound_zero(network: RandomNetwork) -> None:
    graph = run_passes(import_onnx(network.onnx, "net"), EVENT_PASSES)
    report = verified(graph, [network.image], threads=1)
    assert report.equivalent
    assert (report.mismatches, report.diverging_samples, report.first_divergence) == (0, 0, None)
    assert report.divergence_explained
    assert all(layer.reference_bound == layer.spike_bound == 0 for layer in report.layers)
    for output in report.outputs:
        assert (output.max_abs_difference, output.bound, output.same_class) == (0, 0, 1)


@pytest.mark.parametrize(
    "as_given", [list, tuple, lambda x: x, lambda x: [x], lambda x: x[:, None]]
)
def test_samples_come_single_batched_or_stacked(
    tiny_graph: Graph, images: Array, as_given: Callable[[Array], Any]
) -> None:
    assert verified(tiny_graph, as_given(images), threads=1).samples == 3


@pytest.mark.parametrize(
    "samples",
    [
        [],
        [np.zeros((3, 16, 32), np.float32)],
        [np.zeros((32, 32), np.float32)],
        [np.zeros((3, 32, 32), np.uint8)],
        [np.full((3, 32, 32), np.nan, np.float32)],
        ["cat.png"],
    ],
)
def test_malformed_samples_are_refused_by_the_shape_they_should_have(
    tiny_graph: Graph, samples: list[Any]
) -> None:
    with pytest.raises(InputError, match=r"float32\[3, 32, 32\]"):
        verified(tiny_graph, samples)


def test_progress_counts_samples(tiny_graph: Graph, images: Array) -> None:
    seen: list[tuple[int, int]] = []
    verified(
        tiny_graph, images[:2], threads=1, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 2), (2, 2)]


def test_wrong_weight_is_unexplained_where_it_acts(tiny_graph: Graph, images: Array) -> None:
    def scale(weight: Array) -> None:
        weight[...] *= 1.02

    wrong = mutated(tiny_graph, "ConvBlock1_1.0.conv1.weight", scale)
    report = verified(wrong, images, threads=1)
    assert not report.equivalent
    assert [layer.name for layer in report.layers if layer.mismatches] == ["ConvBlock1_1.0.spike2"]
    assert report.unexplained > 0
    assert report.worst_margin > 1
    assert report.first_divergence == "ConvBlock1_1.0.spike2"
    assert not report.divergence_explained
    assert report.diverging_samples == 3


def test_wrong_comparator_of_an_exact_layer_is_unexplained(
    tiny_graph: Graph, images: Array
) -> None:
    name = "block3.0.attn.attn_spike"

    def fire_at_once(comparators: Array) -> None:
        comparators[0] = 1

    wrong = mutated(tiny_graph, f"{name}.comparators", fire_at_once)
    report = verified(wrong, images, threads=1)
    found = layer_of(report, name)
    assert found.mismatches == found.unexplained > 0
    assert found.worst_margin == np.inf
    assert found.to_dict()["worst_margin"] is None
    assert not report.equivalent


@pytest.mark.parametrize("rounding", ["half_even", "half_up"])
def test_wrong_strictness_is_unexplained(rounding: str) -> None:
    builder = NetworkBuilder(np.random.default_rng(3), 3, 1.0, rounding, grid=2.0)
    builder.shapes["image"] = (2, 8, 8)
    fired = builder.neuron(builder.conv("image", 4, 3, 1, 1, 1))
    output = builder.conv(fired, 2, 1, 1, 0, 1)
    graph = run_passes(import_onnx(builder.model((2, 8, 8), output), "net"), EVENT_PASSES)
    (neuron,) = graph.select("integrate_fire")
    image = np.random.default_rng(4).integers(-3, 4, (2, 8, 8)).astype(np.float32)
    assert verified(graph, [image], threads=1).equivalent
    for level in range(3):

        def flip(comparators: Array, level: int = level) -> None:
            tie = np.float32(level + 0.5)
            strict = comparators[level] > tie
            comparators[level] = tie if strict.all() else np.nextafter(tie, np.float32(9))

        report = verified(mutated(graph, neuron.params[0], flip), [image], threads=1)
        assert report.unexplained == report.mismatches > 0


def test_wrong_readout_bias_exceeds_the_output_bound(tiny_graph: Graph, images: Array) -> None:
    bias = tiny_graph.node("head").params[1]

    def shift(array: Array) -> None:
        array[1] += 1e-3

    report = verified(mutated(tiny_graph, bias, shift), images, threads=1)
    assert report.mismatches == 0
    (output,) = report.outputs
    assert output.excess == 3
    assert output.max_abs_difference == pytest.approx(1e-3, rel=1e-2)
    assert not report.equivalent


@dataclass(frozen=True)
class Tie:
    """A neuron, the membrane it reads and the comparator next to it."""

    layer: str
    index: tuple[int, ...]
    membrane: float
    comparator: float
    used: float


def nearest_tie(graph: Graph, sample: Array) -> Tie:
    """The neuron that needs the smallest part of its bound to cross a comparator."""
    network = import_onnx(graph.reference, graph.name)
    counts = FloatReference(network, threads=1).run(sample).counts
    ties = []
    for node, membrane in trace(network, sample, counts):
        bound = reference_bound(node, membrane)
        if node.op == "integer_fire" and bound.all():
            tie = np.floor(np.clip(membrane.value, 0.1, node["levels"] - 0.1)) + 0.5
            used = np.abs(membrane.value - tie) / bound
            at = tuple(int(i) for i in np.unravel_index(used.argmin(), used.shape))
            ties.append(Tie(node.name, at, membrane.value[at], tie[at], used[at]))
    return min(ties, key=lambda tie: tie.used)


def test_mismatch_within_the_bounds_is_explained_and_named(
    tiny_graph: Graph, images: Array
) -> None:
    ties = [nearest_tie(tiny_graph, image) for image in images]
    image, tie = min(zip(images, ties, strict=True), key=lambda pair: pair[1].used)
    assert tie.used < 0.5
    node = tiny_graph.node(tie.layer)
    (parameter,) = node.params
    own = tiny_graph.params[parameter]
    per_channel = np.repeat(own, node.output.channels // own.shape[1], 1)
    wide = replace(tiny_graph, params=dict(tiny_graph.params) | {parameter: per_channel})

    def move_beyond(comparators: Array) -> None:
        beyond = tie.comparator + 1.5 * (tie.membrane - tie.comparator)
        comparators[int(tie.comparator), tie.index[0]] = beyond

    report = verified(mutated(wide, parameter, move_beyond), [image], threads=1)
    found = layer_of(report, tie.layer)
    assert (found.mismatches, found.explained, found.unexplained) == (1, 1, 0)
    assert found.worst_margin == report.worst_margin > 0
    assert report.worst_margin < 1
    assert found.end_to_end_mismatches == 1
    assert report.equivalent
    assert (report.first_divergence, report.divergence_explained) == (tie.layer, True)


def test_report_is_json_with_the_documented_keys(tiny_graph: Graph, images: Array) -> None:
    report = verified(tiny_graph, images[:1], threads=1)
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert list(found) == [
        "schema",
        "network",
        "engine",
        "samples",
        "equivalent",
        "neurons",
        "mismatches",
        "explained",
        "unexplained",
        "worst_margin",
        "end_to_end",
        "layers",
        "outputs",
    ]
    assert sorted(found["layers"][0]) == [
        "end_to_end_mismatches",
        "explained",
        "mismatches",
        "name",
        "neurons",
        "reference_bound",
        "spike_bound",
        "unexplained",
        "worst_margin",
    ]
    assert sum(layer["neurons"] for layer in found["layers"]) == found["neurons"]


def test_output_behind_a_host_tail_is_held_to_a_tolerance() -> None:
    builder = NetworkBuilder(np.random.default_rng(1), 4, 2.0, "half_even")
    builder.shapes["image"] = (2, 4, 4)
    fired = builder.neuron(builder.conv("image", 4, 3, 1, 1, 1))
    scores = builder.conv(fired, 3, 1, 1, 0, 1)
    output = builder.add("Softmax", [scores], (3, 4, 4), axis=1)
    graph = run_passes(import_onnx(builder.model((2, 4, 4), output), "net"), EVENT_PASSES)
    image = np.ones((2, 4, 4), np.float32)
    (found,) = verified(graph, [image], threads=1).outputs
    assert (found.bound, found.excess) == (np.inf, 0)
    assert found.to_dict()["bound"] is None
    readout = next(node for node in graph.nodes if node.op == "event_conv2d")

    def shift(bias: Array) -> None:
        bias[0] += 0.1

    assert not verified(mutated(graph, readout.params[1], shift), [image], threads=1).equivalent


def test_reference_without_the_neurons_is_refused(tiny_graph: Graph) -> None:
    network = import_onnx(tiny_graph.reference, "net")
    nodes = tuple(
        replace(node, origin="IntegerFire elsewhere") if node.op == "integer_fire" else node
        for node in network.nodes
    )
    with pytest.raises(ArtefactError, match="has no neuron IntegerFire elsewhere"):
        FloatReference(replace(network, nodes=nodes))


def test_reference_that_hands_out_no_counts_is_refused(tiny_graph: Graph, images: Array) -> None:
    model = onnx.load_from_string(tiny_graph.reference)
    for function in model.functions:
        rounding = next(node for node in function.node if node.op_type == "Round")
        rounding.CopyFrom(helper.make_node("Identity", rounding.input, rounding.output))
    reference = FloatReference(import_onnx(model.SerializeToString(), "net"))
    with pytest.raises(ArtefactError, match="no counts 0 to 4"):
        reference.run(images[0])
